"""What a run with a mask over edges costs, forward and back, beside the scores of all edges: in time, multiply-adds and memory.

Either what norms make of each reader's copy is kept for the backward pass, or memory is spared: it is made again there, and half the prompts
go through at a time. Memory is that of a process of its own, above the loaded model; it is measured for the random GPT-2 small.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

import torch

from circuits.bench.attribution_cost import UNABLE
from circuits.bench.workload import (
    GPT2_SMALL,
    Measurement,
    Size,
    Skipped,
    gpt2_small_random,
    peak_memory,
    random_task,
    seconds_of,
)
from interp.attribution.masks.masked import Masked
from interp.attribution.request import prepare
from interp.errors import InterpError
from interp.ledger import counting
from interp.model.model import HookedModel
from interp.model.modules import attention
from interp.model.modules.lock import settled

UNIT: Final = "scores of all edges (eap)"
#: The names of what is measured, and which of the two a masked run is; None for the scores.
WORKS: Final = {
    "scores of all edges": None,
    "masked run of edges": True,
    "masked run of edges, half the prompts at a time": False,
}


def bench_masks(model: HookedModel, size: Size) -> Iterator[Measurement | Skipped]:
    """Time a masked run of random shares, forward and back, its source run cached, against the scores of all edges of the same prompts.

    A model without edges is a `Skipped` with the reason.
    """
    try:
        works = {name: _work(model, keep, size) for name, keep in WORKS.items()}
    except UNABLE as error:
        yield Skipped("masks", "masked run of edges", str(error))
        return
    forward = model.prices.forward(size.batch, size.length)
    counted = {}
    for name, work in works.items():
        work()
        with counting() as ledger:
            work()
        counted[name] = ledger.total / forward
    medians = seconds_of(works, size.repeats)
    for name, keep in WORKS.items():
        above = _apart(keep, size) if model.name == GPT2_SMALL else None
        ratio = medians[name] / medians[next(iter(WORKS))]
        yield Measurement("masks", name, ratio, medians[name], UNIT, above_mib=above, counted=counted[name])


def _work(model: HookedModel, keep: bool | None, size: Size) -> Callable[[], Any]:
    task = random_task(model, size.batch, size.length)
    batch = size.batch if keep is not False else max(1, size.batch // 2)
    with warnings.catch_warnings(action="ignore"):  # nobody expects random tokens to be answered right
        request = prepare(model, task, methods=["eap"], level="edges", batch_size=batch, direction="noise")
    if keep is None:
        return lambda: request.score(show_progress=False)
    masked = Masked([request.batch(index) for index in request.indices], keep)
    shares = torch.rand(masked.n_parts, generator=torch.Generator().manual_seed(0), dtype=torch.float32)

    def work() -> None:
        with settled(model.device), attention.selected(model.hf, None):
            masked.slopes(shares)

    return work


def _apart(keep: bool | None, size: Size) -> float:
    """MiB above the loaded model, in a process of its own. Raises: InterpError where that fails."""
    asked = json.dumps([keep, asdict(size)])
    done = subprocess.run(
        [sys.executable, "-m", "circuits.bench.mask_cost", asked], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InterpError(f"bench: the memory of masked runs could not be measured: {said[-1]}")
    return float(done.stdout.strip().splitlines()[-1])


def above(keep: bool | None, size: Size) -> float:
    """MiB that one of `WORKS` takes above the loaded model, in this process, which should have done nothing else before."""
    model = gpt2_small_random()
    before = peak_memory(model)
    work = _work(model, keep, size)
    for _ in range(2):
        with warnings.catch_warnings(action="ignore"):
            work()
    return peak_memory(model) - before


if __name__ == "__main__":
    _keep, _size = json.loads(sys.argv[1])
    sys.stdout.write(f"{above(_keep, Size(**_size))}\n")
