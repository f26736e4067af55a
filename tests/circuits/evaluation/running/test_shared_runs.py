"""Sets of nodes that share their runs against whole forwards with every edit, one set at a time."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from circuits.evaluation.running import shared_runs
from circuits.evaluation.running.node_runner import NodeRunner
from circuits.evaluation.running.runner import NONE, PartSet
from circuits.evaluation.running.runners import make_runner
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, hooked
from tests.interp.tasks.toy import toy_task

REDONE = [name for name in ARCHITECTURES if name not in OWN_ATTENTION]


def _runner(name: str, level: str, ablation: str = "counterfactual", metric: str = "logit_diff") -> NodeRunner:
    found = make_runner(hooked(name), toy_task(), level, ablation=ablation, metric=metric)
    assert isinstance(found, NodeRunner)
    return found


def _sets(runner: NodeRunner) -> list[PartSet]:
    """All, none, each half of a layer alone and left out, nested ones, and random ones."""
    order = list(runner.parts)
    random.Random(3).shuffle(order)
    nested = [frozenset(order[:size]) for size in (1, 2, len(order) // 2, len(order) - 1)]
    kinds = [frozenset(p for p in order if p.kind == kind) for kind in {p.kind for p in order}]
    return list(dict.fromkeys([runner.full, NONE, *nested, *kinds, *(runner.full - top for top in nested)]))


def _whole(runner: NodeRunner, sets: list[PartSet], monkeypatch: pytest.MonkeyPatch) -> dict[PartSet, np.ndarray]:
    with monkeypatch.context() as patched:
        patched.setattr(NodeRunner, "_machine", lambda self: None)
        return runner.metrics(sets, False)


def _agree(runner: NodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = _sets(runner)
    assert runner._machine() is not None
    wanted, found = _whole(runner, sets, monkeypatch), runner.metrics(sets, False)
    spread = np.ptp([wanted[one].mean() for one in sets])
    assert spread > 1e-3
    for one in sets:
        np.testing.assert_allclose(found[one], wanted[one], atol=1e-3 * spread)


@pytest.mark.broad
@pytest.mark.parametrize("level", ["blocks", "heads", "neurons"])
@pytest.mark.parametrize("name", REDONE)
def test_sets_that_share_are_those_of_whole_forwards(name: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if level == "neurons" and name == "mixtral":
        pytest.skip("experts have no neurons")
    _agree(_runner(name, level), monkeypatch)


@pytest.mark.parametrize("ablation", ["mean", "zero", "resample"])
@pytest.mark.parametrize("level", ["heads", "neurons"])
def test_every_ablation_shares(level: str, ablation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _agree(_runner("gemma2", level, ablation), monkeypatch)


@pytest.mark.parametrize("metric", ["kl_base", "cross_entropy", "largest_change"])
def test_metrics_that_read_more_than_the_answers_share(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _agree(_runner("llama", "heads", metric=metric), monkeypatch)


def test_one_set_at_a_time_is_all_together() -> None:
    runner = _runner("qwen3", "heads")
    sets = _sets(runner)
    together = runner.metrics(sets, False)
    small = _runner("qwen3", "heads")
    small.most_bytes = 1
    for one, found in small.metrics(sets, False).items():
        np.testing.assert_allclose(found, together[one], atol=1e-5)


@pytest.mark.parametrize("level", ["heads", "neurons"])
def test_what_is_kept_of_both_runs_is_within_the_bound(level: str) -> None:
    """The ablated values too, which are as large as what is ablated: at neurons about half of it."""
    runner = _runner("llama", level)
    runner.metrics(_sets(runner), False)
    (runs,) = runner._kept.values()
    records = [vars(layer) for layer in runs.replay.recording.layers]
    held = [x for record in records for x in record.values() if isinstance(x, torch.Tensor)]
    both = sum(x.untyped_storage().nbytes() for x in (*held, *runs.batch.source().values()))
    assert runs.bytes >= 0.8 * both
    for most, kept in ((runs.bytes, 1), (runs.bytes - 1, 0)):
        small = _runner("llama", level)
        small.most_bytes = most
        small.metrics(_sets(small), False)
        assert len(small._kept) == kept


@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_a_runner_follows_a_model_that_changes_between_its_calls(
    ablation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = _runner("llama", "heads", ablation)
    embedding = runner.model.hf.get_input_embeddings()
    sets = _sets(runner)
    before = runner.metrics(sets, False)

    with torch.no_grad():
        runner.model.hf.get_submodule(runner.model.layout.blocks[0].attn.o).weight.mul_(1.5)
    _agree(runner, monkeypatch)
    weighted = runner.metrics(sets, False)
    assert abs(weighted[runner.full] - before[runner.full]).max() > 1e-2

    handle = embedding.register_forward_hook(lambda module, args, output: 2 * output)
    _agree(runner, monkeypatch)
    handle.remove()
    for one, found in runner.metrics(sets, False).items():
        np.testing.assert_allclose(found, weighted[one], atol=1e-6)


def _computed(runner: NodeRunner, sets: list[PartSet], monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """The rows that go through each part of each layer."""
    seen: Counter[tuple[str, int]] = Counter()
    made = shared_runs.SharedRuns.metrics

    def watched(self: shared_runs.SharedRuns, sets: list[PartSet]) -> torch.Tensor:
        self.replay.counts.clear()
        found = made(self, sets)
        seen.update(self.replay.counts.rows)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(shared_runs.SharedRuns, "metrics", watched)
        runner.metrics(sets, False)
    return seen


def test_what_no_set_has_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a circuit of one MLP only that MLP runs; two that differ in the last layer share all layers before."""
    runner = _runner("llama", "blocks")
    last = max(part.layer or 0 for part in runner.parts)
    alone = next(part for part in runner.parts if (part.kind, part.layer) == ("mlp", last))
    rows = _computed(runner, [frozenset([alone])], monkeypatch)
    assert {key for key, n in rows.items() if n} == {("mlp", last)}
    without = runner.full - {next(part for part in runner.parts if part.layer == 0)}
    once = _computed(runner, [without], monkeypatch)
    both = _computed(runner, [without, without - {alone}], monkeypatch)
    assert once == both
    assert sum(once.values()) > 0


def test_nested_circuits_share_the_layers_where_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _runner("gpt2", "blocks")
    order = sorted(runner.parts, key=lambda part: (part.layer or 0, part.kind))
    sets = [frozenset(order[:size]) for size in range(len(order) + 1)]
    together = _computed(runner, sets, monkeypatch)
    apart = sum((_computed(runner, [one], monkeypatch) for one in sets), Counter())
    assert all(a <= b for a, b in ((together[key], apart[key]) for key in apart))
    assert sum(together.values()) < sum(apart.values()) / 2
    assert all(small < large for small, large in pairwise(sets))
