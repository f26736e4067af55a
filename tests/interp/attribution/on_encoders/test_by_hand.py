"""Scores of nodes of encoders and classifiers against patches and gradients made by hand on the plain model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.parts.nodes import Node
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.attribution.on_encoders.asked import Asked, asked, seen
from tests.interp.model.encoders.models import AROUND

#: One of each kind: at a mask or of classes, with norms around the sums or in front.
NAMES = (
    *("bert-mlm", "modernbert-mlm", "bert-classes", "gpt2-classes"),
    *("by-hand-around", "by-hand-before", "by-hand-mean"),
)
#: Others, of which a few levels are tried.
MORE = (
    "roberta-mlm",
    "roberta-classes",
    "distilbert-mlm",
    "distilbert-classes",
    "electra-mlm",
    "mpnet-mlm",
    "llama-classes",
)


def patched(own: Asked, node: Node, pair: TokenPair) -> float:
    """metric(corrupt run with the clean value of one node) - metric(corrupt run)"""
    value = own.value(node, pair.clean)
    if (
        node.kind == "resid_mid" and own.name not in AROUND
    ):  # the sum that both the MLP and the skip read: as if attention had made it
        value, node = value - own.value(node, pair.corrupt), replace(node, kind="attn_out")
        value = value + own.value(node, pair.corrupt)

    def patch(x: Tensor) -> Tensor:
        x = x.clone()
        own.own(node, x).copy_(own.own(node, value))
        return x

    with torch.no_grad():
        base = own.metric(pair.corrupt, pair)
        with seen(*own.place(node), patch):
            return float(own.metric(pair.corrupt, pair) - base)


@pytest.mark.parametrize(
    ("level", "positions"),
    [("heads", "all"), ("heads", "each"), ("blocks", "all"), ("neurons", "all"), ("resid", "each")],
)
@pytest.mark.parametrize("name", NAMES)
def test_exact_patching(name: str, level: str, positions: str) -> None:
    """Every tenth node, and all of the small levels."""
    own = asked(name)
    scores = interp.attribute(own.model, own.task, method="exact", level=level, positions=positions)
    step = max(1, len(scores.parts) // 12)
    expected = [[patched(own, part, pair) for part in scores.parts[::step]] for pair in own.pairs]
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(scores.per_example[:, ::step], expected, rtol=1e-5, atol=3e-5)
    with torch.no_grad():
        clean, corrupt = (
            np.mean([float(own.metric(ids, pair)) for ids, pair in zip(side, own.pairs, strict=True)])
            for side in ([p.clean for p in own.pairs], [p.corrupt for p in own.pairs])
        )
    assert abs(scores.provenance.base_metric - corrupt) < 3e-5
    assert scores.provenance.source_metric is not None and abs(scores.provenance.source_metric - clean) < 3e-5


@pytest.mark.parametrize("level", ["heads", "blocks"])
@pytest.mark.parametrize("name", MORE)
def test_exact_patching_of_others(name: str, level: str) -> None:
    test_exact_patching(name, level, "all")


@pytest.mark.parametrize(
    "name",
    [
        *NAMES,
        *MORE,
        "deberta-mlm",
    ],
)
def test_what_is_patched_how_is_said_in_words(name: str) -> None:
    own = asked(name)
    engine = interp.attribute(own.model, own.task, method="exact", level="blocks").provenance.engine
    assert engine.startswith(("replay", "whole forwards: ")) and "index" not in engine and "object" not in engine


@pytest.mark.parametrize("level", ["heads", "blocks", "neurons"])
@pytest.mark.parametrize("name", NAMES)
def test_attribution_patching(name: str, level: str) -> None:
    """(clean - corrupt) . d metric / d value at the corrupt run, by autograd on the plain model."""
    own = asked(name)
    scores = interp.attribute(own.model, own.task, method="atp", level=level)
    step = max(1, len(scores.parts) // 12)
    expected = [[_slope(own, part, pair) for part in scores.parts[::step]] for pair in own.pairs]
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(scores.per_example[:, ::step], expected, rtol=1e-5, atol=3e-5)


def _slope(own: Asked, node: Node, pair: TokenPair) -> float:
    leaf: list[Tensor] = []

    def take(x: Tensor) -> Tensor:
        leaf.append(x.detach().clone().requires_grad_())
        return leaf[0]

    with torch.enable_grad(), seen(*own.place(node), take):
        (gradient,) = torch.autograd.grad(own.metric(pair.corrupt, pair), leaf)
    change = own.value(node, pair.clean) - leaf[0].detach()
    return float((own.own(node, change) * own.own(node, gradient)).sum())


@pytest.mark.parametrize("name", NAMES)
def test_deeplift_is_complete_at_every_cut_of_the_stream(name: str) -> None:
    """The sum over the positions of a cut is the change of the metric, through heads that are no linear map too."""
    own = asked(name)
    scores = interp.attribute(own.model, own.task, method="deeplift", level="resid")
    provenance = scores.provenance
    assert provenance.source_metric is not None
    change = provenance.source_metric - provenance.base_metric
    cuts: dict[tuple[str, int | None], float] = {}
    for part, value in zip(scores.parts, scores.mean, strict=True):
        cuts[part.kind, part.layer] = cuts.get((part.kind, part.layer), 0.0) + float(value)
    assert len(cuts) >= 4
    for cut, total in cuts.items():
        assert abs(total - change) < 1e-3 * max(1.0, abs(change)), cut


@pytest.mark.parametrize("name", NAMES)
def test_tokens(name: str) -> None:
    """Integrated gradients sum to the change; ablation of a token by hand."""
    own = asked(name)
    embed = Node("embed")
    found = interp.attribute_tokens(own.model, own.task, method="feature-ablation")
    summed = interp.attribute_tokens(own.model, own.task, method="integrated-gradients")
    assert summed.delta is not None and max(map(abs, summed.delta)) < 1e-3
    for example, pair in enumerate(own.pairs):
        assert len(found.tokens[example]) == len(pair.clean)
        other = own.value(embed, pair.corrupt)
        with torch.no_grad():
            whole = own.metric(pair.clean, pair)
            for position in (1, 3, 5):

                def ablate(x: Tensor, position: int = position, other: Tensor = other) -> Tensor:
                    x = x.clone()
                    x[:, position] = other[:, position]
                    return x

                with seen(*own.place(embed), ablate):
                    expected = float(whole - own.metric(pair.clean, pair))
                assert abs(found.values[example][position] - expected) < 3e-5


@pytest.mark.parametrize("name", NAMES)
def test_masks_go_from_the_whole_model_to_single_patches(name: str) -> None:
    own = asked(name)
    mask = interp.masked(own.model, own.task, level="heads")
    exact = interp.attribute(own.model, own.task, method="exact", level="heads", direction="noise")
    full = float(mask(torch.ones(len(mask.parts))).mean())
    assert abs(full - exact.provenance.base_metric) < 3e-5
    for i in range(0, len(mask.parts), 3):
        without = torch.ones(len(mask.parts))
        without[i] = 0
        assert abs(float(mask(without).mean()) - full - exact[mask.parts[i].name]) < 3e-5
