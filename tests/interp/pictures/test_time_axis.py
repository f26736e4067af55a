"""How time goes in the picture of a sound: what changes is drawn wide, an end in which nothing does is narrow, and places go along."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from interp.pictures.heat import heat
from interp.pictures.input_picture import Picture
from interp.pictures.time_axis import TimeAxis


def _sound(moving: int, length: int = 1000, silence: float = -1.0) -> Tensor:
    """[4 length]: each column its own number as long as the sound lasts, then silence."""
    x = torch.full((4, length), silence)
    x[:, :moving] = torch.arange(moving, dtype=torch.float32)
    return x


def test_the_part_that_changes_has_nine_tenths_of_the_width_and_keeps_its_columns() -> None:
    x = _sound(90)
    axis = TimeAxis.of([x], 480)
    assert axis.until == 94 and axis.wide == 94
    drawn = axis.columns(x, 4)
    assert drawn.shape == (4, 94 + axis.narrow) and torch.equal(drawn[:, :94], x[:, :94])
    assert torch.equal(drawn[:, 94:], torch.full((4, axis.narrow), -1.0))
    assert axis.narrowed is not None and axis.narrowed == pytest.approx((0.9, 0.094), abs=0.01)


def test_places_go_where_their_columns_are() -> None:
    axis = TimeAxis.of([_sound(90)], 480)
    n, width = 1000, axis.wide + axis.narrow
    boxes = [axis.place((i / n, 0.25, 1 / n, 0.5)) for i in range(n)]
    for i in (0, 40, 93):
        assert boxes[i] == pytest.approx((i / width, 0.25, 1 / width, 0.5))
    assert boxes[-1][0] + boxes[-1][2] == pytest.approx(1.0)
    ends = [(box[0], box[0] + box[2]) for box in boxes]
    assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(ends))
    assert axis.place(()) == ()


def test_sounds_beside_each_other_have_one_axis_and_silences_of_their_own() -> None:
    axis = TimeAxis.of([_sound(90), _sound(200, silence=-3.0)], 480)
    assert axis.until == 210


@pytest.mark.parametrize(
    "sounds",
    [[_sound(600)], [_sound(90), _sound(90, length=900)], [torch.zeros(4, 1000)]],
    ids=["long", "lengths", "silence"],
)
def test_otherwise_time_goes_evenly(sounds: list[Tensor]) -> None:
    axis = TimeAxis.of(sounds, 480)
    assert axis.narrowed is None and [axis.columns(x, 4).shape for x in sounds] == [(4, 480)] * len(sounds)
    assert axis.place((0.5, 0, 0.1, 1)) == (0.5, 0, 0.1, 1)


def test_the_drawing_says_where_time_is_narrow() -> None:
    even = Picture("a", "spectrogram", 4, 1, 1, "AAAAAA==", ((0.0, 0, 1, 1),))
    narrow = Picture("a", "spectrogram", 4, 1, 1, "AAAAAA==", ((0.0, 0, 1, 1),), narrowed=(0.75, 0.05))
    assert "the last 95 % of the time, in which nothing changes, drawn narrower" in heat(narrow)
    assert "narrower" not in heat(even)


@pytest.mark.parametrize("shares", [(0.9,), (0.9, 1.0), (0.0, 0.5)])
def test_shares_that_cannot_be_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="narrowed from"):
        Picture("a", "spectrogram", 4, 1, 1, "AAAAAA==", narrowed=shares)  # type: ignore[arg-type]
