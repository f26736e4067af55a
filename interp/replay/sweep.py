"""Many patches through one replay: those that enter the same layer go together, as many at once as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp.replay.engine import Replay
from interp.replay.patches import Patches
from interp.replay.readout import Readout

REPLAY_BYTES: Final = 64 << 20
LOGIT_BYTES: Final = 32 << 20


@dataclass(frozen=True)
class _Piece:
    """Some patches of one item."""

    key: Any
    patches: Patches
    some: slice

    @property
    def n(self) -> int:
        return int(self.some.stop - self.some.start)


def sweep(
    replay: Replay, readout: Readout, items: Iterable[tuple[Any, Patches]], measure: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Any, slice, Tensor]]:
    """Yields (key, which patches of that item, metric [patch batch]) for every patch of every item, in the order given.

    Neighbours that enter the same layer go together, so give the items by the layer that they enter.
    measure: logits [batch token] (or [batch pos token]) of one patch -> [batch].
    """
    for pieces in _together(items, replay):
        fronts = [(p.patches.segment(p.n), p.patches.rows(p.some)) for p in pieces]
        final = replay.final(pieces[0].patches.entry, fronts)
        for piece, x in zip(pieces, final, strict=True):
            yield piece.key, piece.some, _measured(replay, readout, x, piece.n, measure)


def _together(items: Iterable[tuple[Any, Patches]], replay: Replay) -> Iterator[list[_Piece]]:
    """Pieces of the items, in lists that enter one layer and fit the memory of one replay."""
    limit = max(1, REPLAY_BYTES // _row_bytes(replay))
    pieces: list[_Piece] = []
    used = 0
    for key, patches in items:
        each = replay.batch * (replay.length - (patches.start if replay.causal else 0))
        done = 0
        while done < patches.n:
            n = min(patches.n - done, max(1, (limit - used) // each))
            if pieces and (used + n * each > limit or pieces[0].patches.entry != patches.entry):
                yield pieces
                pieces, used = [], 0
                continue
            pieces.append(_Piece(key, patches, slice(done, done + n)))
            done, used = done + n, used + n * each
    if pieces:
        yield pieces


def _row_bytes(replay: Replay) -> int:
    """Bytes that one position of one patched run takes in a layer: vectors of the stream, and rows of attention."""
    size = replay.machine.model.layout
    return int(replay.recording.final.element_size() * (16 * size.d_model + 3 * size.n_heads * replay.length))


def _measured(replay: Replay, readout: Readout, x: Tensor, n: int, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """The metric [patch batch] of what enters the final norm, x [patch * batch pos d_model]."""
    per_patch = replay.batch * x.shape[1] * readout.n_tokens * x.element_size()
    found = []
    for part in torch.split(x, replay.batch * max(1, LOGIT_BYTES // per_patch)):
        logits = readout.logits(part, replay.counts)
        found += [measure(one) for one in logits.view(-1, replay.batch, *logits.shape[1:])]
    return torch.stack(found)
