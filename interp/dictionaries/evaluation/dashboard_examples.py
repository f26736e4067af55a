"""The running memory of a few features over a stream of text: counts, a histogram, top examples, examples drawn at random.

What is kept does not grow with the text: per feature a heap of the top examples, `BINS` bins, and a few drawn examples
in each bin. Bins double in width when a value lies beyond the last one, so that nothing about the values must be known before.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from torch import Tensor

from interp.dictionaries.evaluation.dashboard_stream import Seen
from interp.dictionaries.evaluation.dashboard_values import Band, Example, Histogram
from interp.whole_numbers import count

BINS: Final = 64
#: Into how many ranges the activations of a feature are cut; the top examples stand for the highest.
BANDS: Final = 4


@dataclass(frozen=True)
class Piece:
    """An `Example` with token ids."""

    document: int
    position: int
    peak: int
    ids: tuple[int, ...]
    activations: tuple[float | None, ...]

    def shown(self, text_of: Callable[[int], str]) -> Example:
        return Example(self.document, self.position, self.peak, tuple(map(text_of, self.ids)), self.activations)


#: (what it is ordered by, minus the document: of equals the first stays, the piece).
_Entry = tuple[float, int, Piece]


@dataclass
class FeatureMemory:
    """What is kept of one feature. high: the end of the last bin, a power of two, so that bins merge exactly in pairs."""

    n_top: int
    n_drawn: int
    n_active: int = 0
    total: float = 0.0
    maximum: float = 0.0
    high: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    top: list[_Entry] = field(default_factory=list)
    drawn: dict[int, list[_Entry]] = field(default_factory=dict)

    def count(self, values: np.ndarray) -> None:
        """Add the activations of a batch where it is active [token], float64."""
        if not len(values):
            return
        self.n_active += len(values)
        self.total += float(values.sum())
        self.maximum = max(self.maximum, float(values.max()))
        self._grow()
        self.counts += np.bincount(np.ceil(values * (BINS / self.high)).astype(np.int64) - 1, minlength=BINS)

    def wants(self, value: float) -> bool:
        """Whether a value would be among the top."""
        return len(self.top) < self.n_top or value > self.top[0][0]

    def offer(self, value: float, piece: Piece) -> None:
        _push(self.top, (value, -piece.document, piece), self.n_top)

    def wants_drawn(self, value: float, key: float) -> bool:
        """Whether a draw with this random key would be kept: the largest keys of a bin are a uniform draw from it."""
        held = self.drawn.get(self._bin(value), [])
        return self.n_drawn > 0 and (len(held) < self.n_drawn or key > held[0][0])

    def draw(self, value: float, key: float, piece: Piece) -> None:
        _push(self.drawn.setdefault(self._bin(value), []), (key, -piece.document, piece), self.n_drawn)

    def _bin(self, value: float) -> int:
        return math.ceil(value * (BINS / self.high)) - 1

    def _grow(self) -> None:
        """Double the bins until the maximum fits. The largest keys of two bins are among the largest of each."""
        if not self.high:
            self.high = 2.0 ** math.ceil(math.log2(self.maximum))
        while self.high < self.maximum:
            self.high *= 2
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, dtype=np.int64)])
            merged: dict[int, list[_Entry]] = {}
            for place, held in self.drawn.items():
                for entry in held:
                    _push(merged.setdefault(place // 2, []), entry, self.n_drawn)
            self.drawn = merged

    # ------------------------------------------------------------ what came of it

    def histogram(self) -> Histogram:
        """Up to the bin of the maximum, in at most half as many bins as were counted; none for a feature never active."""
        if not self.n_active:
            return Histogram(0.0, ())
        pairs = self.counts.reshape(-1, 2).sum(1)
        return Histogram(2 * self.high / BINS, tuple(int(n) for n in pairs[: self._bin(self.maximum) // 2 + 1]))

    def best(self) -> list[Piece]:
        """The top examples, largest first."""
        return [piece for _, _, piece in sorted(self.top, key=lambda e: e[:2], reverse=True)]

    def bands(self, text_of: Callable[[int], str]) -> tuple[Band, ...]:
        """The ranges below the highest, highest first, with examples drawn from each; empty ranges are left out."""
        if not self.n_active:
            return ()
        n, width = self._bin(self.maximum) + 1, self.high / BINS
        shown = {(piece.document, piece.position) for piece in self.best()}
        found = []
        for b in reversed(range(BANDS - 1)):
            start, stop = round(b * n / BANDS), round((b + 1) * n / BANDS)
            held = [entry for place in range(start, stop) for entry in self.drawn.get(place, [])]
            pieces = [p for _, _, p in sorted(held, key=lambda e: e[:2], reverse=True)[: self.n_drawn]]
            if kept := tuple(p.shown(text_of) for p in pieces if (p.document, p.position) not in shown):
                found.append(Band(start * width, stop * width, kept))
        return tuple(found)


def _push(heap: list[_Entry], entry: _Entry, limit: int) -> None:
    if limit and len(heap) < limit:
        heapq.heappush(heap, entry)
    elif limit and entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)


class Memory:
    """The memories of some features, fed batch by batch.

    From each document at most one top example per feature, at its largest activation, and at most one drawn at random from
    its active tokens. Documents are numbered in the order of the data.
    """

    def __init__(self, n_features: int, n_examples: int, n_drawn: int, window: int, seed: int) -> None:
        self.features = [FeatureMemory(n_examples, n_drawn) for _ in range(n_features)]
        self.window, self.n_tokens, self.n_documents = window, 0, 0
        self.rng = np.random.default_rng(count(seed, "seed", least=0))

    def add(self, batch: Seen, found: Tensor) -> None:
        """found: what the features are at the kept tokens [token feature]."""
        values = found.double().numpy()
        self.n_tokens += len(values)
        for one, column in zip(self.features, values.T, strict=True):
            one.count(column[column > 0])
        keep = batch.keep.cpu().numpy()
        dense = np.zeros((*keep.shape, len(self.features)))
        dense[keep] = values
        ids, mask, begins = (x.cpu().numpy() for x in (batch.tokens.ids, batch.tokens.mask, batch.begins))
        for row in range(len(ids)):
            real = mask[row].nonzero()[0]
            for at in _documents(real, begins[row], keep[row]):
                self._add_document(at, int(real[0]), ids[row], keep[row], dense[row])

    def _add_document(self, at: range, first: int, ids: np.ndarray, keep: np.ndarray, dense: np.ndarray) -> None:
        """at: the positions of one document in its row; first: that of the row's first token that is no padding."""
        block = dense[at.start : at.stop]
        peaks, values = block.argmax(0), block.max(0)
        draws = (self.rng.random(len(at))[:, None] * (block > 0)).argmax(0)
        keys = self.rng.random(len(self.features))
        for c in values.nonzero()[0]:
            one, drawn, key = self.features[c], float(block[draws[c], c]), float(keys[c])
            if one.wants(float(values[c])):
                one.offer(float(values[c]), self._piece(at, first, at.start + int(peaks[c]), ids, keep, dense[:, c]))
            if one.wants_drawn(drawn, key):
                piece = self._piece(at, first, at.start + int(draws[c]), ids, keep, dense[:, c])
                one.draw(drawn, key, piece)
        self.n_documents += 1

    def _piece(
        self, at: range, first: int, peak: int, ids: np.ndarray, keep: np.ndarray, values: np.ndarray
    ) -> Piece:  # fmt: skip
        start, stop = max(at.start, peak - self.window), min(at.stop, peak + self.window + 1)
        activations = tuple(float(values[i]) if keep[i] else None for i in range(start, stop))
        ids_shown = tuple(int(i) for i in ids[start:stop])
        return Piece(self.n_documents, peak - first, peak - start, ids_shown, activations)


def _documents(real: np.ndarray, begins: np.ndarray, keep: np.ndarray) -> Iterator[range]:
    """The documents of a row: they begin at its first real token and wherever a text begins."""
    if not len(real):
        return
    starts = [int(real[0]), *(int(i) for i in real[1:] if begins[i])]
    for start, stop in zip(starts, [*starts[1:], int(real[-1]) + 1], strict=True):
        if keep[start:stop].any():
            yield range(start, stop)
