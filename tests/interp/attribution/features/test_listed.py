"""Dictionaries are told apart by their hash."""

from __future__ import annotations

from dataclasses import replace

from interp.attribution.features.listed import described
from interp.dictionaries.activation import Relu
from interp.parts.sites import Site
from tests.interp.dictionaries.random_dictionaries import made


def test_the_hash_tells_dictionaries_apart() -> None:
    d = made("resid_post.1", 32, kind="jumprelu")
    assert described(d) == described(made("resid_post.1", 32, kind="jumprelu"))
    assert described(d) == described(replace(d, name="another name"))
    assert "resid_post.1" in described(d) and "24 features" in described(d)
    others = [
        replace(d, normalize="layer_norm"),
        replace(d, activation=Relu()),
        replace(d, activation=replace(d.activation, threshold=d.activation.threshold * 2)),  # type: ignore[attr-defined, call-arg]
        replace(d, target=Site("resid_pre", 2), site=Site("resid_pre", 2)),
        *(replace(d, **{name: getattr(d, name) * 1.001}) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "b_in")),
    ]
    assert len({described(other).rpartition(" ")[2] for other in (d, *others)}) == len(others) + 1
