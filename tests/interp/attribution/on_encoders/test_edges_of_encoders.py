"""Edges: of classifiers with norms in front they are what a patch by hand gives; where norms act on the sums there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.attribution.protocol.registry import METHODS
from interp.errors import LayoutError
from interp.parts.nodes import Node
from tests.interp.attribution.on_encoders.asked import Asked, asked, seen
from tests.interp.model.encoders.places import parts


@pytest.mark.parametrize("name", ["gpt2-classes", "by-hand-mean", "modernbert-classes", "by-hand-before"])
def test_exact_edges_into_mlps_and_the_output(name: str) -> None:
    """The clean value of a writer in place of its corrupt one, for one reader alone."""
    own = asked(name)
    (pair, *_) = own.pairs
    scores = interp.attribute(own.model, own.task.at([0]), method="exact", level="edges")
    found, expected = [], []
    for edge, value in zip(scores.edges, scores.per_example[0], strict=True):
        if edge.receiver.kind in ("mlp", "logits"):
            change = _written(own, edge.sender, pair.clean) - _written(own, edge.sender, pair.corrupt)
            with torch.no_grad():
                base = own.metric(pair.corrupt, pair)
                with seen(*_reader(own, edge.receiver), lambda x, change=change: x + change):
                    expected.append(float(own.metric(pair.corrupt, pair) - base))
            found.append(value)
    assert len(found) > 20 and np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _written(own: Asked, node: Node, ids: tuple[int, ...]) -> Tensor:
    """What a node adds to the stream, without the bias of its layer."""
    value = own.value(node, ids)
    if node.kind != "head":
        return value
    weight = parts(own.name, own.model.hf, node.layer or 0).o.weight.detach()
    weight = weight if own.name == "gpt2-classes" else weight.T
    written: Tensor = own.own(node, value) @ weight.unflatten(0, (own.model.layout.n_heads, -1))[node.unit]
    return written


def _reader(own: Asked, node: Node) -> tuple[torch.nn.Module, bool]:
    if node.kind == "mlp":
        return parts(own.name, own.model.hf, node.layer or 0).second, False
    return parts(own.name, own.model.hf, 1).block, True


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes", "by-hand-around"])
def test_there_are_no_edges_around_sums(name: str) -> None:
    own = asked(name)
    for method in (m.name for m in METHODS.values() if m.edges is not None):
        with pytest.raises(LayoutError, match="the norms of this model act on the sums"):
            interp.attribute(own.model, own.task, method=method, level="edges", allow_unsupported=True)
    with pytest.raises(LayoutError, match="act on the sums"):
        interp.path_patch(own.model, own.task, ["a0.h0"], ["a1.h1"])
