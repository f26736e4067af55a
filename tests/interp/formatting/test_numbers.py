"""Numbers, shares and bars as they are written."""

from __future__ import annotations

import pytest

from interp.formatting.numbers import number, percent, percent_interval, percent_range, share_digits


@pytest.mark.parametrize(
    "value,digits,text",
    [(1.23456, 3, "1.235"), (-0.5, 2, "−0.50"), (-0.0001, 2, "0.00"), (0.0, None, "0"), (1e-12, None, "1.00e-12"), (2.5e7, 2, "2.50e+07"),
     (float("nan"), 2, "–"), (None, 2, "–"), (12.3456, None, "12.35")],
)  # fmt: skip
def test_number(value: float | None, digits: int | None, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    "value,text",
    [
        (0.934, "93 %"),
        (-0.2, "−20 %"),
        (1.0, "100 %"),
        (0.998, "99.8 %"),
        (0.004, "0.4 %"),
        (0.9997, "> 99.9 %"),
        (0.99949, "99.9 %"),
        (1.002, "100.2 %"),
        (1.04, "104 %"),
        (1 - 1e-8, "100 %"),
        (0.0003, "0.0 %"),
        (-0.0003, "0.0 %"),
        (0.0096, "1 %"),
        (0.0, "0 %"),
        (None, "–"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_shares_that_stand_together_have_the_same_digits() -> None:
    assert percent_interval(0.996, 0.91, 1.0) == "99.6 % [91.0, 100.0]"
    assert percent_interval(0.93, 0.88, 0.97) == "93 % [88, 97]" and percent_interval(0.93, None, None) == "93 %"
    assert percent_interval(1.07, -0.2, 0.9999) == "107.0 % [−20.0, > 99.9]"
    assert percent_interval(0.93, 0.88, 0.97, 1) == "93.0 % [88.0, 97.0]"
    assert percent_range(0.12, 0.3) == "12 to 30 %" and percent_range(0.004, 0.3) == "0.4 to 30.0 %"
    assert percent_range(0.301, 0.302) == "30 %"
    assert share_digits([None, 0.5, float("nan")]) == 0 == share_digits([]) and share_digits([0.5, 0.002]) == 1


def test_bars_are_as_long_as_the_scores_and_lie_on_the_side_of_their_sign() -> None:
    from interp.formatting.html import bar

    def style(value: float) -> dict[str, str]:
        inner = str(bar(value, 2.0)).split('style="')[2].split('"')[0]
        return dict(part.strip().split(": ", 1) for part in inner.split(";"))

    full, half, less = style(2.0), style(1.0), style(-1.0)
    width = [int(s["width"].removesuffix("px")) for s in (full, half, less)]
    assert width[0] == 2 * width[1] == 2 * width[2]
    middle = int(full["left"].removesuffix("px"))
    assert int(half["left"].removesuffix("px")) == middle
    assert int(less["left"].removesuffix("px")) + width[2] == middle
    assert full["background"] == half["background"] != less["background"]
