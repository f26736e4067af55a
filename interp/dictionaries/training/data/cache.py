"""Activations kept on disk, so that further runs need no forward passes: a collection as `interp.activations.collection` writes it.

The chunks of the model are written in their order up to the tokens that are asked for or the end of the first pass, whichever
comes first, with the chunk's number as `example`. So a run from the cache sees the same batches as one from the model, where both
have the same buffer and one pass is enough: further passes are in the order of the first, the model's in others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.activations.collection import INDEX, SHARD_NAME, Collected, Writer, load_collected, prepared
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.checkpoints.identity import check_same
from interp.dictionaries.training.data.chunks import Activations, Chunk
from interp.files import write_text

#: What of a run decides the activations.
KEYS: Final = ("model", "data", "context", "keep_bos", "hold_out", "seed", "dtype")
RECORD: Final = "cache.json"


def cached(live: Activations, folder: Path, tokens: int, identity: Mapping[str, Any]) -> Cached:
    """The activations in `folder`, written there first where there are none. tokens: as many as the run reads, its buffer too.

    Raises: DictionaryError where they are of another model, other data or sites, or fewer than this run needs.
    """
    sites = sorted(map(str, live.sites))
    wanted = {**{key: identity[key] for key in KEYS}, "sites": sites}
    if not (folder / INDEX).is_file():
        _collect(live, folder, tokens, wanted)
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        have, whole, largest, described = found["tokens"], found["whole"], found["largest"], dict(found["wanted"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DictionaryError(
            f"cache {str(folder)!r}: {RECORD} cannot be read ({type(error).__name__}: {error}). Give another folder."
        ) from error
    check_same(described, wanted, f"cache {str(folder)!r} is of another run", "give another folder")
    if have < tokens and not whole:
        raise DictionaryError(
            f"cache {str(folder)!r} holds {have:,} tokens; this run reads {tokens:,}. Give another folder."
        )
    return Cached(load_collected(folder), live, largest, have)


def _collect(live: Activations, folder: Path, tokens: int, wanted: Mapping[str, Any]) -> None:
    """Write chunks until there are `tokens` of them, or the data begin again."""
    writer = Writer(prepared(folder, _unfinished(folder)), None)
    written, start = 0, live.state()
    while written < tokens and not live.rows.place.epoch:
        rows = live.take()
        chunk, where = live.of(rows), live.where(rows)
        n = len(where["token"])
        values = {str(site): x.cpu() for site, x in chunk.items()}
        writer.add({"example": torch.full((n,), writer.n_examples), **where, **values}, 1)
        written += n
    whole = bool(live.rows.place.epoch)
    live.load(start)
    write_text(
        folder / RECORD, json.dumps({"wanted": wanted, "tokens": written, "whole": whole, "largest": live.largest})
    )
    writer.finish(str(live.model.name))


def _unfinished(folder: Path) -> bool:
    """Whether a folder holds what a run that was killed while it collected has left, and nothing else."""
    if not folder.is_dir():
        return False
    return all(
        SHARD_NAME.fullmatch(path.name) or path.name == RECORD or path.name[0] == "." for path in folder.iterdir()
    )


class Cached:
    """The chunks of a collection, over and over."""

    def __init__(self, collected: Collected, live: Activations, largest: int, tokens: int) -> None:
        self.collected, self.sites, self.device = collected, live.sites, live.model.device
        self.largest, self.tokens = largest, tokens
        self.epoch, self.chunk = 0, 0
        self._chunks: Iterator[Chunk] | None = None

    def next(self) -> Chunk:
        """The next chunk; the first again behind the last."""
        if self._chunks is None:
            self._chunks = islice(self._all(), self.chunk, None)
        found = next(self._chunks, None)
        if found is None:
            self._chunks, self.epoch, self.chunk = None, self.epoch + 1, 0
            return self.next()
        self.chunk += 1
        return found

    def _all(self) -> Iterator[Chunk]:
        """Every chunk in order, one shard and what hangs over from the one before in memory."""
        rest: dict[str, Tensor] = {}
        for shard in self.collected.shards(verify=self.epoch == 0):
            rest = {key: torch.cat([rest[key], x]) if rest else x for key, x in shard.items()}
            sizes = torch.bincount(rest["example"] - rest["example"][0]).tolist()
            for n in sizes[:-1]:
                yield self._chunk(rest, n)
                rest = {key: x[n:] for key, x in rest.items()}
        yield self._chunk(rest, len(rest["example"]))

    def _chunk(self, tensors: Mapping[str, Tensor], n: int) -> Chunk:
        return {site: tensors[str(site)][:n].to(self.device) for site in self.sites}

    def state(self) -> dict[str, Any]:
        """Where it is, as plain data."""
        return {"epoch": self.epoch, "chunk": self.chunk, "largest": self.largest, "tokens": self.tokens}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises: DictionaryError for that of a cache of other chunks."""
        mine = self.state()
        check_same({k: state[k] for k in ("largest", "tokens")}, {k: mine[k] for k in ("largest", "tokens")})
        self.epoch, self.chunk, self._chunks = state["epoch"], state["chunk"], None
