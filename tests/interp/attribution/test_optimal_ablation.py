"""Optimal ablation of models: its law at every level, what scores make of its constants, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.attribution.request import attribute, learned_ablation, prepare
from interp.errors import MethodError
from interp.model.edits import Edit
from interp.tasks.replacements import make_ablation
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import pairs_of, toy_task


@pytest.mark.parametrize(
    ("name", "level"), [("gpt2", "blocks"), ("llama", "neurons"), ("gemma2", "qkv"), ("llama", "resid")]
)
def test_the_loss_is_never_above_that_at_the_mean(name: str, level: str) -> None:
    """Whatever the nodes; and what is learned for a node is what it is replaced by when it is scored."""
    model, task = hooked(name), toy_task(4)
    positions = "each" if level == "resid" else "all"
    request = prepare(model, task, methods=["exact"], level=level, ablation="optimal", positions=positions)
    found, learned = request.score()["exact"], request.ablation.learned
    assert learned is not None and learned.after <= learned.before
    assert str(learned) == found.provenance.constants and found.provenance.ablation == "optimal"
    group = request.space.groups[-1]  # type: ignore[union-attr]
    constant, pairs = request.ablation.means[group.site], pairs_of(task)
    ids = torch.tensor([pair.clean for pair in pairs])
    clean = model.run(ids).logits[:, -1]
    node = group.node(0, None if positions == "all" else 2)

    def replaced(x: torch.Tensor) -> torch.Tensor:
        x, at = x.clone(), slice(None) if positions == "all" else slice(2, 3)
        if group.view.units:
            x[:, at, 0] = constant[:, :, 0].to(x)
        else:
            x[:, at] = constant.to(x)
        return x

    run = model.run(ids, edits=[Edit(group.site, replaced)]).logits[:, -1]
    rows = range(len(pairs))
    diff = [(x[rows, [p.answers[0] for p in pairs]] - x[rows, [p.wrong[0] for p in pairs]]) for x in (run, clean)]
    place = [part.name for part in found.parts].index(node.name)
    assert np.abs(found.per_example[:, place] - (diff[0] - diff[1]).detach().numpy()).max() < 1e-4


def test_batches_do_not_matter_and_a_learned_ablation_stays_as_it_is() -> None:
    """In float64, as Adam makes rounding larger."""
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(6, (6, 7))
    with true_float64():
        one, many = (learned_ablation(model, task, level="heads", batch_size=size) for size in (6, 2))
    assert one.learned is not None and many.learned is not None
    assert one.learned.after == pytest.approx(many.learned.after, rel=1e-6)
    for site, value in one.means.items():
        assert float((value - many.means[site]).abs().max()) < 1e-6
    model = hooked("gpt2")
    one = learned_ablation(model, task, level="heads", batch_size=6)
    assert make_ablation(one, model, pairs_of(toy_task(3, seed=5)), [], 0, 2) is one
    scores = attribute(model, task, method="relp", level="heads", ablation="optimal", batch_size=6)
    assert scores.provenance.constants == str(one.learned)
    edges = learned_ablation(model, task, level="edges", split_positions=True)
    assert edges.learned is not None and edges.learned.after <= edges.learned.before


def test_what_learns_nothing_is_refused_by_name() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    with pytest.raises(MethodError, match="'mean' learns nothing"):
        learned_ablation(model, task, "mean", level="heads")
    with pytest.raises(MethodError, match="unknown ablation"):
        learned_ablation(model, task, "optimum", level="heads")
    with pytest.raises(MethodError, match="has no such values"):
        attribute(model, task, method="relp", level="heads", ablation="optimal", direction="denoise")
