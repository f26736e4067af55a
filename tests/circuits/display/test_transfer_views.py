"""Figures of mechanisms and of circuits on other tasks hold the numbers of their values, and text from outside as text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.circuits.display.displayed_runs import mechanisms_of, transfer_of


def test_a_map_of_transfer_holds_faithfulness_and_leaves_undefined_cells_open() -> None:
    heat = transfer_of("<b>a").plot().data[0]
    assert list(heat.z[0]) == [1.0, None] and list(heat.z[1]) == [0.2, 0.9]
    assert list(heat.y) == ["&lt;b&gt;a", "b"] and "circuit of b on b: 0.90" in heat.text[1][1]


def test_examples_stand_by_own_and_other_group() -> None:
    found = mechanisms_of("<b>a")
    line, first, second = found.plot().data
    assert line.name == "equal" and list(first.y) == [0.5, 0.5] and list(second.x) == [0.2]
    assert "<b>" not in first.name + second.name + first.text[0]
    one = replace(found, groups=np.zeros(4, dtype=int))
    (whole,) = one.plot().data
    assert list(whole.x) == [0, 1, 2, 3]
