"""A matrix with few entries in CSR form, and its products on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Entries:
    """A sparse [row column] matrix: row i has entries begin[i] to begin[i + 1] of columns and values; int32 indices."""

    begin: Tensor
    columns: Tensor
    values: Tensor
    shape: tuple[int, int]

    def csr(self) -> Tensor:
        return torch.sparse_csr_tensor(self.begin, self.columns, self.values, self.shape, check_invariants=False)

    def rows(self) -> Tensor:
        """The row of each entry."""
        each = torch.arange(self.shape[0], dtype=torch.int32)
        return each.repeat_interleave(self.begin.diff(), output_size=len(self.columns))

    def slice(self, low: int, high: int) -> Entries:
        """Rows low to high alone."""
        begin, end = int(self.begin[low]), int(self.begin[high])
        to = self.begin[low : high + 1] - begin
        return Entries(to, self.columns[begin:end], self.values[begin:end], (high - low, self.shape[1]))

    def between(self, low: int, high: int) -> tuple[Entries, Tensor]:
        """The entries of columns low to high, in a matrix of the same shape, and which of all they are."""
        here = (low <= self.columns) & (self.columns < high)
        before = torch.zeros(len(here) + 1, dtype=torch.int32)
        before[1:] = here.cumsum(0)
        return Entries(before[self.begin], self.columns[here], self.values[here], self.shape), here

    def turned(self) -> tuple[Entries, Tensor]:
        """The transpose, and which entry went where: values [order] are in the transpose's order."""
        order = self.columns.argsort(stable=True)
        begin = begins(self.columns, self.shape[1])
        return Entries(begin, self.rows()[order], self.values[order], (self.shape[1], self.shape[0])), order


def product(left: Entries, right: Tensor, out: Tensor) -> None:
    """out = left right."""
    torch.addmm(out, left.csr(), right, beta=0, out=out)


def begins(indices: Tensor, rows: int) -> Tensor:
    """Where each row's entries begin, from the rows of all entries [row + 1]."""
    begin = torch.zeros(rows + 1, dtype=torch.int32)
    begin[1:] = indices.bincount(minlength=rows).cumsum(0)
    return begin
