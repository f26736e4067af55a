"""Pictures that cannot be drawn are refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuits import interchange
from circuits.circuit.selection import discover
from circuits.report import browser
from circuits.report.picture import PictureError, save_picture
from interp.attribution.request import attribute_all
from interp.scores.scores import Scores
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


@pytest.fixture(scope="module")
def found() -> dict[str, Scores]:
    return attribute_all(hooked("gpt2"), toy_task(), methods=["relp", "exact"], level="heads")


def refused(found: dict[str, Scores]) -> list[tuple[Callable[[Path], Any], str]]:
    relp, circuit = found["relp"], discover(found["relp"], n=3)
    odd: Any = 3
    return [
        (lambda to: save_picture(relp, to / "x.gif"), r"unknown kind of picture '\.gif'"),
        (lambda to: save_picture(odd, to / "x.svg"), "int cannot be drawn"),
        (lambda to: save_picture(relp, to / "x.html"), "has no interactive page"),
        (lambda to: save_picture(relp, to / "none" / "x.svg"), "does not exist; make it first"),
        (lambda to: save_picture(relp, to / "x.svg", scores=relp), "go with a circuit"),
        (lambda to: interchange.write(circuit, to / "x.png", "svg"), "must end with .svg"),
        (lambda to: browser.as_png("<svg/>", 9000, 10), "too large"),
    ]


@pytest.mark.parametrize("case", range(7))
def test_what_cannot_be_drawn_is_refused(case: int, found: dict[str, Scores], tmp_path: Path) -> None:
    make, message = refused(found)[case]
    with pytest.raises((PictureError, interchange.InterchangeError), match=message):
        make(tmp_path)
    assert not list(tmp_path.iterdir())
