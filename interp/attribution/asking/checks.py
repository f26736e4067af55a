"""What can be said of a request for scores without a model: names that exist, and options that fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from interp.attribution.asking.request_options import Request
from interp.attribution.auto.budget import CHANCE, parse_budget
from interp.attribution.batching.batch_sizes import parse_bytes
from interp.attribution.batching.positions import POSITIONS
from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS
from interp.attribution.batching.quadrature import quadrature as points
from interp.attribution.methods import METHODS, get_method
from interp.attribution.protocol.registry import MaskSettings, Method, with_start
from interp.errors import MethodError, MetricError, unknown
from interp.ledger import PASS
from interp.parts.graph import KEY_VALUE
from interp.parts.layout import NET_LEVELS
from interp.parts.nodes import FEATURES, LEVELS
from interp.rules.rules import preset
from interp.tasks.ablations import ABLATIONS, check_direction
from interp.tasks.metric import Direction, Metric
from interp.tasks.metrics import get_metric
from interp.whole_numbers import count, whole


class Checked(NamedTuple):
    """What the names of a request stand for. `search`: whether a method of it looks for the top itself."""

    methods: list[Method]
    metric: Metric
    direction: Direction
    positions: str
    search: bool
    masks: dict[str, Any]


def check(asked: Request, called: str | None = None) -> Checked:
    """What can be said of a request before any model is there. called: what errors name, where a function of ours chose the method.

    Raises: MethodError, MetricError.
    """
    if asked.level not in (levels := (*LEVELS, "edges", FEATURES, *NET_LEVELS)):
        raise MethodError(unknown("level", asked.level, levels))
    chosen, metric = [get_method(name) for name in asked.methods], get_metric(asked.metric)
    if called is not None:
        chosen = [replace(m, name=called) for m in chosen]
    noise = asked.direction is None and any(m.noise for m in chosen)
    direction = check_direction(asked.ablation, "noise" if noise else asked.direction)
    _check_methods(chosen, asked)
    _check_metric(chosen, metric, asked.ablation)
    _check_edges(asked)
    _check_tau(chosen, asked)
    masks = _mask_options(chosen, asked)
    _check_metric(with_start(chosen, MaskSettings(**masks))[len(chosen) :], metric, asked.ablation)
    for method in chosen:
        _check_runs(method, direction, asked.ablation)
        if method.together or method.of_masks:
            _check_joint(method, metric, asked)
    positions, search = _positions_mode(asked), any(m.search for m in chosen)
    _check_search(chosen, asked, positions)
    if asked.max_memory is not None:
        parse_bytes(asked.max_memory)
    return Checked(chosen, metric, direction, positions, search, masks)


def _check_methods(chosen: Sequence[Method], asked: Request) -> None:
    for m in chosen:
        if not m.scores(asked.level):
            able = ", ".join(name for name, other in METHODS.items() if other.scores(asked.level))
            raise MethodError(f"method {m.name!r} scores {m.levels}, not level {asked.level!r}; there: {able}.")
    if not chosen or len({m.name for m in chosen}) < len(chosen):
        raise MethodError(f"methods={[m.name for m in chosen]}: expected one or more, each once.")
    if asked.quadrature is not None and not any(m.uses_steps or m.search for m in chosen):
        raise MethodError(f"quadrature belongs to IG methods; given with {_names(chosen)}.")
    if asked.steps is not None and not any(m.uses_steps or m.rules.secants or m.search for m in chosen):
        raise MethodError(f"steps belongs to IG methods and deeplift; given with {_names(chosen)}.")
    points(asked.quadrature or DEFAULT_QUADRATURE, DEFAULT_STEPS if asked.steps is None else asked.steps)
    if asked.batch_size is not None:
        count(asked.batch_size, "batch_size", MethodError)
    if any(m.search for m in chosen):
        count(asked.seed, "seed", MethodError, least=0)
    whole(asked.seed, "seed", MethodError)


def _names(chosen: Sequence[Method]) -> str:
    return ", ".join(m.name for m in chosen)


def _check_metric(chosen: Sequence[Method], metric: Metric, ablation: str) -> None:
    """Refuse a metric that is flat where a method looks, or that needs a run which the ablation does not have."""
    for m in chosen:
        if (m.base_point or (m.masked and not m.warm)) and metric.toward == "base":
            raise MetricError(
                f"metric {metric.name!r} is flat at the base run, so {m.name} would score every node 0. "
                f"Use exact, an IG method, or {metric.name.replace('base', 'source')!r}."
            )
    if metric.toward == "source" and not ABLATIONS[ablation].has_run:
        raise MetricError(f"metric {metric.name!r} is a distance to a source run; {ablation} ablation has none.")
    if metric.normalised and not ABLATIONS[ablation].paired:
        raise MetricError(f"metric {metric.name!r} needs the paired run; use counterfactual ablation or 'logit_diff'.")


def _check_edges(asked: Request) -> None:
    """Refuse what has no meaning at this level."""
    if asked.kv is not None and asked.kv not in KEY_VALUE:
        raise MethodError(unknown("kv", asked.kv, KEY_VALUE))
    if asked.level != "edges" and (asked.kv not in (None, "shared") or asked.split_positions):
        raise MethodError(f"kv and split_positions belong to level 'edges'; given with level {asked.level!r}.")


def _check_tau(chosen: Sequence[Method], asked: Request) -> None:
    if asked.tau is not None and not any(m.joint for m in chosen):
        raise MethodError(f"tau belongs to method acdc; given with {_names(chosen)}.")
    if asked.tau is not None and not (isinstance(asked.tau, int | float | np.number) and asked.tau >= 0):
        raise MethodError(f"tau={asked.tau}: expected 0 or more.")


def _check_runs(method: Method, direction: str, ablation: str) -> None:
    """Refuse runs that a method cannot look at."""
    if method.needs_run and not ABLATIONS[ablation].has_run:
        raise MethodError(f"{method.name} needs the source run; {ablation} ablation has none.")
    if method.noise and direction != "noise":
        raise MethodError(f"{method.name} cuts edges out of the clean run: give direction='noise'.")


def _check_joint(method: Method, metric: Metric, asked: Request) -> None:
    """Refuse what has no meaning for a method that decides on all parts together."""
    if asked.parts is not None and method.together:
        raise MethodError(f"{method.name} decides on all parts together; parts has no meaning for it.")
    if asked.tau is not None and metric.normalised:
        raise MethodError(f"tau and the normalised metric {metric.name!r}: give tau in logits, with 'logit_diff'.")
    if asked.positions not in (None, "all"):
        raise MethodError(
            f"{method.name} cuts parts at all positions together; positions={asked.positions!r} has no meaning for it."
        )


#: The options of searches on masks.
_MASKS: Final = ("rounds", "start", "backward")


def _mask_options(chosen: Sequence[Method], asked: Request) -> dict[str, Any]:
    """The options of searches on masks that were given. Raises: MethodError for one without its method, or of another kind."""
    given = {name: value for name in _MASKS if (value := getattr(asked, name)) is not None}
    for name in given:
        able = _takes_start if name == "start" else _is_masked
        if not any(able(m) for m in chosen):
            belongs = ", ".join(other.name for other in METHODS.values() if able(other))
            raise MethodError(f"{name} belongs to searches on masks ({belongs}); given with {_names(chosen)}.")
    if "rounds" in given:
        count(asked.rounds, "rounds", MethodError)
    if "backward" in given and preset(str(asked.backward)).secants:
        raise MethodError(f"backward={asked.backward!r}: searches on masks take a preset at one run.")
    if "start" in given:
        _check_start(get_method(str(asked.start)), asked)
    if asked.budget is not None and any(_is_masked(m) for m in chosen):
        given["budget"] = _forwards(asked, [m for m in chosen if _is_masked(m)], MaskSettings(**given))
    return given


def _is_masked(method: Method) -> bool:
    return method.masked is not None


def _takes_start(method: Method) -> bool:
    return method.warm and not method.starts


def _forwards(asked: Request, searches: Sequence[Method], told: MaskSettings) -> float:
    """The budget of searches on masks. Raises: MethodError for seconds, beside rounds, with a start whose cost is the model's, and where no
    round fits into it."""
    budget = parse_budget(asked.budget)
    if budget.unit == "seconds":
        raise MethodError(f"budget={asked.budget!r}: searches on masks count forward equivalents, such as '150F'.")
    if asked.rounds is not None:
        raise MethodError(f"rounds={asked.rounds} and budget={asked.budget!r}: give one of them.")
    for m in searches:
        starts = with_start([m], told)[1:]
        if odd := [own.name for own in starts if own.exact or own.per_site or own.unsigned]:
            raise MethodError(
                f"budget={asked.budget!r} with start={odd[0]!r}: what that costs depends on the model; give rounds in the place of a budget."
            )
        steps = DEFAULT_STEPS if asked.steps is None else asked.steps
        begins = sum(steps if own.uses_steps else own.passes for own in starts)
        least = 4 + PASS * (1 + begins) + m.circuits * (len(starts) + 1)
        if budget.limit < least:
            raise MethodError(
                f"budget={asked.budget!r}: {m.name} costs {least} forwards with one round; give as many or more."
            )
    return budget.limit


def _check_start(start: Method, asked: Request) -> None:
    if start.search or start.joint or start.warm or not start.scores(asked.level):
        able = ", ".join(
            name for name, m in METHODS.items()
            if m.scores(asked.level) and not m.search and not m.joint and not m.warm
        )  # fmt: skip
        raise MethodError(
            f"start={start.name!r}: no method that gives an order of {asked.level} to begin with; expected one of: {able}."
        )
    _check_runs(start, "noise", asked.ablation)


def _positions_mode(asked: Request) -> str:
    if asked.positions not in (None, *POSITIONS):
        raise MethodError(unknown("positions", asked.positions, POSITIONS))
    if asked.level == "resid" and asked.positions == "all":
        raise MethodError(
            "level 'resid' with positions='all' patches the whole residual stream, which gives the same number at every "
            "layer. Use positions='each', 'end' or 'spans'."
        )
    if asked.level in NET_LEVELS and asked.positions not in (None, "all"):
        raise MethodError(
            f"level {asked.level!r} with positions={asked.positions!r}: what modules return has axes of its own, and no positions of the input; use "
            "'all'."
        )
    return asked.positions or ("each" if asked.level == "resid" else "all")


def _check_search(chosen: Sequence[Method], asked: Request, positions: str) -> None:
    """Refuse options of `auto` without it, and those that have no meaning with it."""
    own = ("n", "chance", "ranking") if any(map(_is_masked, chosen)) else ("n", "chance", "budget", "ranking")
    if not any(m.search for m in chosen):
        if given := [name for name in own if getattr(asked, name) is not None]:
            others = " and searches on masks" if "budget" in given else ""
            raise MethodError(f"{' and '.join(given)}: for method auto{others} only; given with {_names(chosen)}.")
        return
    if asked.parts is not None:
        raise MethodError(
            "method auto chooses what it patches; parts has no meaning for it. Use 'exact' for some parts."
        )
    if positions != "all":
        raise MethodError(
            f"method auto ranks parts at all positions together, given positions={positions!r}: use 'all' (level 'resid' has none), or a method by name, such as relp."
        )
    _check_options_of_search(asked)


def _check_options_of_search(asked: Request) -> None:
    """How many parts there are is known later, with the model."""
    parse_budget(asked.budget)
    n, chance = asked.n, asked.chance
    if n is not None and not (isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1):
        raise MethodError(f"n={n!r}: expected a whole number from 1 on, the parts of the top.")
    if chance is not None and not (isinstance(chance, int | float | np.floating) and 0 < chance < 1):
        raise MethodError(f"chance={chance!r}: expected a number between 0 and 1, such as {CHANCE}.")
    if asked.ranking not in (None, "signed", "absolute"):
        raise MethodError(unknown("ranking", asked.ranking, ("signed", "absolute")))
