"""Method `auto` on a model: the presets in one shared call, exact patching by the same driver, one `Scores` of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np

from interp.attribution.auto.blend import Towards
from interp.attribution.auto.budget import CHANCE, Cost, Plan, parse_budget, total
from interp.attribution.auto.prices import price_of
from interp.attribution.auto.search import Found, run_search
from interp.attribution.methods import get_method
from interp.attribution.protocol.registry import Method
from interp.attribution.protocol.spaces import EdgeSpace
from interp.attribution.scoring.driver import Attribution
from interp.errors import MethodError, UnsupportedRuleError
from interp.parts.nodes import competes
from interp.rules.rules import GRADIENT
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores
from interp.tasks.ablations import ABLATIONS
from interp.tasks.metric import Metric

AUTO: Final = "auto"
#: Presets that a search leaves out, each with the reason.
LeftOut = tuple[tuple[str, str], ...]
#: Methods of one backward pass, and dearer ones along a path, by whether they score edges. The first makes the source run,
#: and keeps of it what it alone needs.
PRESETS: Final = {False: ("deeplift", "atp", "relp", "relp-ah"), True: ("deeplift", "eap", "relp", "relp-ah")}
ALONG_PATHS: Final = {False: ("atp-ig", "relp-ig"), True: ("eap-ig", "relp-ig")}
STEPS: Final = 5
TOP: Final = 10


@dataclass(frozen=True, kw_only=True)
class VerifiedAttribution(Attribution):
    """A checked request that asks for `auto`, perhaps beside other methods.

    methods: the others that were asked for and the presets, which share their runs. requested: the names asked for, in
    order. left_out: presets that do not fit this model or metric, and why. path_steps: steps of the dearer presets, which are
    those of the methods along paths that run anyway.
    """

    plan: Plan
    path_steps: int
    requested: tuple[str, ...]
    left_out: LeftOut

    def score(self, show_progress: bool | None = None) -> dict[str, Scores]:
        """The scores of every method that was asked for. Raises: ScoreError for a score that is not finite."""
        found = self.score_tried(show_progress)
        return {name: found[name] for name in self.requested}

    def score_tried(self, show_progress: bool | None = None) -> dict[str, Scores]:
        """The same, and after them the scores of every preset that the search tried."""
        plain = self._only(self.methods).score(show_progress)
        tried = {name: plain[name] for name in self._estimates() if name in plain}
        cheap = total(cost_of(scores) for scores in tried.values())
        further = _Further(self, [name for name in self._paths() if name not in plain], cheap, show_progress)
        costs: list[Cost] = []
        engines: list[str] = []

        def exact(names: Sequence[str]) -> tuple[np.ndarray, Cost]:
            scores = self._only([get_method("exact")], frozenset(names)).score(show_progress)["exact"]
            column = {part.name: i for i, part in enumerate(scores.parts)}
            costs.append(cost_of(scores))
            engines.append(scores.provenance.engine)
            return scores.per_example[:, [column[name] for name in names]], costs[-1]

        first = next(iter(tried.values()))
        what = "edges" if isinstance(self.space, EdgeSpace) else "nodes"
        tables = {name: scores.per_example for name, scores in tried.items()}
        price = price_of(self._only([get_method("exact")]))
        found = run_search(first.parts, tables, exact, price, further, self.plan, what, self._towards())
        tried |= further.found
        spent = total([cheap, *costs, *(cost_of(scores) for scores in further.found.values())])
        scores = self._result(found, tried, cheap, spent, engines[-1])
        ordered = {name: scores if name == AUTO else plain[name] for name in self.requested}
        return ordered | {name: s for name, s in tried.items() if name not in ordered}

    def _estimates(self) -> tuple[str, ...]:
        """Everything that may serve as an estimate, cheap methods first."""
        edges = isinstance(self.space, EdgeSpace)
        return (*PRESETS[edges], *ALONG_PATHS[edges])

    def _towards(self) -> Towards:
        """What theory says of these methods: which are right for small effects, and which add up to the whole."""
        methods = [get_method(name) for name in self._estimates()]
        return Towards(tuple(m.name for m in methods if m.first_order), tuple(m.name for m in methods if m.complete))

    def _paths(self) -> tuple[str, ...]:
        left = {name for name, _ in self.left_out}
        return tuple(name for name in ALONG_PATHS[isinstance(self.space, EdgeSpace)] if name not in left)

    def _only(self, methods: Sequence[Method], parts: frozenset[str] | None = None) -> Attribution:
        """The same request for other methods, or some parts, without a search."""
        own = {f.name: getattr(self, f.name) for f in fields(Attribution)}
        return Attribution(**{**own, "methods": list(methods), "only": parts})

    def along_path(self, name: str) -> Attribution:
        """The request for one of the dearer presets."""
        return replace(self._only([get_method(name)]), steps=self.path_steps)

    def _result(self, found: Found, tried: Mapping[str, Scores], cheap: Cost, spent: Cost, engine: str) -> Scores:
        like = next(iter(tried.values()))
        search = replace(found.search, left_out=self.left_out, estimates_cost=cheap.equivalents)
        return Scores(
            like.parts,
            found.table,
            replace(self._provenance(tried, found, spent), engine=engine),
            found.exact,
            found.error,
            search,
        )

    def _provenance(self, tried: Mapping[str, Scores], found: Found, spent: Cost) -> Provenance:
        estimated = not found.exact.all()
        counts = dict.fromkeys(name for names in found.search.chosen().values() for name in names)
        like, *others = (tried[name].provenance for name in (next(iter(tried)), *counts))
        # All methods along paths take as many steps: see `verified`.
        stepped = next((p for p in others if estimated and p.quadrature is not None), None)
        return replace(
            like,
            method=AUTO,
            rules=f"of the methods that count: {', '.join(counts)}" if estimated else "none",
            steps=stepped.steps if stepped else None,
            quadrature=stepped.quadrature if stepped else None,
            forwards=spent.forwards,
            backwards=spent.backwards,
            seconds=spent.seconds,
            exact=False,
            coefficients_at="base run, between both runs, or along a path by the method; exact scores use none"
            if estimated
            else "nowhere: none are used",
        )


class _Further:
    """The dearer presets, one at a time, as long as each fits what it may cost."""

    def __init__(self, request: VerifiedAttribution, names: Sequence[str], cheap: Cost, show: bool | None) -> None:
        self.request, self.names, self.show = request, list(names), show
        steps = request.path_steps
        seconds = cheap.seconds / cheap.equivalents * Cost(2 + steps, steps).equivalents
        self.expected = request.plan.budget.of(Cost(2 + steps, steps, seconds))
        self.found: dict[str, Scores] = {}

    def __call__(self, most: float) -> tuple[dict[str, np.ndarray], Cost] | None:
        if not self.names or self.expected > most:
            return None
        name = self.names.pop(0)
        self.found[name] = self.request.along_path(name).score(self.show)[name]
        return {name: self.found[name].per_example}, cost_of(self.found[name])


def verified(
    request: Attribution,
    *,
    n: int | None,
    chance: float | None,
    budget: str | float | None,
    ranking: str,
    steps: int | None,
    requested: Sequence[str],
    left_out: LeftOut,
) -> VerifiedAttribution:
    """A request with the options of `auto`, checked as far as they go (see `interp.attribution.asking.checks`). Raises: MethodError."""
    size = sum(competes(part.kind) for part in request.space.parts([None]))
    if n is not None and not (isinstance(n, int | np.integer) and not isinstance(n, bool) and 1 <= n <= size):
        raise MethodError(
            f"n={n!r}: expected a whole number from 1 to {size}, the parts of level {request.level!r} without embedding and errors."
        )
    plan = Plan(
        n=min(TOP, size) if n is None else int(n),
        chance=CHANCE if chance is None else float(chance),
        budget=parse_budget(budget),
        seed=request.seed,
        sign=request.metric.importance_sign(request.direction),
        signed=ranking == "signed",
    )
    own: dict[str, Any] = {f.name: getattr(request, f.name) for f in fields(Attribution)}
    fewer = steps is None and not any(method.uses_steps for method in request.methods)
    own |= {"requested": tuple(requested), "left_out": left_out, "path_steps": STEPS if fewer else request.steps}
    return VerifiedAttribution(**own, plan=plan)


def cost_of(scores: Scores) -> Cost:
    """What scores took."""
    p = scores.provenance
    return Cost(p.forwards, p.backwards, p.seconds)


def usable(
    model: Any, edges: bool, metric: Metric, ablation: str, allow_unsupported: bool
) -> tuple[list[Method], LeftOut]:
    """The presets that fit this model, metric and ablation, to be run first, and those that do not, with the reason.

    Raises: MethodError where none is left.
    """
    left_out: list[tuple[str, str]] = []
    fit: list[Method] = []
    for name in (*PRESETS[edges], *ALONG_PATHS[edges]):
        method = get_method(name)
        if why := _unfit(model, method, metric, ablation, allow_unsupported):
            left_out.append((name, why))
        elif name in PRESETS[edges] or not fit:
            fit.append(method)
    if not fit:
        names = ", ".join((*PRESETS[edges], *ALONG_PATHS[edges]))
        raise MethodError(f"method auto: none of {names} fits this model and metric; use method 'exact'.")
    return fit, tuple(left_out)


def _unfit(model: Any, method: Method, metric: Metric, ablation: str, allow_unsupported: bool) -> str:
    """Why a preset cannot serve; empty where it can."""
    if method.base_point and metric.toward == "base":
        return f"metric {metric.name} is flat at the base run"
    if method.needs_run and not ABLATIONS[ablation].has_run:
        return f"it needs the source run, which {ablation} ablation has not"
    return "" if allow_unsupported else _unsupported(model, method)


def may_run(first: Sequence[Method], edges: bool, left_out: LeftOut) -> list[Method]:
    """All that a search may run, each once: `first`, then methods along paths and exact patching."""
    names = [method.name for method in first] + [*ALONG_PATHS[edges], "exact"]
    refused = {name for name, _ in left_out}
    return [get_method(name) for name in dict.fromkeys(names) if name not in refused]


def _unsupported(model: Any, method: Method) -> str:
    if method.rules == GRADIENT:
        return ""
    try:
        model.coverage(method.rules).check()
    except UnsupportedRuleError as error:
        return str(error)
    return ""
