"""Stacks of encoders, images and audio as another program found them, against the layouts that are found here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from interp.model.model import HookedModel
from tests.interp.model.discovery.others import MADE, other

#: What the other program did not find.
UNKNOWN: Final = ("", None)


@pytest.fixture(scope="module")
def reference(assets: Path) -> dict[str, Any]:
    """Class -> stack -> its blocks, as found by the program of the reference folder."""
    path = assets / "ref" / "beyond-decoders" / "discovery.json"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_every_class_of_the_reference_is_made(reference: dict[str, Any]) -> None:
    assert reference.keys() == MADE.keys()
    for name, stacks in reference.items():
        model = other(name)
        for stack, found in stacks.items():
            assert len(model.get_submodule(stack)) == found["blocks"]
            for row in found["rows"]:
                for _, *paths in row["subs"]:
                    assert all(model.get_submodule(f"{row['block']}.{path}") is not None for path in paths)


@pytest.mark.parametrize("name", MADE)
def test_the_stacks_are_those_of_the_reference(reference: dict[str, Any], name: str) -> None:
    by_path = {row["block"]: row for row in _rows(reference[name])}
    blocks = HookedModel(other(name)).layout.every_block
    assert {block.path for block in blocks} == by_path.keys()
    for block in blocks:
        _compare(block, by_path[block.path])


def _rows(stacks: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for found in stacks.values() for row in found["rows"]]


def _compare(block: Any, row: dict[str, Any]) -> None:
    """Modules and places of a block. Of an MLP with a gate the other program named either of two inputs, and no activation."""
    subs = {kind: tuple(f"{block.path}.{path}" for path in paths) for kind, *paths in row["subs"]}
    places = {kind: (place, norm) for kind, place, norm in row["place"]}
    assert (block.attn.module, block.attn.o) == subs["attn"]
    assert block.mlp.down == subs["mlp"][1]
    assert block.mlp.branch is not None or block.mlp.up == subs["mlp"][0]
    assert ("cross" in subs) == (block.cross is not None)
    if block.cross is not None:
        assert (block.cross.module, block.cross.o) == subs["cross"]
    for kind, part in zip(places, block.sublayers, strict=True):
        place, norm = places[kind]
        assert part.place == place
        if place == "around":
            assert part.around == f"{block.path}.{norm}"
        elif norm not in UNKNOWN:
            assert part.writer == f"{block.path}.{norm}"
    if row["act"] not in UNKNOWN:
        assert block.mlp.act == f"{block.path}.{row['act']}"
