"""Circuits of edges against ablated nodes."""

from __future__ import annotations

import pytest

from circuits.evaluation.running.runners import make_runner
from interp.errors import InterpError
from interp.parts.graph import Edge
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

MODELS = ["gpt2", "llama", "gemma2", "gpt_neox", "qwen3", "phi"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_cutting_all_that_a_node_writes_is_ablating_the_node(name: str, ablation: str) -> None:
    """Edges and nodes are run by different code. Under a post-norm (gemma2) the heads of a layer share a scale, so that
    ablating one changes what the others add; MLPs are alone there."""
    model, task = hooked(name), toy_task()
    nodes = make_runner(model, task, "heads", ablation=ablation)
    edges = make_runner(model, task, "edges", ablation=ablation)
    alone = [n for n in nodes.parts if name != "gemma2" or n.kind == "mlp"]
    sets = {frozenset(alone[:1]), frozenset(alone[-1:]), frozenset(alone[::2])}
    for ablated in sets:
        kept = frozenset(nodes.parts) - ablated
        uncut = frozenset(e for e in edges.parts if isinstance(e, Edge) and e.sender not in ablated)
        want, got = nodes.metrics([kept], None)[kept], edges.metrics([uncut], None)[uncut]
        assert got == pytest.approx(want, abs=2e-4)


def test_a_level_without_circuits_has_no_runner() -> None:
    with pytest.raises(InterpError, match="level of circuits"):
        make_runner(hooked("gpt2"), toy_task(), "resid")
