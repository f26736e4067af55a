"""A training that is ready to begin: everything that it needs, checked, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.checkpoints.identity import described
from interp.dictionaries.training.data.buffer import ORDER_BYTES, Buffer
from interp.dictionaries.training.data.chunks import Activations, Source, held_out, read_sites
from interp.dictionaries.training.data.reading import open_documents
from interp.dictionaries.training.data.rows import Cutter, Rows
from interp.dictionaries.training.loop.defaults import completed
from interp.dictionaries.training.loop.device_memory import check_fits
from interp.dictionaries.training.loop.loop import Training
from interp.dictionaries.training.loop.settings import (
    Settings,
    Wanted,
    said_of,
    wanted,
)
from interp.dictionaries.training.steps.learner import Learner, make_learner
from interp.parts.sites import Site


@dataclass(frozen=True)
class Ready:
    """What has been checked of a run before anything was read through the model or written."""

    wanted: Sequence[Wanted]
    learners: Sequence[Learner]
    live: Activations
    settings: Settings
    capacity: int
    identity: dict[str, Any]

    def training(self, cache: str | Path | None) -> Training:
        """The run at its beginning. A cache that is not there yet is written."""
        live, steps, batch = self.live, self.settings.steps, self.settings.batch_tokens
        seen = held_out(live, self.settings.held_out_tokens)
        source = _source(live, cache, steps * batch + self.capacity, self.identity)
        buffer = Buffer(source, live.sites, self.capacity, batch, self.settings.seed)
        return Training(self.wanted, self.learners, source, buffer, seen, steps, self.identity)


def checked(
    model: Any, data: Any, specs: Sequence[Mapping[str, Any]], settings: Settings, dtype: str, cache: str | Path | None
) -> Ready:
    """Everything that a run needs, checked; nothing is written."""
    asked = [completed(one, settings.steps) for one in wanted(model, specs)]
    as_dtype = dtype_of(dtype)
    sites = list(dict.fromkeys(site for one in asked for site in (one.site, one.target)))
    widths = _widths(model, sites)
    cutter = Cutter.of(model, settings.context, settings.keep_bos)
    row_bytes = sum(widths.values()) * as_dtype.itemsize
    capacity = settings.capacity(row_bytes, cutter.context)
    shapes = [(widths[one.site], widths[one.target], one.d_sae) for one in asked]
    check_fits(capacity * (row_bytes + ORDER_BYTES), shapes, as_dtype.itemsize, model.device)
    learners = _learners(asked, widths, settings, as_dtype, model.device)
    documents = open_documents(data, settings.seed)
    rows = Rows(documents, cutter, share=settings.hold_out, seed=settings.seed, least=settings.batch_tokens)
    live = Activations(model, rows, sites, as_dtype, capacity // 2 - settings.batch_tokens)
    identity = _identity(model, rows, settings, asked, dtype, capacity)
    identity["activations"] = "of the model" if cache is None else "of a cache"
    return Ready(asked, learners, live, settings, capacity, identity)


def _learners(
    asked: Sequence[Wanted], widths: Mapping[Site, int], settings: Settings, dtype: torch.dtype, device: torch.device
) -> list[Learner]:
    found = []
    for i, one in enumerate(asked):
        with said_of(i, len(asked), one.site):
            found.append(
                make_learner(
                    one.architecture, widths[one.site], widths[one.target], one.d_sae, one.options, settings.steps,
                    settings.seed, device, dtype,
                )
            )  # fmt: skip
    return found


def _identity(
    model: Any, rows: Rows, settings: Settings, asked: Sequence[Wanted], dtype: str, capacity: int
) -> dict[str, Any]:
    documents, cutter = rows.documents, rows.cutter
    return {
        "model": described(model),
        "data": {"name": documents.name, "sha256": documents.fingerprint(), "rows_sha256": rows.fingerprint()},
        "tokens": settings.tokens,
        "batch_tokens": settings.batch_tokens,
        "buffer_tokens": capacity,
        "context": cutter.context,
        "keep_bos": settings.keep_bos,
        "hold_out": settings.hold_out,
        "held_out_tokens": settings.held_out_tokens,
        "seed": settings.seed,
        "dtype": dtype,
        "dictionaries": {one.name: one.plain() for one in asked},
    }


def _source(live: Activations, cache: str | Path | None, tokens: int, identity: Mapping[str, Any]) -> Source:
    if cache is None:
        return live
    from interp.dictionaries.training.data.cache import cached

    return cached(live, Path(cache), tokens, identity)


def _widths(model: Any, sites: Sequence[Site]) -> dict[Site, int]:
    """Numbers per token at each site, seen in a run of two tokens."""
    found = read_sites(model, torch.zeros(1, 2, dtype=torch.long, device=model.device), sites)
    return {site: int(found[site].shape[-1]) for site in sites}


def dtype_of(name: str) -> torch.dtype:
    """What dictionaries are trained in. Raises: DictionaryError for other numbers."""
    if name not in ("float32", "float64"):
        raise DictionaryError(f"dtype={name!r}: dictionaries are trained in float32 or float64.")
    return torch.float32 if name == "float32" else torch.float64
