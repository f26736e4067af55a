"""Tasks of stories260K that reference numbers were computed for, from token ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task


def reference(assets: Path, name: str) -> Any:
    """Reference numbers. Skips where the folder has none."""
    path = assets / "ref" / "language-models" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no reference numbers at {path}")
    return json.loads(path.read_text())


def task_of(prompts: list[list[int]], answers: list[int]) -> Task:
    """Prompts with an answer each, and the other one of the two answers as the wrong one."""
    other = dict(zip(sorted(set(answers)), sorted(set(answers), reverse=True), strict=True))
    pairs = [
        TokenPair(tuple(ids), tuple(ids), (answer,), (other[answer],))
        for ids, answer in zip(prompts, answers, strict=True)
    ]
    return Task("reference", tuple(Pair("", "", (), (), {}, pair) for pair in pairs))
