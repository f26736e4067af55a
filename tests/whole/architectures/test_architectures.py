"""What docs/architectures.md says of each class of transformers is what a tiny model of it does."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.house import ROOT
from tests.whole.architectures.building import classes
from tests.whole.architectures.columns import COLUMNS, row
from tests.whole.architectures.laws import MODULES, NO, UNTRIED

LINES: Final = (ROOT / "docs" / "architectures.jsonl").read_text(encoding="utf-8").splitlines()
SAID: Final = {(found["mapping"], found["class"]): found for found in map(json.loads, LINES)}


def test_every_class_has_a_row() -> None:
    """Of the mappings of this very transformers: those that could not be built too, and none that is no more."""
    assert list(SAID) == [(mapping, name) for mapping, name, _ in classes()]
    for found in SAID.values():
        assert bool(found["why"]) == any(found[column] in (NO, UNTRIED) for column in COLUMNS), found
        assert bool(found["blocks"]) == (found["loads"] == MODULES), found


@pytest.mark.broad(cases=20)
@pytest.mark.parametrize(("mapping", "name", "model_type"), classes(), ids=lambda x: x.replace(" ", "-"))
def test_its_row_is_what_it_does(mapping: str, name: str, model_type: str) -> None:
    said = SAID[mapping, name]
    found = row(name, model_type)
    assert {key: found[key] for key in ("built", *COLUMNS)} == {key: said[key] for key in ("built", *COLUMNS)}, found[
        "why"
    ]
