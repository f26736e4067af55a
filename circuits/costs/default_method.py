"""Which method a run takes where none was named: exact patching where that is cheap by its plan, else a search, else `auto`."""

from __future__ import annotations

from dataclasses import replace

from circuits.costs.scoring import exactly
from circuits.settings.prepared import SEARCH, Settings, checked
from interp.attribution.auto.verified import AUTO
from interp.attribution.methods import get_method
from interp.attribution.request import plan
from interp.errors import InterpError
from interp.formatting.numbers import number
from interp.model.model import HookedModel
from interp.tasks.ablations import ABLATIONS
from interp.tasks.task import Task


def decided(model: HookedModel, task: Task, settings: Settings) -> tuple[Settings, str]:
    """The settings with the method of the run, and why it is that one; as they are, and nothing, where a method was named.

    A search is left for exact patching where patching every part costs at most what the search may spend, and for `auto` on
    models that it does not run on. Raises: InterpError for options that do not go with `auto` either.
    """
    if not settings.left_open:
        return settings, ""
    asked = settings.main()
    if ABLATIONS[asked.ablation].learn is not None:
        asked = replace(asked, ablation="mean")
    try:
        request = plan(model, task, asked)
    except InterpError as error:
        return _with(settings, AUTO), f"method: {AUTO}, as {SEARCH} does not run here: {error}"
    cost, most = exactly(request), request.masks.budget or get_method(SEARCH).spends
    every, forwards = f"exact patching of all {request.space.n_parts:,} {settings.level}", f"{number(cost, 0)} forwards"
    if most is not None and cost <= most:
        return _with(settings, "exact"), f"method: exact, as {every} costs at most {forwards}, no more than a search"
    return replace(settings, left_open=False), f"method: {SEARCH}, as {every} may cost {forwards}"


def _with(settings: Settings, method: str) -> Settings:
    """The settings with another method, without what only a search takes."""
    budget = settings.budget if method == AUTO else None
    return checked(replace(settings, methods=(method,), left_open=False, budget=budget))
