"""Layers left out: which go first, against all of them tried by hand, what it costs, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.depth.layer_scores import LAYER_SCORES
from interp.errors import InterpError, MethodError
from interp.ledger import counting
from interp.model.model import HookedModel
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import answered, toy_task

TEXTS = ids(4, 8)
KINDS = {"attn": ["attn_out"], "mlp": ["mlp_out"], "block": ["attn_out", "mlp_out"]}


def loss(model: HookedModel, removed: tuple[str, ...]) -> float:
    """The cross-entropy without some parts, by edits of whole runs."""
    edits = [interp.zero(f"{k}.{name.split('.')[1]}") for name in removed for k in KINDS[name.split(".")[0]]]
    with torch.no_grad():
        found = model.run(TEXTS, edits=edits).logits[:, :-1].double().log_softmax(-1)
    return float(-found.gather(-1, TEXTS[:, 1:, None]).mean())


def without_writing(layer: int) -> HookedModel:
    """A model of four layers of which one adds nothing."""
    model = hooked("llama", num_hidden_layers=4)
    block = model.hf.model.layers[layer]
    with torch.no_grad():
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    return model


def written(model: HookedModel, n: int, length: int) -> Tensor:
    """Texts that the model writes itself, so that it is worse without any part that does something."""
    found = ids(n, 3, seed=5)
    for _ in range(length - 3):
        with torch.no_grad():
            found = torch.cat([found, model.run(found).logits[:, -1:].argmax(-1)], 1)
    return found


def sure(model: HookedModel) -> Task:
    """A task whose answers are what the model says most, and least."""
    pairs = []
    for pair in toy_task(6).pairs:
        assert pair.ids is not None
        with torch.no_grad():
            logits = model.run(torch.tensor([list(pair.ids.clean)])).logits[0, -1]
        own = replace(pair.ids, answers=(int(logits.argmax()),), wrong=(int(logits.argmin()),))
        pairs.append(replace(pair, ids=own))
    return Task("sure", tuple(pairs))


@pytest.mark.parametrize("unit", ["attention", "mlp", "both", "block"])
@pytest.mark.parametrize("score", list(LAYER_SCORES))
def test_what_adds_nothing_goes_first_by_every_score(score: str, unit: Any) -> None:
    """RelP estimates, so something may seem to hurt the answer and go before."""
    own = LAYER_SCORES[score]
    if unit not in own.units:
        with pytest.raises(MethodError, match="scores block"):
            interp.drop_layers(without_writing(2), TEXTS, unit=unit, score=score, alpha=0.5)
        return
    model = without_writing(2)
    given: Any = sure(model) if own.needs_task else written(model, 6, 12)
    n = {"both": 8, "block": 3}.get(unit, 4)
    found = interp.drop_layers(model, given, unit=unit, score=score, n=n, alpha=0.5 if score == "lac" else None)
    nothing = [i for i, layer in enumerate(found.layers) if layer == 2]
    assert [found.scores[i] for i in nothing] == pytest.approx([0.0] * (2 if unit == "both" else 1), abs=1e-5)
    if score == "relp":
        assert all(found.scores[i] < 0 for i in range(nothing[0]))
    else:
        assert nothing[0] == 0
        assert found.cross_entropy[len(nothing)] == pytest.approx(found.cross_entropy[0], abs=1e-5)


def test_greedy_is_the_best_of_all_parts_at_each_step() -> None:
    """By whole runs of all that are left, of six parts; and the curve is that of whole runs."""
    model = hooked("llama", num_hidden_layers=3)
    found = interp.drop_layers(model, TEXTS, unit="both", score="perplexity", search="greedy", n=6)
    names = [f"{kind}.{layer}" for layer in range(3) for kind in ("attn", "mlp")]
    removed: tuple[str, ...] = ()
    for step in range(6):
        each = {name: loss(model, (*removed, name)) for name in names if name not in removed}
        removed = (*removed, min(each, key=lambda name: each[name]))
        assert found.removed[: step + 1] == removed
        assert found.cross_entropy[step + 1] == pytest.approx(each[removed[-1]], rel=1e-5)
    assert found.cross_entropy[0] == pytest.approx(loss(model, ()), rel=1e-5)


def test_layers_are_left_out_of_the_run() -> None:
    model = hooked("gemma2", num_hidden_layers=4)
    found = interp.drop_layers(model, TEXTS, score="perplexity", search="greedy", n=3)
    assert len(found.chain) == 1 and sorted((*found.chain, *found.layers)) == [0, 1, 2, 3]
    assert found.cross_entropy[-1] == pytest.approx(loss(model, found.removed), rel=1e-5)
    row = min(range(4), key=lambda i: loss(model, (f"block.{i}",)))
    assert found.removed[0] == f"block.{row}"


@pytest.mark.parametrize("score", ["influence", "perplexity"])
def test_consecutive_layers_are_the_best_row(score: str) -> None:
    model = hooked("llama", num_hidden_layers=4)
    found = interp.drop_layers(model, TEXTS, score=score, search="consecutive", n=2)
    if score == "perplexity":
        lost = [loss(model, (f"block.{i}", f"block.{i + 1}")) for i in range(3)]
    else:
        with torch.no_grad():
            run = model.run(TEXTS, ["resid_pre", "resid_post"])
        pairs = [(run[f"resid_pre.{i}"][:, 1:], run[f"resid_post.{i + 1}"][:, 1:]) for i in range(3)]
        lost = [float((1 - torch.cosine_similarity(x, y, dim=-1)).mean()) for x, y in pairs]
    assert found.layers == (best := int(np.argmin(lost)), best + 1) and found.scores[1] is None


@pytest.mark.parametrize("unit", ["attention", "block"])
def test_exact_and_relp_are_effects_of_a_task(unit: Any) -> None:
    """`exact` is the loss of the metric by whole runs; RelP of a layer is the sum of its parts."""
    model = hooked("llama", num_hidden_layers=3)
    task = answered(model, toy_task(4))
    found = interp.drop_layers(model, task, unit=unit, score="exact", n=2)
    pairs = task.tokenize(None, model.layout.d_vocab)

    def metric(edits: Any) -> float:
        with torch.no_grad():
            rows = [(p, model.run(torch.tensor([list(p.clean)]), edits=edits).logits[0, -1]) for p in pairs]
        return float(np.mean([float(r[p.answers[0]] - r[p.wrong[0]]) for p, r in rows]))

    lost = []
    for layer in range(3):
        kinds = KINDS["block" if unit == "block" else "attn"]
        lost.append(metric([]) - metric([interp.zero(f"{kind}.{layer}") for kind in kinds]))
    order = np.argsort(lost)
    assert found.layers == tuple(map(int, order[:2]))
    assert found.scores == pytest.approx([lost[i] for i in order[:2]], rel=1e-4, abs=1e-5)
    estimate = interp.attribute(model, task, method="relp", level="blocks", ablation="zero", direction="noise")
    parts = {(p.kind, p.layer): -float(v) for p, v in zip(estimate.parts, estimate.mean, strict=True)}
    kinds = ["attn_out", "mlp"] if unit == "block" else ["attn_out"]
    by_relp = [sum(parts[kind, layer] for kind in kinds) for layer in range(3)]
    relp = interp.drop_layers(model, task, unit=unit, score="relp", n=1)
    assert relp.scores == pytest.approx([min(by_relp)], rel=1e-5)


def test_the_judge_is_other_prompts() -> None:
    model = hooked("gpt2")
    other = ids(3, 6, seed=9)
    found = interp.drop_layers(model, TEXTS, judge=other)
    again = interp.drop_layers(model, other)
    assert found.judged == "other" and again.judged == "chosen" and found.n == 3
    assert found.cross_entropy[0] == again.cross_entropy[0]
    assert interp.drop_layers(model, TEXTS).removed == found.removed
    assert "other prompts than it was chosen on" in str(found)


def test_a_greedy_search_costs_less_than_its_forwards() -> None:
    """Each candidate runs from its layer on, and none that is clearly not the best runs to the end; the order is that of a search that does."""
    model = hooked("llama", num_hidden_layers=6)
    texts = written(model, 48, 10)
    with counting() as one, torch.no_grad():
        model.run(texts)
    with counting() as spent:
        found = interp.drop_layers(model, texts, unit="both", score="perplexity", search="greedy", n=4, batch_size=8)
    curve = 5 * one.total
    assert spent.total - curve <= 0.6 * one.total * (12 + 11 + 10 + 9)
    whole = interp.drop_layers(model, texts, unit="both", score="perplexity", search="greedy", n=4, batch_size=48)
    assert whole.removed == found.removed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 2}, "expected 1 to 1"),
        ({"unit": "attention", "n": 3}, "expected 1 to 2"),
        ({"n": 0}, "n=0"),
        ({"unit": "head"}, "unknown unit"),
        ({"score": "influences"}, "Did you mean influence"),
        ({"search": "all"}, "unknown search"),
        ({"score": "exact"}, "needs a task"),
        ({"score": "relp"}, "needs a task"),
        ({"score": "lac"}, "no default is published"),
        ({"score": "lac", "alpha": 0.5, "unit": "mlp"}, "scores block"),
        ({"score": "lac", "alpha": 0.5, "search": "greedy"}, "of the full model"),
        ({"alpha": 0.5}, "alpha belongs to"),
        ({"search": "consecutive", "unit": "mlp"}, "takes whole layers"),
        ({"metric": "logit-diff"}, "unknown metric"),
        ({"judge": []}, "no texts given"),
    ],
)
def test_what_cannot_be_dropped(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InterpError, match=said):
        interp.drop_layers(hooked("llama"), TEXTS, **options)


def test_every_permutation_of_drops_ends_alike() -> None:
    """The curve of all parts of a layer ends where the layer is left out."""
    from interp.depth.drop_layers import drop_curve
    from interp.depth.material import Material
    from interp.depth.removal import Part

    model = hooked("llama")
    material = Material.of(model, TEXTS)
    ends = {
        round(float(drop_curve(material, order)[-1, 0]), 5)
        for order in permutations([Part(0, "attention"), Part(0, "mlp"), Part(1, "mlp")])
    }
    assert len(ends) == 1
    with pytest.raises(MethodError):
        LAYER_SCORES["nothing"]
