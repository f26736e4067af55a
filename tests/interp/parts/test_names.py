"""Names of nodes and edges of features are read as they are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interp.errors import MethodError
from interp.parts.graph import parse_edge
from interp.parts.nodes import Node


def test_names_of_nodes() -> None:
    feature, error = Node("resid_post.feature", 3, 117), Node("resid_post.error", 3)
    assert (feature.name, error.name) == ("resid_post.3.f117", "resid_post.3.error")
    assert replace(feature, position=4).name == "resid_post.3.f117@4"
    assert (Node("embed.feature", None, 2).name, Node("embed.error").name) == ("embed.f2", "embed.error")
    assert (feature.feature, feature.head, feature.neuron, error.feature) == (117, None, None, None)
    assert Node("neuron", 3, 117).feature is None


def test_names_of_edges_between_features() -> None:
    for name in ("resid_post.0.f3->z.1.f12", "embed.f1->resid_post.0.error", "attn_out.2.error->logits"):
        assert parse_edge(name).name == name
    for name in ("foo.3.f2->resid_post.4.f1", "resid_post.error->logits", "resid_post.0.f3->embed.2.f1", "a0.h1->z.f2"):
        with pytest.raises(MethodError, match="expected 'sender->receiver'"):
            parse_edge(name)
