"""Kinds of parts in words."""

from __future__ import annotations

from circuits.terms.words import edges_of_kind, kind_name


def test_kinds_in_words() -> None:
    assert kind_name("head->q") == "heads → queries" and kind_name("mlp->logits", one=True) == "MLP → logits"
    assert edges_of_kind("embed->mlp") == "edges from the embedding to MLPs"
    assert edges_of_kind("mlp->logits") == "edges from MLPs to the logits"
