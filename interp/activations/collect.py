"""Activations of a data set, streamed to disk a shard at a time; the format is that of `interp.activations.collection`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from interp.activations.collection import Collected, Writer, load_collected, prepared
from interp.activations.walking import batches_of, prompts_of, resolved, run_batch
from interp.given import kinds_checked
from interp.parts.sites import SiteLike
from interp.progress import progress
from interp.tasks.task import Task
from interp.whole_numbers import count

__all__ = ["Collected", "collect", "load_collected"]


@kinds_checked
def collect(
    model: Any,
    data: Any,
    sites: SiteLike | Sequence[SiteLike],
    out: str | Path,
    *,
    batch_size: int | None = None,
    shard_size: int | None = None,
    force: bool = False,
    show_progress: bool | None = None,
) -> Collected:
    """Run `data` through the model and write what is at `sites` to folder `out`, a shard at a time.

    data: texts, lists of token ids, a `Task` (its clean prompts), or any iterable of these, read once as it comes.
    sites: sites or kinds, any but `pattern` (which has two position axes).
    batch_size: prompts per forward; by default as many as fit the memory budget at their longest prompt.
    shard_size: tokens per file; by default as many as fit 256 MiB. Memory: one shard and one batch.
    force: replace the collection in `out`; other files there are left alone.

    Cost: one forward over the data.
    Raises: InterpError for a folder that is not empty (without force); TaskError for unusable data; SiteError.
    """
    for name, value in (("batch_size", batch_size), ("shard_size", shard_size)):
        if value is not None:
            count(value, name)
    found = resolved(model, sites)
    prompts = prompts_of(data, model, "data")
    first = next(prompts)
    writer = Writer(prepared(Path(out), force), shard_size)
    total = len(data) if isinstance(data, (list, tuple, Task)) else 0
    with progress("collecting", total, show_progress) as advance:
        for batch in batches_of(chain([first], prompts), model, batch_size):
            writer.add(run_batch(model, found, batch, writer.n_examples), len(batch))
            advance(len(batch))
    return writer.finish(model.name)
