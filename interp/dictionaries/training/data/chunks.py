"""Activations of rows, a chunk at a time: one forward per batch of rows for all sites, which ends at the last of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data.rows import Place, Rows
from interp.errors import SiteError
from interp.model.edits import Edit
from interp.parts.sites import Site
from interp.parts.tokens import Tokens

#: Tokens of one forward, and of one chunk: rows of about one length run together, so a chunk is sorted first.
FORWARD_TOKENS: Final = 4096
CHUNK_TOKENS: Final = 16384

Chunk = dict[Site, Tensor]


class Source(Protocol):
    """Where activations come from. Every chunk holds the same tokens at every site: [token d_in]."""

    def next(self) -> Chunk:
        """The next chunk, of at most `largest` tokens."""

    @property
    def largest(self) -> int:
        """The most tokens that a chunk has."""

    def state(self) -> dict[str, Any]:
        """Where it is, as plain data."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""


class _Reached(Exception):
    """Ends a forward pass where all that is asked for is known."""


def read_sites(model: Any, ids: Tensor | Tokens, sites: Sequence[Site]) -> Chunk:
    """The tensors at `sites` [batch pos width], heads concatenated, of token ids [batch pos] that stand on the left.

    Padding stands on the right, where a causal model does not look; others are given its mask. Raises: SiteError for a site that is never reached.
    """
    found: Chunk = {}

    def take(site: Site) -> Any:
        def apply(x: Tensor) -> Tensor:
            found[site] = x.flatten(2).clone()
            if len(found) == len(sites):
                raise _Reached
            return x

        return apply

    with torch.no_grad(), suppress(_Reached):
        model.run(ids, edits=[Edit(site, take(site)) for site in sites], logits_to_keep=1)
    if missing := [str(site) for site in sites if site not in found]:
        raise SiteError(f"never reached in this run: {', '.join(missing)}.")
    return found


class Activations:
    """Rows sent through the model, up to `chunk` tokens of them at a time (or one row)."""

    def __init__(self, model: Any, rows: Rows, sites: Sequence[Site], dtype: torch.dtype, chunk: int) -> None:
        self.model, self.rows, self.sites, self.dtype = model, rows, tuple(sites), dtype
        self.chunk = min(chunk, CHUNK_TOKENS)

    @property
    def largest(self) -> int:
        return max(self.chunk, self.rows.cutter.context)

    def next(self) -> Chunk:
        return self.of(self.take())

    def take(self) -> list[list[int]]:
        """The rows of the next chunk."""
        taken: list[list[int]] = []
        size, context = 0, self.rows.cutter.context
        while not taken or size + context <= self.largest:
            taken.append(self.rows.next())
            size += len(taken[-1])
        return taken

    def where(self, rows: Sequence[list[int]]) -> dict[str, Tensor]:
        """The `token` ids and the `position` [token] of what `of` gives for the same rows."""
        kept = [
            (token, position)
            for batch in _batches(rows)
            for row in batch
            for position, token in enumerate(row)
            if self.rows.cutter.counts(token)
        ]
        token, position = torch.tensor(kept).T
        return {"token": token.clone(), "position": position.clone()}

    def of(self, rows: Sequence[list[int]]) -> Chunk:
        """The activations of some rows at the tokens that are trained on, in an order of length.

        Raises: DictionaryError where one is not finite.
        """
        parts = [self._batch(batch) for batch in _batches(rows)]
        found = {site: torch.cat([part[site] for part in parts]) for site in self.sites}
        for site, x in found.items():
            if not bool(torch.isfinite(x).all()):
                raise DictionaryError(
                    f"activations at {site} of {self.model.name} ({self.model.dtype}) are not finite; try dtype float32, or look "
                    "at the model with circuits verify."
                )
        return found

    def _batch(self, rows: Sequence[list[int]]) -> Chunk:
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows])
        counts = self.rows.cutter.counts
        keep = torch.tensor([[*map(counts, row), *[False] * (longest - len(row))] for row in rows])
        given: Tensor | Tokens = ids
        if not self.model.layout.causal and min(map(len, rows)) < longest:
            real = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
            given = Tokens(ids, real)
        found = read_sites(self.model, given.to(self.model.device), self.sites)
        return {site: x[keep.to(x.device)].to(self.dtype) for site, x in found.items()}

    def state(self) -> dict[str, Any]:
        return asdict(self.rows.place)

    def load(self, state: dict[str, Any]) -> None:
        self.rows.place = Place(**state)


def _batches(rows: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """The rows by length, in batches of at most `FORWARD_TOKENS` with padding (or of one row)."""
    batch: list[list[int]] = []
    for row in sorted(rows, key=len, reverse=True):
        if batch and (len(batch) + 1) * len(batch[0]) > FORWARD_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def held_out(source: Activations, most: int) -> Chunk | None:
    """The activations of at most about `most` held-out tokens [token d_in]; None where nothing is held out.

    Raises: DictionaryError where the documents that are held out have no tokens, or a site is the same on all of them.
    """
    if not source.rows.block:
        return None
    taken, size = [], 0
    for row in source.rows.held_out_rows():
        taken.append(row)
        size += source.rows.cutter.n_tokens(row)
        if size >= most:
            break
    if not taken:
        raise DictionaryError(
            f"{source.rows.documents.name}: nothing could be held out: give more data, or hold_out=0."
        )
    parts = [source.of(taken[i : i + 64]) for i in range(0, len(taken), 64)]
    found = {site: torch.cat([part[site] for part in parts])[:most] for site in source.sites}
    if alike := [str(site) for site, x in found.items() if bool((x == x[0]).all())]:
        raise DictionaryError(
            f"activations at {alike[0]} are the same on all {len(found[source.sites[0]]):,} held-out tokens: there is no variance "
            "to explain. Give other data or more, or hold_out=0."
        )
    return found
