"""Which token positions a score speaks of: all together, each, counted from the end, or the named spans of the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from interp.errors import MethodError, unknown
from interp.tasks.task import TokenPair

POSITIONS: Final = ("all", "each", "end", "spans")
REST: Final = "rest"


@dataclass(frozen=True)
class Positions:
    """Labels, and for each pair the label of every token (index into `labels`)."""

    mode: str
    labels: tuple[int | str | None, ...]
    of_token: tuple[tuple[int, ...], ...]

    def masks(self, index: Sequence[int]) -> Tensor:
        """Which positions belong to each label, for a batch of pairs of one length: bool [label batch pos]."""
        labels = torch.tensor([self.of_token[i] for i in index])
        return torch.stack([labels == label for label in range(len(self.labels))])


def align(mode: str, pairs: Sequence[TokenPair]) -> Positions:
    """`all`: one label. `each`: one per position, for pairs of one length. `end`: counted from the last token (-1), with
    `rest` for what only longer prompts have. `spans`: the spans that the task names, with `rest` for other tokens.
    Positions are those of the prompts; tokens of the answer that stand behind them are in `all`, and else in `rest`.

    Raises: MethodError, listing the lengths, where `each` has no meaning; or for spans that are missing or overlap.
    """
    lengths = sorted({len(pair.prompts[0]) for pair in pairs})
    if mode == "all":
        return Positions(mode, (None,), tuple((0,) * pair.length for pair in pairs))
    if mode == "each":
        if len(lengths) > 1:
            raise MethodError(
                f"positions='each' needs prompts of one length; these have {', '.join(map(str, lengths))} tokens. "
                "Use positions='end' (counted from the last token), positions='spans' (named in the task file) or 'all'; or "
                "prompts of one length: interp.task(..., length='commonest')."
            )
        n = lengths[0]
        rest = (REST,) if any(pair.forced for pair in pairs) else ()
        return Positions(mode, (*range(n), *rest), tuple((*range(n), *[n] * pair.forced) for pair in pairs))
    if mode == "end":
        return _from_end(pairs, lengths)
    if mode == "spans":
        return _spans(pairs)
    raise MethodError(unknown("positions", mode, POSITIONS))


def _from_end(pairs: Sequence[TokenPair], lengths: Sequence[int]) -> Positions:
    shortest = lengths[0]
    rest = (REST,) if len(lengths) > 1 or any(pair.forced for pair in pairs) else ()
    labels = (*rest, *range(-shortest, 0))
    rows = []
    for pair in pairs:
        n = len(pair.prompts[0])
        rows.append((*(max(0, i - (n - shortest) + len(rest)) for i in range(n)), *[0] * pair.forced))
    return Positions("end", labels, tuple(rows))


def _spans(pairs: Sequence[TokenPair]) -> Positions:
    names = list(pairs[0].spans)
    if not names:
        raise MethodError("positions='spans': this task names no spans. Use 'all', 'each' or 'end'.")
    rows = []
    for i, pair in enumerate(pairs):
        if set(pair.spans) != set(names):
            raise MethodError(
                f"positions='spans': pair {i} names {sorted(pair.spans)}; the first pair names {sorted(names)}."
            )
        row = [len(names)] * pair.length
        for label, name in enumerate(names):
            start, end = pair.spans[name]
            if any(row[p] != len(names) for p in range(start, end)):
                raise MethodError(f"positions='spans': span {name!r} of pair {i} overlaps another.")
            row[start:end] = [label] * (end - start)
        rows.append(tuple(row))
    return Positions("spans", (*names, REST), tuple(rows))
