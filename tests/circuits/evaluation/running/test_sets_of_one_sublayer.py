"""Sets of nodes of blocks with attention alone, or an MLP alone: layer by layer they give what whole forwards give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from circuits.evaluation.running.node_runner import NodeRunner
from circuits.evaluation.running.runners import make_runner
from interp.attribution.exact.machine import find_restart
from interp.model.model import HookedModel
from tests.interp.model.discovery.test_one_sublayer import CHAINS, chain
from tests.interp.tasks.toy import toy_task


@pytest.mark.parametrize("name", ["attention alone", "alternating", "MLP first", "the last without attention"])
@pytest.mark.parametrize("level", ["heads", "blocks", "neurons"])
@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
def test_sets_are_those_of_whole_forwards(name: str, level: Any, ablation: str) -> None:
    if level == "neurons" and name == "attention alone":
        return
    model, task = HookedModel(chain(*CHAINS[name][0])), toy_task(3)
    draw = np.random.default_rng(0)
    found = []
    for hooked in (False, True):
        handle = model.hf.register_forward_hook(lambda *_: None) if hooked else None
        runner = make_runner(model, task, level, ablation=ablation, metric="logit_diff")
        assert isinstance(runner, NodeRunner) and (find_restart(model).machine is None) == hooked
        if not hooked:
            parts = runner.parts
            some = [frozenset(p for p in parts if draw.random() < share) for share in (0.2, 0.5, 0.5, 0.8)]
            sets = [frozenset(), frozenset(parts), *some]
        metrics = runner.metrics(sets, False)
        found.append(np.stack([metrics[one] for one in sets]))
        if handle is not None:
            handle.remove()
    assert np.ptp(found[1], axis=0).min() > 1e-3
    np.testing.assert_allclose(found[0], found[1], atol=2e-5)
