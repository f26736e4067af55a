"""`circuits bench`: what attribution costs, as a ratio to the plain model in the same process."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from interp.attribution.registry import get_method
from interp.attribution.request import prepare
from interp.errors import InterpError
from interp.model import HookedModel
from interp.tasks.task import Pair, Task, TokenPair

GPT2_SMALL: Final = "gpt2-small-random"


@dataclass(frozen=True)
class Measurement:
    """Median seconds of one thing, and its ratio to two forwards and one backward of the plain model.

    `above_mib`: how far the peak memory of the process was above that of the plain model alone when this and all before
    it had run.
    """

    name: str
    seconds: float
    ratio: float
    above_mib: float


def gpt2_small_random() -> HookedModel:
    """A model of GPT-2 small's shape with random weights: for cost, not for meaning."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel._from_config(GPT2Config(), attn_implementation="eager")
    return HookedModel(model.eval(), name=GPT2_SMALL)


def bench(
    model: HookedModel,
    methods: Sequence[str],
    level: str,
    *,
    batch: int,
    length: int,
    repeats: int,
    steps: int | None = None,
) -> list[Measurement]:
    """Time each method on one batch of random prompts against 2 forwards + 1 backward of the plain model.

    The plain model: parameters frozen, gradient to the embeddings only, full logits, its own attention
    implementation. Rounds alternate between all of them, so a slow moment of the machine hits each alike.
    """
    task = _random_task(model, batch, length)
    works: dict[str, Callable[[], Any]] = {"plain 2F + 1B": lambda: _plain(model, task)}
    for name in methods:
        own_steps = steps if get_method(name).uses_steps else None
        request = prepare(model, task, methods=[name], level=level, batch_size=batch, steps=own_steps)
        works[name] = lambda request=request: request.score(show_progress=False)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in works}
    peaks: dict[str, float] = {}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            with warnings.catch_warnings(action="ignore"):  # nobody expects random tokens to be answered right
                work()
            if round_:
                times[name].append(time.perf_counter() - start)
            peaks.setdefault(name, peak_memory(model))
    medians = {name: sorted(found)[len(found) // 2] for name, found in times.items()}
    plain = medians["plain 2F + 1B"]
    first = peaks["plain 2F + 1B"]
    return [Measurement(name, medians[name], medians[name] / plain, peaks[name] - first) for name in works]


def _random_task(model: HookedModel, batch: int, length: int) -> Task:
    """Pairs of random tokens, different at every position."""
    limit = model.layout.d_vocab
    if limit < 8 or batch < 1 or length < 2:
        raise InterpError(f"batch {batch}, length {length}, vocabulary {limit}: expected at least 1, 2 and 8.")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, limit - 1, (2, batch, length), generator=generator).tolist()
    pairs = [Pair("", "", (), (), ids=TokenPair(tuple(c), tuple(d), (1,), (2,))) for c, d in zip(*rows, strict=True)]
    return Task("random tokens", tuple(pairs))


def _plain(model: HookedModel, task: Task) -> None:
    """One forward on the source, one forward and backward on the base, of the bare model."""
    pairs = task.tokenize(None, model.layout.d_vocab)
    clean, corrupt = (
        torch.tensor([getattr(p, side) for p in pairs], device=model.device) for side in ("clean", "corrupt")
    )
    frozen = [p for p in model.hf.parameters() if p.requires_grad]
    for p in frozen:
        p.requires_grad_(False)
    try:
        with torch.no_grad():
            model.hf(input_ids=clean, use_cache=False)
        with torch.enable_grad():
            embeds = model.hf.get_input_embeddings()(corrupt).detach().requires_grad_()
            logits = model.hf(inputs_embeds=embeds, use_cache=False).logits[:, -1]
            torch.autograd.grad((logits[:, 1] - logits[:, 2]).sum(), [embeds])
    finally:
        for p in frozen:
            p.requires_grad_(True)


def peak_memory(model: HookedModel) -> float:
    """The highest memory use of this process so far, in MiB: of the GPU where the model is on one, else resident."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
