"""Which method a run takes where none was named: exact patching where that is cheap by its plan, else a search, else `auto`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from circuits.costs.run_bounds import least
from circuits.costs.scoring import exactly, of_request
from circuits.settings.prepared import SEARCH, Settings, checked, prepare_run
from interp.attribution.asking.planning import plan
from interp.attribution.auto.verified import AUTO
from interp.errors import InterpError
from interp.formatting.numbers import number
from interp.model.model import HookedModel
from interp.tasks.ablations import ABLATIONS
from interp.tasks.task import Task

#: Up to this part of the cost of a search patching every part is cheap; circuits of a search are better where single effects mislead.
CHEAP: Final = 1 / 2
#: Options that searches alone take of the methods that are chosen between.
_OF_SEARCHES: Final = ("rounds", "backward")


def decided(model: HookedModel, task: Task, settings: Settings, allowed: float | None = None) -> tuple[Settings, str]:
    """The settings with the method of the run, and why it is that one; as they are, and nothing, where a method was named.

    A search is left for exact patching where patching every part is cheap: where it costs at most `CHEAP` of what the search does, by
    their plans. It is left for `auto` on models and with options that it does not go with; both for `auto` where they do not fit into the
    forwards that are `allowed`. Options that only a search takes ask for one. Raises: InterpError for options that do not go with `auto`
    either.
    """
    if not settings.left_open:
        return settings, ""
    if given := [name for name in _OF_SEARCHES if getattr(settings, name) is not None]:
        return replace(settings, left_open=False), f"method: {SEARCH}, which takes {' and '.join(given)}"
    try:
        search = replace(checked(replace(settings, methods=(SEARCH,))), left_open=False)
        request = plan(model, task, _unlearned(search).main())
    except InterpError as error:
        return _with(settings, AUTO), f"method: {AUTO}, as {SEARCH} does not run here: {error}"
    cost, searched = exactly(request), of_request(request)
    every = f"exact patching of all {request.space.n_parts:,} {settings.level}"
    why = f"{every} may cost {number(cost, 0)} forwards, a search {number(searched, 0)}"
    chosen = _with(settings, "exact") if cost <= CHEAP * searched else search
    other = _with(settings, AUTO)
    if allowed is not None and _least(model, task, other) <= allowed < _least(model, task, chosen):
        return other, f"method: {AUTO}, as a run with {chosen.methods[0]} does not fit into {allowed:g} forwards"
    return chosen, f"method: {chosen.methods[0]}, as {why}"


def _least(model: HookedModel, task: Task, settings: Settings) -> float:
    """The forwards that a run may need where its search spends as little as it can."""
    return least(prepare_run(model, task, _unlearned(settings)), "discover")


def _unlearned(settings: Settings) -> Settings:
    """The same with the mean where values of an ablation would be learned, as nothing may be run yet."""
    return replace(settings, ablation="mean") if ABLATIONS[settings.ablation].learn is not None else settings


def _with(settings: Settings, method: str) -> Settings:
    """The settings with another method, without what only a search takes."""
    budget = settings.budget if method == AUTO else None
    return checked(replace(settings, methods=(method,), left_open=False, budget=budget))
