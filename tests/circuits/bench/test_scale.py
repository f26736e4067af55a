"""The measurements of time and memory against size: what is varied, one point in a process of its own, the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from circuits.bench import scale
from circuits.bench.scale import VARIED, WORKS, Row, Shape
from interp.errors import InterpError


def rows(varied: Sequence[str] | None = None) -> list[Row]:
    """Points whose numbers say where they belong, without running anything."""
    return [
        Row(method, level, name, shape, 0.01 * i, 10.0 * i, 1.0)
        for i, ((method, level), (name, shape)) in enumerate(
            (work, own) for own in scale.shapes(varied) for work in WORKS
        )
    ]


def test_one_thing_varies_at_a_time() -> None:
    for name, shape in scale.shapes():
        assert replace(shape, **{name: getattr(Shape(), name)}) == Shape()
    assert [shape.length for _, shape in scale.shapes(["length"])] == list(VARIED["length"])


def test_other_fields_are_refused() -> None:
    with pytest.raises(InterpError, match="lenght"):
        list(scale.shapes(["lenght"]))


def test_a_shape_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def apart(method: str, level: str, varied: str, shape: Shape) -> Row:
        asked.append((method, level, shape))
        return Row(method, level, varied, shape, 1.0, 2.0, 3.0)

    monkeypatch.setattr(scale, "measure_apart", apart)
    found = scale.scale(["prompts", "layers"])
    assert len(asked) == len(set(asked)) == len(WORKS) * (len(VARIED["prompts"]) + len(VARIED["layers"]) - 1)
    assert [row.varied for row in found].count("layers") == len(WORKS) * len(VARIED["layers"])


def test_a_point_in_its_own_process() -> None:
    row = scale.measure_apart("relp", "heads", "prompts", Shape(prompts=2, length=4, layers=1, width=32))
    assert row.seconds > 0 and row.planned_mib > 0 and row.above_mib >= 0


def test_a_point_that_fails_says_why() -> None:
    with pytest.raises(InterpError, match=r"relp at level no-level .*unknown level"):
        scale.measure_apart("relp", "no-level", "prompts", Shape(prompts=2))


def test_files(tmp_path: Path) -> None:
    measured = rows()
    written = scale.save(measured, tmp_path / "scale.json")
    read = json.loads(written[0].read_text())
    assert [Row(**{**r, "shape": Shape(**r["shape"])}) for r in read] == measured
    picture = ElementTree.fromstring(written[1].read_text())
    lines = list(picture.iter("{http://www.w3.org/2000/svg}path"))
    assert len(lines) == 2 * len(VARIED) * len(WORKS) + len(WORKS)
    texts = {e.text for e in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"prompt pairs", "tokens per prompt", "layers", "d_model", "CPU seconds", "MiB above the model"} <= texts
