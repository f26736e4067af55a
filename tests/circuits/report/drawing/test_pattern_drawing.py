"""Attention patterns as drawings."""

from __future__ import annotations

import re

from circuits.report.drawing.pattern_drawing import pattern


def test_a_pattern_draws_strong_cells_with_their_weight_and_weak_ones_as_one_shape() -> None:
    rows = [[1000, 0, 0], [60, 940, 0], [30, 70, 900]]
    names = {key: ["x", "y", "z"] for key in ("tokens", "columns", "labels", "columns_labels")}
    data = {"head": "a0.h0", "rows": rows, **names, "skipped": 0, "skipped_columns": 0}
    drawn = str(pattern(data))
    titles = re.findall(r"<title>(.*?)</title>", drawn)
    assert titles == [
        f"{t} (position {i}) looks at {t} (position {i}): {w}"
        for i, (t, w) in enumerate(zip("xyz", ("1.00", "0.94", "0.90"), strict=True))
    ]
    # Three weak cells of about the same shade, each a box in its row and column.
    paths = re.findall(r'<path d="([^"]*)" class="look" fill-opacity="([\d.]+)"', drawn)
    assert [(d.count("M"), float(o)) for d, o in paths] == [(3, 0.05)] and "style" not in drawn
    boxes = {(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", paths[0][0])}
    strong = [(float(x), float(y)) for x, y in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*class="look"', drawn)]
    xs, ys = [x for x, _ in strong], [y for _, y in strong]
    assert boxes == {(xs[0], ys[1]), (xs[0], ys[2]), (xs[1], ys[2])}


def test_a_pattern_across_has_columns_of_its_own() -> None:
    """Two queries look at three positions of another stream, of which nothing is left out at the start."""
    data = {
        "head": "x0.h0", "rows": [[700, 0, 300], [0, 1000, 0]], "tokens": ["p", "q"], "labels": ["p", "q"], "skipped": 4,
        "columns": ["x", "y", "z"], "columns_labels": ["x", "y", "z"], "skipped_columns": 0,
    }  # fmt: skip
    drawn = str(pattern(data))
    titles = re.findall(r"<title>(.*?)</title>", drawn)
    assert titles == [
        "p (position 4) looks at x (position 0): 0.70",
        "p (position 4) looks at z (position 2): 0.30",
        "q (position 5) looks at y (position 1): 1.00",
    ]
    frame = re.search(r'width="([\d.]+)" height="([\d.]+)" class="frame"', drawn)
    assert frame is not None and float(frame[1]) / float(frame[2]) == 1.5
