"""Edges of towers of images and sound, against patches and gradients by plain hooks on the bare model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import MethodError
from interp.scores.scores import Scores
from tests.interp.attribution.images.bare_towers import PLACES, bare, changed, hooked
from tests.interp.attribution.images.test_image_tasks import _task


def scored(name: str, method: str, **asked: Any) -> Scores:
    model = hooked(name)
    return interp.attribute(model, _task(model), method=method, level="edges", direction="noise", **asked)


@pytest.mark.parametrize("name", PLACES)
def test_exact_edges_are_patches_by_plain_hooks(name: str) -> None:
    own, scores = bare(name, _task(hooked(name))), scored(name, "exact")
    change = {u: own.written(u, own.source) - own.written(u, own.base) for u in {edge.sender for edge in scores.edges}}
    expected = [own.effect(edge, change[edge.sender]) for edge in scores.edges]
    assert len(expected) == 110 and np.abs(expected).max() > 0.05
    np.testing.assert_allclose(scores.per_example[0], expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("name", ["ViTForImageClassification", "CLIPVisionModelWithProjection", "BEiT"])
def test_edges_into_a_reader_add_up_to_its_own_score(name: str) -> None:
    """To  (stream of the source - stream of the base) . gradient  at the reader's copy: of q, k and v of a layer together that of its norm."""
    own, scores = bare(name, _task(hooked(name))), scored(name, "eap")
    copies: dict[tuple[str, int], Tensor] = {}

    def kept(at: tuple[str, int]) -> Callable[[Tensor], Tensor]:
        return lambda x: copies.setdefault(at, x.clone())

    places = [(at, own.at(layer, at[1]), False) for layer in (0, 1) for at in ((layer, 0), (layer, 3))]
    for at, module, output in [*places, ((2, 0), own.block(1), True)]:
        copies.clear()
        with changed(module, output, kept(at)):  # type: ignore[arg-type]
            (gradient,) = torch.autograd.grad(own.metric(own.base).sum(), list(copies.values()))
        apart = own.seen(own.source, module, output) - own.seen(own.base, module, output)
        kinds = {0: "qkv", 3: "mlp"}[at[1]] if at[0] < 2 else "logits"
        into = [edge.receiver.kind in kinds and edge.receiver.layer in (at[0], None) for edge in scores.edges]
        found = scores.per_example[0, into].sum()
        assert abs(float((apart * gradient).sum())) > 1e-4
        assert found == pytest.approx(float((apart * gradient).sum()), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("method", ["relp", "deeplift", "atp-ig"])
def test_edges_out_of_a_writer_add_up_to_its_node(method: str) -> None:
    name = "ViTForImageClassification"
    asked = {"steps": 4} if method != "relp" else {}
    edges, model = scored(name, method, **asked), hooked(name)
    nodes = interp.attribute(model, _task(model), method=method, level="heads", direction="noise", **asked)
    for i, part in enumerate(nodes.parts):
        out = [edge.sender.name == part.name for edge in edges.edges]
        np.testing.assert_allclose(edges.per_example[:, out].sum(1), nodes.per_example[:, i], rtol=1e-3, atol=1e-5)


def test_edges_at_each_patch_add_up_to_those_at_all() -> None:
    name = "ViTForImageClassification"
    whole, each = scored(name, "eap"), scored(name, "eap", positions="each")
    assert len(each.parts) == 17 * len(whole.parts) and each.provenance.positions == "each"
    total = each.per_example.reshape(3, 17, -1).sum(1)
    np.testing.assert_allclose(total, whole.per_example, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["iterated", "ifr", "acdc", "eap-ig-activations"])
def test_other_methods_of_edges_take_images(method: str) -> None:
    scores = scored("ViTForImageClassification", method, **({"rounds": 3} if method == "iterated" else {}))
    assert np.isfinite(scores.mean).all() and np.ptp(scores.mean) > 0


def test_positions_apart_from_tokens_are_refused_where_there_are_none() -> None:
    with pytest.raises(MethodError, match="split_positions: what is no single text has no token embedding apart"):
        scored("ViTForImageClassification", "eap", split_positions=True)


def test_paths_run_along_edges_of_images() -> None:
    """Without MLPs between, the path to the output is the edge."""
    name = "ViTForImageClassification"
    model, scores = hooked(name), scored(name, "exact")
    path = interp.path_patch(model, _task(model), ["a0.h1"], ["logits"], direction="noise")
    np.testing.assert_allclose(
        path.per_example, scores.per_example[:, [e.name for e in scores.edges].index("a0.h1->logits")], atol=1e-5
    )
