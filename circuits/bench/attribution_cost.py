"""What attribution costs: each method against two forwards and one backward of the plain model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, Final

import torch

from circuits.bench.workload import Measurement, Size, Skipped, peak_memory, random_task, seconds_of
from interp.attribution.methods import get_method
from interp.attribution.request import attribute, prepare
from interp.errors import LayoutError, SiteError, UnsupportedRuleError
from interp.model.model import HookedModel
from interp.tasks.task import Task

#: What a model without a level's places or a rule's operations raises.
UNABLE: Final = (LayoutError, SiteError, UnsupportedRuleError)
UNIT: Final = "2 forwards + 1 backward"
PLAIN: Final = "plain model"

#: What is measured by default: (method, level, steps).
DEFAULT: Final = (
    ("atp", "resid", None),
    ("atp", "blocks", None),
    ("atp", "heads", None),
    ("relp", "heads", None),
    ("relp-ah", "heads", None),
    ("atp", "qkv", None),
    ("relp-ig", "heads", 5),
    ("eap", "edges", None),
    ("relp", "edges", None),
    ("eap-ig", "edges", 5),
    ("relp-ig", "edges", 5),
)


def bench_attribution(
    model: HookedModel, wanted: Sequence[tuple[str, str, int | None]], size: Size
) -> Iterator[Measurement | Skipped]:
    """Time each (method, level, steps) on one batch of random prompts against 2 forwards + 1 backward of the plain model.

    The plain model: parameters frozen, gradient to the embeddings only, full logits, its own attention implementation.
    Of the first method at level edges also whole calls are timed, with what is found out of the model before any scoring.
    What this model cannot do is a `Skipped` with the reason. Raises: MethodError for an unknown method or level.
    """
    task = random_task(model, size.batch, size.length)
    works: dict[str, Callable[[], Any]] = {PLAIN: lambda: plain_passes(model, task)}
    calls: dict[str, Callable[[], Any]] = {}
    for method, level, steps in wanted:
        uses = get_method(method).uses_steps
        try:
            request = prepare(
                model, task, methods=[method], level=level, batch_size=size.batch, steps=steps if uses else None
            )
        except UNABLE as error:
            yield Skipped("attribution", f"{method}, {level}", str(error))
            continue
        name = f"{method}, {level}" + (f", {request.steps} steps" if uses else "")
        works[name] = lambda request=request: request.score(show_progress=False)  # type: ignore[misc]
        if level == "edges" and not calls:
            calls = _calls(model, task, name, method, request.steps if uses else None, size)
    yield from _timed(model, works | calls, size)


def _calls(
    model: HookedModel, task: Task, name: str, method: str, steps: int | None, size: Size
) -> dict[str, Callable[[], Any]]:
    """Whole calls as a user makes them, set-up counted: the first on a model, of which nothing is known yet, and a later one."""

    def call(model: HookedModel) -> None:
        attribute(model, task, method=method, level="edges", steps=steps, batch_size=size.batch, show_progress=False)

    return {f"{name}, first call": lambda: call(copy(model)), f"{name}, later call": lambda: call(model)}


def _timed(model: HookedModel, works: dict[str, Callable[[], Any]], size: Size) -> Iterator[Measurement]:
    peaks = {name: _peak_after(model, work) for name, work in works.items()}
    medians = seconds_of(works, size.repeats)
    plain, first = medians[PLAIN], peaks[PLAIN]
    for name in works:
        above = peaks[name] - first
        yield Measurement("attribution", name, medians[name] / plain, medians[name], UNIT, above_mib=above)


def _peak_after(model: HookedModel, work: Callable[[], Any]) -> float:
    seconds_of({"once": work}, 1)
    return peak_memory(model)


def plain_passes(model: HookedModel, task: Task) -> None:
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
