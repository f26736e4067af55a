"""The curves of a training report: what the frame shows, what it says of the rest, and how its ticks are written."""

from __future__ import annotations

import re
from typing import Any

import pytest

from circuits.report.dictionary.training_page import HEIGHT, _figure, _lines_of

BOTTOM, TOP = HEIGHT - 52, 14


def figure(values: list[float], share: bool = False) -> dict[str, Any]:
    """A figure of values on batches, after 100, 200, ... tokens."""
    rows = [{"tokens": 100.0 * (i + 1), "l0": value} for i, value in enumerate(values)]
    return _figure(rows, "L0", "features", "l0", "", share)


def heights(drawing: str, kind: str) -> list[float]:
    """Where the lines of a kind are, from the bottom in pixels."""
    paths = re.findall(rf'<path d="M([^"]*)" class="{kind}">', drawing)
    return [BOTTOM - float(point.split()[1]) for path in paths for point in path.split("L")]


def test_a_start_far_out_is_said_and_drawn_at_the_edge() -> None:
    """500 and 300 are beyond 1.05 * 10; the other seven points are where the scale puts them."""
    late = [10.0, 8.0, 6.0, 5.0, 5.0, 5.0, 4.0]
    found = figure([500.0, 300.0, *late])
    text = found["beyond"]
    assert text.startswith("2 of 9 points lie beyond the frame") and "500.0 at 100 tokens" in text
    assert heights(found["drawing"], "beyond") == pytest.approx([BOTTOM - TOP] * 2)
    expected = [v / 10.5 * (BOTTOM - TOP) for v in (10.5, *late)]
    assert heights(found["drawing"], "own-line") == pytest.approx(expected, abs=0.06)


def test_a_start_that_leaves_the_rest_to_be_seen_is_drawn() -> None:
    values = [30.0, 20.0, 10.0, 9.0, 8.0, 8.0]
    found = figure(values)
    assert found["beyond"] == "" and not heights(found["drawing"], "beyond")
    expected = [v / 31.5 * (BOTTOM - TOP) for v in values]
    assert heights(found["drawing"], "own-line") == pytest.approx(expected, abs=0.06)


def test_shares_below_the_frame_are_said() -> None:
    found = figure([-3.0, -1.0, 0.5, 0.9, 0.95, 0.97], share=True)
    assert found["beyond"].startswith("2 of 6 points") and "with −300 % at 100 tokens" in found["beyond"]
    assert heights(found["drawing"], "beyond") == pytest.approx([0, 0])


@pytest.mark.parametrize("largest", [0.0, 0.0191, 0.05, 0.13, 0.9])
def test_ticks_of_shares_are_what_they_say(largest: float) -> None:
    """The label of every tick is its height: none is rounded to another's."""
    drawing = figure([largest / 2, largest], share=True)["drawing"]
    ticks = re.findall(r'<text x="70\.0" y="([\d.]+)" class="end">([\d.]+) %</text>', drawing)
    assert len(ticks) >= 3 and len({said for _, said in ticks}) == len(ticks)
    per_percent = [(BOTTOM - (float(y) - 4)) / float(said) for y, said in ticks if float(said)]
    assert per_percent == pytest.approx([per_percent[-1]] * len(per_percent), rel=0.01)


def test_a_long_curve_is_drawn_to_its_end() -> None:
    values = [5.0 + i % 3 for i in range(1000)]
    found = heights(figure(values)["drawing"], "own-line")
    assert found == pytest.approx([v / (1.05 * 7) * (BOTTOM - TOP) for v in values], abs=0.06)


def test_settings_keep_their_lines_and_stay_text() -> None:
    assert _lines_of({"a": ["<b>", 1]}) == "{\n &#34;a&#34;: [\n  &#34;&lt;b&gt;&#34;,\n  1\n ]\n}"
