"""Which token positions a score speaks of: all together, each, counted from the end, or the named spans of the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from interp.errors import MethodError, unknown
from interp.tasks.pairs.token_pairs import TokenPair

Label = int | str | None
POSITIONS: Final = ("all", "each", "end", "spans")
REST: Final = "rest"


@dataclass(frozen=True)
class Positions:
    """Labels, and for each pair the label of every token (index into `labels`)."""

    mode: str
    labels: tuple[Label, ...]
    of_token: tuple[tuple[int, ...], ...]

    def masks(self, index: Sequence[int]) -> Tensor:
        """Which positions belong to each label, for a batch of pairs of one length: bool [label batch pos]."""
        labels = torch.tensor([self.of_token[i] for i in index])
        return torch.stack([labels == label for label in range(len(self.labels))])


def align(mode: str, pairs: Sequence[TokenPair], labels: Sequence[Label] = ()) -> Positions:
    """`all`: one label. `each`: one per position, for pairs of one length. `end`: counted from the last token (-1), with
    `rest` for what only longer prompts have. `spans`: the spans that the task names, with `rest` for other tokens.
    Positions are those of the prompts; tokens of the answer that stand behind them are in `all`, and else in `rest`. `labels`: those
    that other prompts of the task had, which these then have too; at `end` a label may have no token in shorter prompts.

    Raises: MethodError, listing the lengths, where `each` has no meaning; for spans that are missing or overlap; where these
    prompts have other labels.
    """
    found = _aligned(mode, pairs, labels)
    if labels and set(labels) != set(found.labels):
        raise MethodError(
            f"positions={mode!r}: these prompts have the positions {_listed(found.labels)}; expected {_listed(labels)}, of the prompts "
            "that were scored. Use prompts of the same task and length."
        )
    return found


def _listed(labels: Sequence[Label]) -> str:
    shown = ", ".join(map(str, labels[:6]))
    return shown if len(labels) <= 6 else f"{shown}, ... {labels[-1]}"


def _aligned(mode: str, pairs: Sequence[TokenPair], known: Sequence[Label]) -> Positions:
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
        return _from_end(pairs, lengths, known)
    if mode == "spans":
        return _spans(pairs, known)
    raise MethodError(unknown("positions", mode, POSITIONS))


def _from_end(pairs: Sequence[TokenPair], lengths: Sequence[int], known: Sequence[Label]) -> Positions:
    counted = len([label for label in known if isinstance(label, int)]) or lengths[0]
    outside = lengths[-1] > counted or any(pair.forced for pair in pairs)
    rest = (REST,) if outside or REST in known else ()
    labels = (*rest, *range(-counted, 0))
    rows = []
    for pair in pairs:
        n = len(pair.prompts[0])
        rows.append((*(max(0, i - (n - counted) + len(rest)) for i in range(n)), *[0] * pair.forced))
    return Positions("end", labels, tuple(rows))


def _spans(pairs: Sequence[TokenPair], known: Sequence[Label]) -> Positions:
    names = [str(label) for label in known if label != REST] or list(pairs[0].spans)
    if not names:
        raise MethodError("positions='spans': this task names no spans. Use 'all', 'each' or 'end'.")
    rows = []
    for i, pair in enumerate(pairs):
        if set(pair.spans) != set(names):
            raise MethodError(
                f"positions='spans': pair {i} names {sorted(pair.spans)}; expected {sorted(names)}, as all pairs do."
            )
        row = [len(names)] * pair.length
        for label, name in enumerate(names):
            start, end = pair.spans[name]
            if any(row[p] != len(names) for p in range(start, end)):
                raise MethodError(f"positions='spans': span {name!r} of pair {i} overlaps another.")
            row[start:end] = [label] * (end - start)
        rows.append(tuple(row))
    return Positions("spans", (*names, REST), tuple(rows))


def positions_at(positions: Tensor, value: Tensor) -> Tensor:
    """Positions [... pos] of one stack, at a value [batch pos ...]: all of them where it is of another stack, whose nodes are patched at
    all positions together. Raises: MethodError where these are not all."""
    n = value.shape[1]
    if positions.shape[-1] == n:
        return positions
    if not bool(positions.all()):
        raise MethodError(
            f"{positions.shape[-1]} positions chosen of a stream of {n}; expected those of the nodes' own stack."
        )
    return positions.new_ones(*positions.shape[:-1], n)
