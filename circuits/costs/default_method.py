"""Which method a run takes where none was named: exact patching where that is cheap by its plan, else a search, else `auto`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from circuits.costs.scoring import exactly, of_request
from circuits.settings.prepared import SEARCH, Settings, checked
from interp.attribution.auto.verified import AUTO
from interp.attribution.request import plan
from interp.errors import InterpError
from interp.formatting.numbers import number
from interp.model.model import HookedModel
from interp.tasks.ablations import ABLATIONS
from interp.tasks.task import Task

#: Up to this part of the cost of a search patching every part is cheap; circuits of a search are better where single effects mislead.
CHEAP: Final = 1 / 2


def decided(model: HookedModel, task: Task, settings: Settings) -> tuple[Settings, str]:
    """The settings with the method of the run, and why it is that one; as they are, and nothing, where a method was named.

    A search is left for exact patching where patching every part is cheap: where it costs at most `CHEAP` of what the search does, by
    their plans. On models that it does not run on it is left for `auto`. Raises: InterpError for options that do not go with `auto` either.
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
    cost, search = exactly(request), of_request(request)
    every = f"exact patching of all {request.space.n_parts:,} {settings.level}"
    both = f"may cost {number(cost, 0)} forwards, a search {number(search, 0)}"
    if cost <= CHEAP * search:
        return _with(settings, "exact"), f"method: exact, as {every} {both}"
    return replace(settings, left_open=False), f"method: {SEARCH}, as {every} {both}"


def _with(settings: Settings, method: str) -> Settings:
    """The settings with another method, without what only a search takes."""
    budget = settings.budget if method == AUTO else None
    return checked(replace(settings, methods=(method,), left_open=False, budget=budget))
