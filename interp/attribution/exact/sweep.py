"""Many patches through one replay: those that enter the same layer go together, as many at once as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.exact.engine import Replay
from interp.attribution.exact.patches import Patches
from interp.attribution.exact.readout import Readout
from interp.parts.layout import Layout

REPLAY_BYTES: Final = 128 << 20


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
    replay: Replay,
    readout: Readout,
    items: Iterable[tuple[Any, Patches]],
    measure: Callable[[Tensor], Tensor],
    limit: int = REPLAY_BYTES,
) -> Iterator[tuple[Any, slice, Tensor]]:
    """Yields (key, which patches of that item, metric [patch batch]) for every patch of every item, in the order given.

    Neighbours that enter the same layer go together, so give the items by the layer that they enter.
    measure: logits [batch token] (or [batch pos token]) of one patch -> [batch]. limit: bytes that the rows of the patches
    which go together may take, and half of it their logits; one patch of all examples always goes through.
    """
    for pieces in _together(items, replay, limit):
        fronts = [(p.patches.segment(p.n), p.patches.rows(p.some)) for p in pieces]
        final = replay.final(pieces[0].patches.entry, fronts)
        for piece, x in zip(pieces, final, strict=True):
            yield piece.key, piece.some, _measured(replay, readout, x, piece.n, measure, limit // 2)


def _together(items: Iterable[tuple[Any, Patches]], replay: Replay, limit: int) -> Iterator[list[_Piece]]:
    """Pieces of the items, in lists that enter one layer and fit into `limit` bytes."""
    pieces: list[_Piece] = []
    used = 0
    for key, patches in items:
        each = bytes_of_patch(replay, patches.start)
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


def bytes_of_patch(replay: Replay, start: int) -> int:
    """Bytes that one patch of all examples takes in a layer, where it differs from the base run from `start` on."""
    width, start = max(4, replay.recording.final.element_size()), start if replay.causal else 0
    return patch_bytes(replay.machine.model.layout, replay.batch, replay.length, start, width)


def patch_bytes(size: Layout, batch: int, length: int, start: int, width: int) -> int:
    """Vectors of the stream and rows of attention for every position from `start` on, and keys and values for all; `width`
    bytes each."""
    rows = (length - start) * (16 * size.d_model + 3 * size.n_heads * length)
    return int(batch * width * (rows + 2 * length * size.n_heads * size.d_head))


def _measured(
    replay: Replay, readout: Readout, x: Tensor, n: int, measure: Callable[[Tensor], Tensor], limit: int
) -> Tensor:
    """The metric [patch batch] of what enters the final norm, x [patch * batch pos d_model]."""
    per_patch = replay.batch * x.shape[1] * readout.n_tokens * x.element_size()
    found = []
    for part in torch.split(x, replay.batch * max(1, limit // per_patch)):
        logits = readout.logits(part, replay.counts)
        found += [measure(one) for one in logits.view(-1, replay.batch, *logits.shape[1:])]
    return torch.stack(found)
