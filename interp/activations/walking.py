"""A corpus through a model, a batch of prompts at a time: what is a prompt, what runs together, what is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import SiteError, TaskError
from interp.parts.sites import MODULE, Site, SiteLike
from interp.parts.texts import encode, encode_document, pad_id
from interp.parts.tokens import pad
from interp.tasks.pairs.token_pairs import ids_of
from interp.tasks.task import Task
from interp.whole_numbers import is_whole


def resolved(model: Any, sites: SiteLike | Sequence[SiteLike]) -> list[Site]:
    """The sites that names mean, each once. Raises: SiteError for none, and for those without a value per token."""
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


def prompts_of(data: Any, model: Any, what: str) -> Iterator[list[int]]:
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
            yield from prompts_of(entry, model, f"{what}[{i}]")
        if i < 0:
            raise TaskError(f"{what} is empty; expected at least one prompt.")
    else:
        raise TaskError(f"{what} is {data!r:.80}; expected text, a list of token ids, a Task, or an iterable of these.")


def _is_ids(data: Any) -> bool:
    """One prompt as ids: a sequence of integers, or a tensor or array of them with one axis."""
    if getattr(data, "ndim", None) == 1:
        data = data.tolist()
    return isinstance(data, Sequence) and len(data) > 0 and all(is_whole(i) for i in data)


def batches_of(prompts: Iterable[list[int]], model: Any, size: int | None) -> Iterator[list[list[int]]]:
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


def run_batch(model: Any, sites: Sequence[Site], batch: list[list[int]], start: int) -> dict[str, Tensor]:
    """The values of one batch, key -> [token ...] without padding, on the CPU. start: number of its first example."""
    tokens = pad(batch, pad_id(model.tokenizer), "right" if model.reads_whole else "left")
    keep = 0 if Site("logits") in sites else 1
    with torch.no_grad():
        run = model.run(tokens, reads=sites, logits_to_keep=keep)
    example = torch.arange(start, start + len(batch))[:, None].expand(tokens.ids.shape)
    where = {"example": example, "position": tokens.position_ids(), "token": tokens.ids}
    values = {str(site): run[site] for site in sites}
    return {key: x[tokens.mask.to(x.device)].cpu() for key, x in {**where, **values}.items()}
