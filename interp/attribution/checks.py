"""What can be said of a request for scores without a model: names that exist, and options that fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from interp.attribution.auto.budget import CHANCE, parse_budget
from interp.attribution.batching.positions import POSITIONS
from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS
from interp.attribution.batching.quadrature import quadrature as points
from interp.attribution.methods import METHODS, get_method
from interp.attribution.protocol.registry import Method
from interp.attribution.scoring.memory import parse_bytes
from interp.errors import MethodError, MetricError, unknown
from interp.parts.graph import KEY_VALUE
from interp.parts.nodes import FEATURES, LEVELS
from interp.tasks.ablations import ABLATIONS, check_direction
from interp.tasks.metrics import Direction, Metric, get_metric

#: Options of `check` that a request shares with `interp.attribution.request.prepare`.
CHECKED: Final = (
    "level", "positions", "direction", "ablation", "metric", "steps", "quadrature", "batch_size", "kv", "split_positions",
    "max_memory", "n", "chance", "budget", "ranking",
)  # fmt: skip


class Checked(NamedTuple):
    """What the names of a request stand for."""

    methods: list[Method]
    metric: Metric
    direction: Direction
    positions: str


def check(
    methods: Sequence[str],
    *,
    level: str,
    positions: str | None = None,
    direction: str | None = None,
    ablation: str = "counterfactual",
    metric: str | Metric | None = None,
    steps: int | None = None,
    quadrature: str | None = None,
    batch_size: int | None = None,
    parts: Sequence[str] | None = None,
    kv: str = "shared",
    split_positions: bool = False,
    tau: float | None = None,
    max_memory: int | str | None = None,
    n: int | None = None,
    chance: float | None = None,
    budget: str | float | None = None,
    ranking: str | None = None,
) -> Checked:
    """The options of `prepare`, which means each by the same name, as far as they can be checked before any model is there.

    Raises: MethodError, MetricError.
    """
    if level not in (*LEVELS, "edges", FEATURES):
        raise MethodError(unknown("level", level, (*LEVELS, "edges", FEATURES)))
    chosen, measure = [get_method(name) for name in methods], get_metric(metric)
    way = check_direction(ablation, direction)
    _check_methods(chosen, level, steps, quadrature, batch_size)
    _check_metric(chosen, measure, ablation)
    _check_edges(chosen, level, way, ablation, kv, split_positions, tau, positions, parts, measure)
    where = _positions_mode(level, positions)
    _check_search(chosen, parts, where, n=n, chance=chance, budget=budget, ranking=ranking)
    if max_memory is not None:
        parse_bytes(max_memory)
    return Checked(chosen, measure, way, where)


def _check_search(chosen: Sequence[Method], parts: Sequence[str] | None, where: str, **options: Any) -> None:
    """Refuse options of `auto` without it, and those that have no meaning with it."""
    search = any(m.search for m in chosen)
    if not search and (given := [name for name, value in options.items() if value is not None]):
        raise MethodError(
            f"{' and '.join(given)}: for method auto only; given with {', '.join(m.name for m in chosen)}."
        )
    if search and parts is not None:
        raise MethodError(
            "method auto chooses what it patches; parts has no meaning for it. Use 'exact' for some parts."
        )
    if search and where != "all":
        raise MethodError(
            f"method auto ranks parts at all positions together, given positions={where!r}: use 'all' (level 'resid' has none)."
        )
    if search:
        _check_options_of_search(**options)


def _check_options_of_search(n: object, chance: object, budget: str | float | None, ranking: object) -> None:
    """How many parts there are is known later, with the model."""
    parse_budget(budget)
    if n is not None and not (isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1):
        raise MethodError(f"n={n!r}: expected a whole number from 1 on, the parts of the top.")
    if chance is not None and not (isinstance(chance, int | float | np.floating) and 0 < chance < 1):
        raise MethodError(f"chance={chance!r}: expected a number between 0 and 1, such as {CHANCE}.")
    if ranking not in (None, "signed", "absolute"):
        raise MethodError(unknown("ranking", ranking, ("signed", "absolute")))


def _positions_mode(level: str, positions: str | None) -> str:
    if positions not in (None, *POSITIONS):
        raise MethodError(unknown("positions", positions, POSITIONS))
    if level == "resid" and positions == "all":
        raise MethodError(
            "level 'resid' with positions='all' patches the whole residual stream, which gives the same number at every "
            "layer. Use positions='each', 'end' or 'spans'."
        )
    return positions or ("each" if level == "resid" else "all")


def _check_edges(
    chosen: Sequence[Method],
    level: str,
    direction: str,
    ablation: str,
    kv: str,
    split_positions: bool,
    tau: float | None,
    positions: str | None,
    parts: Sequence[str] | None,
    metric: Metric,
) -> None:
    """Refuse what has no meaning at this level, or for a method of it."""
    if kv not in KEY_VALUE:
        raise MethodError(unknown("kv", kv, KEY_VALUE))
    if level != "edges" and (kv != "shared" or split_positions):
        raise MethodError(f"kv and split_positions belong to level 'edges'; given with level {level!r}.")
    if tau is not None and not any(m.joint for m in chosen):
        raise MethodError(f"tau belongs to method acdc; given with {', '.join(m.name for m in chosen)}.")
    if tau is not None and tau < 0:
        raise MethodError(f"tau={tau}: expected 0 or more.")
    for m in chosen:
        if m.needs_run and not ABLATIONS[ablation].has_run:
            raise MethodError(f"{m.name} takes gradients at the source run; {ablation} ablation has none.")
        if m.noise and direction != "noise":
            raise MethodError(f"{m.name} cuts edges out of the clean run: give direction='noise'.")
        if m.joint and parts is not None:
            raise MethodError(f"{m.name} decides on every edge in turn; parts has no meaning for it.")
        if m.joint and tau is not None and metric.normalised:
            raise MethodError(f"tau and the normalised metric {metric.name!r}: give tau in logits, with 'logit_diff'.")
        if m.joint and positions not in (None, "all"):
            raise MethodError(f"{m.name} cuts whole edges; positions={positions!r} has no meaning for it.")


def _check_methods(
    chosen: Sequence[Method], level: str, steps: int | None, quadrature: str | None, batch_size: int | None
) -> None:
    for m in chosen:
        if not m.scores(level):
            able = ", ".join(name for name, other in METHODS.items() if other.scores(level))
            raise MethodError(f"method {m.name!r} scores {m.levels}, not level {level!r}; there: {able}.")
    if not chosen or len({m.name for m in chosen}) < len(chosen):
        raise MethodError(f"methods={[m.name for m in chosen]}: expected one or more, each once.")
    if (steps is not None or quadrature is not None) and not any(m.uses_steps or m.search for m in chosen):
        raise MethodError(f"steps and quadrature belong to IG methods; given with {', '.join(m.name for m in chosen)}.")
    points(quadrature or DEFAULT_QUADRATURE, DEFAULT_STEPS if steps is None else steps)
    if batch_size is not None and batch_size < 1:
        raise MethodError(f"batch_size={batch_size}: expected 1 or more.")


def _check_metric(chosen: Sequence[Method], metric: Metric, ablation: str) -> None:
    """Refuse a metric that is flat where a method looks, or that needs a run which the ablation does not have."""
    for m in chosen:
        if m.base_point and metric.toward == "base":
            raise MetricError(
                f"metric {metric.name!r} is flat at the base run, so {m.name} would score every node 0. "
                f"Use exact, an IG method, or {metric.name.replace('base', 'source')!r}."
            )
    if metric.toward == "source" and not ABLATIONS[ablation].has_run:
        raise MetricError(f"metric {metric.name!r} is a distance to a source run; {ablation} ablation has none.")
    if metric.normalised and not ABLATIONS[ablation].paired:
        raise MetricError(f"metric {metric.name!r} needs the paired run; use counterfactual ablation or 'logit_diff'.")
