"""The time of a sound in its picture: an end in which nothing changes, such as the silence that fills a clip to thirty seconds, is drawn narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from interp.pictures.input_picture import Box, Narrowed

#: The share of the time that the end must have at least, and the share of the width that it is drawn in.
_LONG: Final = 0.5
_WIDTH: Final = 0.1
#: How many times as long as what changes the part that is drawn wide is, so that one sees where it ends.
_MARGIN: Final = 1.05
#: Differences of at most this share of the range of all numbers are none.
_SAME: Final = 1e-3


@dataclass(frozen=True)
class TimeAxis:
    """Columns of a picture for the times of sounds of one length: `wide` for the first `until` of `length` times, `narrow` for the others."""

    length: int
    until: int
    wide: int
    narrow: int

    @classmethod
    def of(cls, numbers: Sequence[Tensor], widest: int) -> TimeAxis:
        """One axis for inputs [row time] that stand beside each other. Of several lengths, and where the end is not long, it is even."""
        length = numbers[0].shape[-1]
        until = length if len({x.shape for x in numbers}) > 1 else min(length, _until(numbers))
        if 1 - until / length < _LONG:
            return cls(length, length, widest, 0)
        wide = min(until, round(widest * (1 - _WIDTH)))
        return cls(length, until, wide, max(1, round(wide * _WIDTH / (1 - _WIDTH))))

    @property
    def narrowed(self) -> Narrowed | None:
        """Where the end begins, as shares of the width and of the time; None of an even axis."""
        return (self.wide / (self.wide + self.narrow), self.until / self.length) if self.narrow else None

    def columns(self, x: Tensor, rows: int) -> Tensor:
        """[row time] as [rows column], each the mean of what it stands for."""
        if not self.narrow:
            return adaptive_avg_pool2d(x[None], (rows, min(x.shape[-1], self.wide)))[0]
        parts = ((x[:, : self.until], self.wide), (x[:, self.until :], self.narrow))
        return torch.cat([adaptive_avg_pool2d(own[None], (rows, n))[0] for own, n in parts], 1)

    def place(self, box: Box) -> Box:
        """A place in shares of the time as one in shares of the width."""
        if self.narrowed is None or not box:
            return box
        x, y, width, height = box
        start, end = self._at(x), self._at(x + width)
        return start, y, end - start, height

    def _at(self, share: float) -> float:
        edge, until = self.narrowed or (1.0, 1.0)
        return share * edge / until if share <= until else edge + (share - until) * (1 - edge) / (1 - until)


def _until(numbers: Sequence[Tensor]) -> int:
    """The first time behind which every input stays what it is at its end, with a margin."""
    span = max(float(x.max()) for x in numbers) - min(float(x.min()) for x in numbers)
    moving = torch.stack([(x - x[:, -1:]).abs().amax(0) > _SAME * span for x in numbers]).any(0)
    last = int(moving.nonzero().max()) + 1 if bool(moving.any()) else len(moving)
    return round(last * _MARGIN)
