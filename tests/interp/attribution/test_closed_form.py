"""Micro-models whose effects are worked out by hand, signs included, and the replacement model of the relevance rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.attribution.request import attribute, attribute_all
from interp.model.model import HookedModel
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.twin import Twin
from tests.interp.tasks.micro import ATTENTION, MLP, A, B, C, _attention, _mlp, micro, one_pair
from tests.interp.tasks.toy import toy_task


@pytest.mark.broad
@pytest.mark.parametrize(("method", "direction"), ATTENTION)
def test_a_head_by_hand(method: str, direction: str) -> None:
    model = micro(_attention)
    scores = attribute(model, one_pair((A, C), (B, C)), method=method, level="heads", direction=direction)
    p = scores.provenance
    ends = (1.0, 1.4) if direction == "denoise" else (1.4, 1.0)
    assert (p.base_metric, p.source_metric) == pytest.approx(ends, rel=1e-9)
    for node, value in ATTENTION[method, direction].items():
        assert scores[node] == pytest.approx(value, rel=1e-9), node
    assert scores["a0.h1"] == scores["m0"] == 0


@pytest.mark.parametrize(("method", "direction"), MLP)
def test_an_mlp_by_hand(method: str, direction: str) -> None:
    model, task = micro(_mlp), one_pair((A,), (B,))
    options: dict[str, Any] = {"method": method, "direction": direction}
    blocks, neurons = (
        attribute(model, task, level="blocks", **options),
        attribute(model, task, level="neurons", **options),
    )
    for node, value in MLP[method, direction].items():
        assert (neurons if ".n" in node else blocks)[node] == pytest.approx(value, rel=1e-9), node
    assert blocks["attn_out.0"] == 0


@pytest.mark.broad
@pytest.mark.parametrize("method", ["exact", "atp", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim", "atp-ig", "relp-ig"])
def test_both_directions_agree_on_what_is_important(method: str) -> None:
    """The same node first, with a positive importance, whether it is put in or taken out, whatever the metric's sign."""
    model, task = micro(_mlp), one_pair((A,), (B,))
    for direction in ("denoise", "noise"):
        for metric in ("logit_diff", "cross_entropy"):
            scores = attribute(model, task, method=method, level="neurons", direction=direction, metric=metric)
            assert scores.top(1, "signed")[0][0] == "m0.n0", (direction, metric)
            assert scores.importance[0] > 0 > scores.importance[1]


def test_distances_have_the_sign_of_their_run() -> None:
    model, task = micro(_attention), one_pair((A, C), (B, C))
    for metric, score in (("l2_source", -0.16), ("l2_base", 0.16)):
        for direction in ("denoise", "noise"):
            scores = attribute(model, task, method="exact", level="heads", metric=metric, direction=direction)
            assert scores["a0.h0"] == pytest.approx(score) and scores.importance[1] == pytest.approx(0.16)


# ---------------------------------------------------------------- the replacement model


def _ends(model: HookedModel, direction: str) -> tuple[TokenPair, Tensor, Tensor, Task]:
    task = toy_task(1)
    pair = task.tokenize(None, 64)[0]
    clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])
    return (pair, corrupt, clean, task) if direction == "denoise" else (pair, clean, corrupt, task)


def _metric(logits: Tensor, pair: TokenPair) -> float:
    return float(logits[0, -1, pair.answers[0]] - logits[0, -1, pair.wrong[0]])


SITES = {"heads": ("z", 8), "blocks": ("mlp_out", 32), "neurons": ("mlp_post", 1)}
NODES = {"heads": "a{}.h{}", "blocks": "m{}", "neurons": "m{}.n{}"}


@pytest.mark.broad
@pytest.mark.parametrize("level", SITES)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_relevance_is_an_effect_in_the_replacement_model(name: str, direction: str, level: str) -> None:
    """relp-ah: the exact effect there, whatever the size of the patch; relp: its derivative along the patch."""
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        pair, base, source, task = _ends(model, direction)
        found = attribute_all(model, task, methods=["relp-ah", "relp"], level=level, direction=direction)
        kind, width = SITES[level]
        with torch.no_grad():
            plain, other = Twin(model.hf), Twin(model.hf)
            plain(base), other(source)
            for layer, unit in ((0, 0), (1, 1 if width < 32 else 0)):
                site, node = f"{kind}.{layer}", NODES[level].format(layer, unit)
                step = other.values[site] - plain.values[site]
                mask = torch.zeros_like(step)
                mask[
                    (..., unit) if kind != "mlp_out" and width == 1 else (..., unit, slice(None)) if width == 8 else ...
                ] = 1
                step = step * mask

                def moved(rules: str, h: float, site: str = site, step: Tensor = step) -> float:
                    start = Twin(model.hf, rules)
                    start(base)
                    frozen = Twin(model.hf, rules, start.held, {site: lambda x: x + h * step})
                    return _metric(frozen(base), pair)

                effect = moved("relp-ah", 1.0) - moved("relp-ah", 0.0)
                assert found["relp-ah"][node] == pytest.approx(effect, rel=1e-9, abs=1e-12)
                slope = (moved("relp", 1e-4) - moved("relp", -1e-4)) / 2e-4
                assert found["relp"][node] == pytest.approx(slope, rel=1e-6, abs=1e-9)
                assert abs(effect) > 1e-6
        assert _metric(model.run(base).logits, pair) == pytest.approx(found["relp"].provenance.base_metric, rel=1e-12)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_whole_embedding_in_the_replacement_model(name: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        pair, base, source, task = _ends(model, "noise")
        scores = attribute(model, task, method="relp-ah", level="blocks", direction="noise")
        with torch.no_grad():
            start = Twin(model.hf, "relp-ah")
            before = _metric(start(base), pair)
            after = _metric(Twin(model.hf, "relp-ah", start.held)(source), pair)
        assert scores["embed"] == pytest.approx(after - before, rel=1e-9)
