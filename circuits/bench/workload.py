"""What every benchmark runs on: a model, random prompts, the plain model's own passes, and the peak memory."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from interp.errors import InterpError
from interp.model.model import HookedModel
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task

GPT2_SMALL: Final = "gpt2-small-random"


@dataclass(frozen=True)
class Measurement:
    """The cost of one thing, as a ratio to the plain model in the same process.

    `group`: `attribution`, `exact`, `masks` or `peers`; `unit`: what `ratio` counts. `seconds`: the median. `patches`: how many were made. `bound`: the multiply-adds that they need at least over those
    spent. `above_mib`: how far the peak memory of the process was above that of the plain model when this had run. `counted`: multiply-adds, in
    plain forwards.
    """

    group: str
    name: str
    ratio: float
    seconds: float
    unit: str
    patches: int | None = None
    bound: float | None = None
    above_mib: float | None = None
    counted: float | None = None


@dataclass(frozen=True)
class Skipped:
    """Something that could not be measured, and why."""

    group: str
    name: str
    reason: str


@dataclass(frozen=True)
class Size:
    """How much is measured: prompts, tokens per prompt, rounds."""

    batch: int = 8
    length: int = 16
    repeats: int = 7


def gpt2_small_random() -> HookedModel:
    """A model of GPT-2 small's shape with random weights: for cost, not for meaning."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel._from_config(GPT2Config(), attn_implementation="eager")
    return HookedModel(model.eval(), name=GPT2_SMALL)


def random_task(model: HookedModel, batch: int, length: int) -> Task:
    """Pairs of random tokens, different at every position."""
    limit = model.layout.d_vocab
    if limit < 8 or batch < 1 or length < 2:
        raise InterpError(f"batch {batch}, length {length}, vocabulary {limit}: expected at least 1, 2 and 8.")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, limit - 1, (2, batch, length), generator=generator).tolist()
    pairs = [Pair("", "", (), (), ids=TokenPair(tuple(c), tuple(d), (1,), (2,))) for c, d in zip(*rows, strict=True)]
    return Task("random tokens", tuple(pairs))


def seconds_of(works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of each work. Rounds alternate between all, so a slow moment of the machine hits each alike.

    One round more comes first and does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            with warnings.catch_warnings(action="ignore"):  # nobody expects random tokens to be answered right
                work()
            _finish()
            if round_:
                times[name].append(time.perf_counter() - start)
    return {name: sorted(found)[len(found) // 2] for name, found in times.items()}


def _finish() -> None:
    """Wait for a GPU to do what it was given; a call returns before that."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(model: HookedModel) -> float:
    """The highest memory use of this process so far, in MiB: of the GPU where the model is on one, else resident."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device) / 2**20
    return resident_peak() / 2**20


def resident_peak() -> int:
    """The highest resident memory of this process so far, in bytes.

    Linux's `ru_maxrss` of a child begins with the size of its parent at the fork; the high-water mark of the process's own
    memory does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
