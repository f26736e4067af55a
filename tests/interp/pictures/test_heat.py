"""Numbers over a picture: what is tinted, how strongly, what it says, and that nothing comes in from outside."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest

from interp.pictures.heat import STRONGEST, defined, heat, size
from interp.pictures.input_picture import Picture

QUARTERS = ((), (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5))
IMAGE = Picture("a.png", "image", 4, 2, 3, base64.b64encode(bytes(range(24))).decode(), QUARTERS)
WAVE = Picture(
    "a.wav",
    "wave",
    4,
    2,
    1,
    base64.b64encode(bytes([100] * 4 + [160] * 4)).decode(),
    ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 1.0)),
)
TINT = re.compile(
    r'<path d="((?:M[\d.]+ [\d.]+h[\d.]+v[\d.]+h-[\d.]+z)+)" fill="rgb\(([\d, ]+)\)" fill-opacity="([\d.]+)"/>'
)


def tints(drawn: str) -> dict[str, tuple[str, float]]:
    """The upper left corner of each tint -> its colour and strength."""
    return {
        corner: (colour, float(opacity))
        for path, colour, opacity in TINT.findall(drawn)
        for corner in re.findall(r"M([\d.]+ [\d.]+)", path)
    }


def test_each_position_is_tinted_where_it_stands_by_its_share_of_the_largest() -> None:
    found = tints(heat(IMAGE, [9.0, 2.0, -1.0, 0.0, 0.01], long=100))
    orange, blue = "226, 104, 12", "58, 132, 205"
    assert found == {"0.0 0.0": (orange, STRONGEST), "50.0 0.0": (blue, STRONGEST / 2)}
    # A scale from outside; what is above it is as strong as its end.
    other = tints(heat(IMAGE, [9.0, 2.0, -1.0, 4.0, 0.0], limit=4.0, long=100))
    strengths = {corner: strength for corner, (_, strength) in other.items()}
    wanted = {"0.0 0.0": STRONGEST / 2, "50.0 0.0": STRONGEST / 4, "0.0 25.0": STRONGEST}
    assert strengths == pytest.approx(wanted, abs=1e-3)


def test_the_sign_is_told_without_colour() -> None:
    drawn = heat(IMAGE, [0.0, 2.0, -2.0, 0.1, 0.1], long=100)
    (signs,) = re.findall(r'<path d="([^"]*)" fill="none" stroke="#000"', drawn)
    assert signs.count("h") == 2 and signs.count("v") == 1
    assert 'stroke="#000"' not in heat(IMAGE, [0.0, 2.0, -2.0, 0.1, 0.1], long=100, signed=False)
    # Over frames the upper half is positive, the lower negative.
    assert set(tints(heat(WAVE, [1.0, -1.0]))) == {"0.0 0.0", "240.0 32.0"}


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0, 4.0, float("nan")]])
def test_other_than_a_number_for_each_position_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        heat(IMAGE, values)


def test_texts_are_escaped_and_nothing_is_loaded() -> None:
    hostile = '"><script>alert(1)</script>\u202e'
    drawn = str(heat(replace(IMAGE, name=hostile), [0.0, 1.0, 1.0, 1.0, 1.0], said=[hostile] * 5, spoken=hostile))
    assert "<script" not in drawn and "\u202e" not in drawn and drawn.count("<title>") == 4
    assert re.findall(r'href="([^"]{0,22})', drawn) == ["data:image/png;base64,"]


def test_pixels_are_on_a_page_once_for_all_drawings() -> None:
    page = str(defined(IMAGE, "in")) + str(heat(IMAGE, of="in")) + str(heat(IMAGE, [0.0] * 5, of="in"))
    assert page.count("data:image/png") == 2 and re.findall(r'href="(#[^"]*)"', page) == ["#in", "#in-grey"]
    assert re.findall(r'<symbol id="([^"]*)"', page) == ["in", "in-grey"]
    assert size(IMAGE, 100) == (100, 50)


def test_a_wave_is_drawn_from_its_lowest_to_its_highest_samples() -> None:
    (path,) = re.findall(r'<path d="([^"]*)" fill="currentColor"', heat(WAVE))
    assert path.startswith("M0 95h1v60h-1z") and path.count("M") == 4
