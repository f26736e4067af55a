"""Where patched runs differ from the base run, and how the two are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interp.attribution.exact.arguments import Rows


@dataclass(frozen=True)
class Segment:
    """`n` patches of every example, whose stream differs from the base run's at positions start..stop.

    Its rows are ordered (patch, example, position).
    """

    n: int
    start: int
    stop: int

    def size(self, batch: int) -> int:
        """How many rows it has."""
        return self.n * batch * (self.stop - self.start)

    def between(self, start: int, stop: int) -> Segment:
        """The same patches at other positions."""
        return replace(self, start=start, stop=stop)


def split(x: Tensor, segments: Sequence[Segment], batch: int, dim: int = 0) -> list[Tensor]:
    """The rows of each segment, of a tensor with all rows on axis `dim`."""
    return list(torch.split(x, [s.size(batch) for s in segments], dim=dim))


def spliced(base: Tensor, new: Tensor, own: Segment, start: int, stop: int, dim: int = 1) -> Tensor:
    """Values at positions start..stop: those of the patched runs where they are known, else those of the base run.

    base: the base run, its positions on axis `dim`, [batch ...]; new: [patch * batch ...] at the segment's positions.
    """
    before, after = min(max(own.start, start), stop), max(min(own.stop, stop), start)
    parts = [
        _copies(base.narrow(dim, start, before - start), own.n),
        new.narrow(dim, before - own.start, after - before) if after > before else None,
        _copies(base.narrow(dim, after, stop - after), own.n) if after >= before else None,
    ]
    some = [part for part in parts if part is not None and part.shape[dim]]
    return some[0] if len(some) == 1 else torch.cat(some, dim=dim)


def _copies(x: Tensor, n: int) -> Tensor:
    """[batch ...] -> [patch * batch ...]."""
    return x if n == 1 else x.expand(n, *x.shape).flatten(0, 1)


def rows_of(segments: Sequence[Segment], batch: int) -> Rows:
    """Example and position of every row of the segments, in order."""
    examples, positions = [], []
    for own in segments:
        grid = torch.meshgrid(torch.arange(batch), torch.arange(own.start, own.stop), indexing="ij")
        examples.append(grid[0].flatten().repeat(own.n))
        positions.append(grid[1].flatten().repeat(own.n))
    return Rows(torch.cat(examples), torch.cat(positions))
