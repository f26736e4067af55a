"""Activations of a data set, streamed to disk a shard at a time; the format is that of `interp.activations.collection`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.activations.collection import Collected, Writer, load_collected, prepared
from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import SiteError, TaskError
from interp.given import kinds_checked
from interp.parts.sites import MODULE, Site, SiteLike
from interp.parts.texts import encode, encode_document, pad_id
from interp.parts.tokens import pad
from interp.progress import progress
from interp.tasks.pairs.token_pairs import ids_of
from interp.tasks.task import Task
from interp.whole_numbers import count, is_whole

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
    found = _resolved(model, sites)
    prompts = _prompts(data, model, "data")
    first = next(prompts)
    writer = Writer(prepared(Path(out), force), shard_size)
    total = len(data) if isinstance(data, (list, tuple, Task)) else 0
    with progress("collecting", total, show_progress) as advance:
        for batch in _batches(chain([first], prompts), model, batch_size):
            writer.add(_run(model, found, batch, writer.n_examples), len(batch))
            advance(len(batch))
    return writer.finish(model.name)


def _resolved(model: Any, sites: SiteLike | Sequence[SiteLike]) -> list[Site]:
    asked = [sites] if isinstance(sites, (str, Site)) else list(sites)
    found = list(dict.fromkeys(site for name in asked for site in model.resolve(name)))
    if not found:
        raise SiteError("no sites to collect; expected at least one, for example 'resid_post.3'.")
    if any(site.kind == "pattern" for site in found):
        raise SiteError("site 'pattern' has two position axes and so no value per token; read it with model.run.")
    if odd := [site for site in found if site.kind == MODULE]:
        raise SiteError(
            f"site '{odd[0]}': what a module returns has axes of its own and no value per token; read it with model.run."
        )
    return found


def _prompts(data: Any, model: Any, what: str) -> Iterator[list[int]]:
    """Every prompt of `data` as token ids, one at a time. Raises: TaskError naming the entry that is no prompt."""
    limit = getattr(model.hf.config, "max_position_embeddings", None)
    if isinstance(data, Task):
        yield from (list(ids_of(pair.clean)) for pair in data.tokenize(model.tokenizer, model.outputs))
    elif isinstance(data, str) or _is_ids(data):
        read = encode_document if model.reads_whole else encode
        ids = read(model.tokenizer, data) if isinstance(data, str) else [int(i) for i in data]
        if limit is not None and len(ids) > limit:
            raise TaskError(f"{what} has {len(ids)} tokens; this model's context is {limit}. Cut it into pieces.")
        yield ids
    elif isinstance(data, Iterable) and not isinstance(data, (Mapping, bytes)) and getattr(data, "ndim", 1) > 0:
        i = -1
        for i, entry in enumerate(data):
            yield from _prompts(entry, model, f"{what}[{i}]")
        if i < 0:
            raise TaskError(f"{what} is empty; expected at least one prompt.")
    else:
        raise TaskError(f"{what} is {data!r:.80}; expected text, a list of token ids, a Task, or an iterable of these.")


def _is_ids(data: Any) -> bool:
    """One prompt as ids: a sequence of integers, or a tensor or array of them with one axis."""
    if getattr(data, "ndim", None) == 1:
        data = data.tolist()
    return isinstance(data, Sequence) and len(data) > 0 and all(is_whole(i) for i in data)


def _batches(prompts: Iterable[list[int]], model: Any, size: int | None) -> Iterator[list[list[int]]]:
    """Batches in the order of the data: of `size`, or as many as the memory budget allows at their longest prompt."""
    batch: list[list[int]] = []
    longest = 0
    for prompt in prompts:
        longest = max(longest, len(prompt))
        if batch and len(batch) >= (size or default_batch_size(model, longest)):
            yield batch
            batch, longest = [], len(prompt)
        batch.append(prompt)
    if batch:
        yield batch


def _run(model: Any, sites: Sequence[Site], batch: list[list[int]], start: int) -> dict[str, Tensor]:
    """The values of one batch, key -> [token ...] without padding, on the CPU. start: number of its first example."""
    tokens = pad(batch, pad_id(model.tokenizer), "right" if model.reads_whole else "left")
    keep = 0 if Site("logits") in sites else 1
    with torch.no_grad():
        run = model.run(tokens, reads=sites, logits_to_keep=keep)
    example = torch.arange(start, start + len(batch))[:, None].expand(tokens.ids.shape)
    where = {"example": example, "position": tokens.position_ids(), "token": tokens.ids}
    values = {str(site): run[site] for site in sites}
    return {key: x[tokens.mask.to(x.device)].cpu() for key, x in {**where, **values}.items()}
