"""An evaluation while it runs: every measure of every method on every pair, then their means and intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import numpy as np
from torch import Tensor

from interp.attribution.token_request import TokenRequest
from interp.attribution.tokens.draws import seed_of
from interp.errors import MethodError
from interp.evaluation.infidelity import NOISY, REMOVAL, draws, infidelity
from interp.evaluation.judged_values import Judged
from interp.evaluation.mixing import Mixed
from interp.evaluation.removal_curves import STEPS, Curves, by_value, curves, random_curves
from interp.evaluation.reruns import max_sensitivity, randomisation, shuffled
from interp.evaluation.token_evaluation import MEASURES, RANDOM, Curve, Judgement, TokenEvaluation
from interp.evaluation.token_truth import auroc, pointing
from interp.model.modules.lock import settled
from interp.progress import progress
from interp.scores.resampling import Estimate, interval, resample_weights

#: So often max-sensitivity runs a method near each prompt.
NEAR: Final = 8
#: The measures of an order, as `Curves.numbers` has them, and those that need a truth.
ORDERED: Final = ("deletion", "insertion", "comprehensiveness", "sufficiency")
KNOWN: Final = ("AUROC", "pointing")


@dataclass(eq=False)
class Judge:
    """One evaluation while it runs. known: which groups of each pair are known to matter; strict: whether what cannot be measured is an error; found: by method and measure a number or None for each pair; heights: by method and curve [step] for
    each pair; random: the curves of each pair's random orders."""

    base: TokenRequest
    every: list[Judged]
    chosen: tuple[str, ...]
    known: list[np.ndarray] | None
    scaled: bool
    orders: int
    draws: int
    radius: float
    seed: int
    strict: bool
    found: dict[tuple[str, str], list[float | None]] = field(default_factory=dict)
    heights: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)
    random: list[list[Curves]] = field(default_factory=list)
    players: list[int] = field(default_factory=list)

    def evaluated(self, show: bool | None) -> TokenEvaluation:
        """Every measure of every pair, and their means."""
        job, n = self.base.job, len(self.base.pairs)
        other = self._shuffled()
        with settled(job.model.device), progress("evaluating", n, show) as advance:
            for i in range(n):
                self._pair(i, other)
                advance(1)
        if not any(self.players):
            raise MethodError(
                f"task {self.base.task.name!r}: no token of any prompt differs from its baseline, so nothing can be replaced; expected another "
                "baseline, such as 'zero'."
            )
        return self._value()

    def _shuffled(self) -> Any:
        """The model of shuffled weights, where one is asked for. Raises: MethodError for values that nothing makes again, where that was asked for."""
        again = [name for name in self.chosen if MEASURES[name].again]
        if self.strict and again and (lacking := [one.name for one in self.every if one.request is None]):
            raise MethodError(
                f"measure {again[0]!r} runs the method again, and {lacking[0]!r} are numbers alone; leave it out, or give the name of a method."
            )
        return shuffled(self.base.job.model, self.seed) if "randomisation" in self.chosen else None

    def _pair(self, i: int, other: Any) -> None:
        """One pair, by every method."""
        mixed = Mixed(self.base.job, self.base.job.batch([self.base.pairs[i]], [i]))
        self.players.append(mixed.n)
        rng = np.random.default_rng(seed_of(self.seed, i))
        noise = {kind: draws(kind, mixed.n, self.draws, rng) for kind in (REMOVAL, NOISY)}
        ordered = mixed.n > 0 and any(name in self.chosen for name in ORDERED)
        if ordered:
            self.random.append(random_curves(mixed, self.orders, rng))
        for one in self.every:
            values = one.rows[i] * (1 if one.other_unit else mixed.sign)
            numbers: dict[str, float | None] = {}
            if ordered:
                numbers |= self._curves(one.name, mixed, values[mixed.players])
            if mixed.n:
                numbers |= self._replaced(mixed, values, noise, one.other_unit)
            numbers |= self._again(one, i, other)
            if self.known is not None:
                numbers |= {"AUROC": auroc(values, self.known[i]), "pointing": pointing(values, self.known[i])}
            for name in self.chosen:
                self.found.setdefault((one.name, name), []).append(numbers.get(name))

    def _curves(self, name: str, mixed: Mixed, values: np.ndarray) -> dict[str, float | None]:
        found = curves(mixed, by_value(values))
        self.heights.setdefault((name, "deletion"), []).append(found.deletion)
        self.heights.setdefault((name, "insertion"), []).append(found.insertion)
        return dict(zip(ORDERED, found.numbers, strict=True))

    def _replaced(
        self, mixed: Mixed, values: np.ndarray, noise: dict[str, np.ndarray], other_unit: bool
    ) -> dict[str, float | None]:
        """Infidelity of both kinds, and the gap of completeness; of values of another unit only what is scaled."""
        numbers: dict[str, float | None] = {}
        for kind, replaced in noise.items():
            if (name := f"infidelity, {kind}") in self.chosen and (self.scaled or not other_unit):
                numbers[name] = infidelity(mixed, values[mixed.players], replaced, scaled=self.scaled)
        if "completeness gap" in self.chosen and not other_unit:
            numbers["completeness gap"] = abs(float(values.sum()) - (mixed.whole() - mixed.empty()))
        return numbers

    def _again(self, one: Judged, i: int, other: Any) -> dict[str, float | None]:
        """What needs the method to run again."""
        if one.request is None or not any(MEASURES[name].again for name in self.chosen):
            return {}
        job = one.request.job
        batch = job.batch([one.request.pairs[i]], [i])
        numbers: dict[str, float | None] = {}
        if "max-sensitivity" in self.chosen:
            numbers["max-sensitivity"] = max_sensitivity(
                job, batch, one.rows[i], draws=NEAR, radius=self.radius, seed=seed_of(self.seed, i)
            )
        if other is not None:
            numbers["randomisation"] = randomisation(job, other, batch, one.rows[i])
        return numbers

    # ------------------------------------------------------------ the value

    def _value(self) -> TokenEvaluation:
        base, job = self.base, self.base.job
        return TokenEvaluation(
            rows=tuple(self._row(one.name, name) for one in self.every for name in self.chosen),
            curves=self._all_curves(),
            n_pairs=len(base.pairs),
            groups=float(np.mean(self.players)),
            metric=job.metric.name,
            unit=job.metric.unit,
            baseline="own" if isinstance(job.baseline, Tensor) else job.baseline,
            features=base.options.features if isinstance(base.options.features, str) else "own",
            scaled=self.scaled,
            orders=self.orders,
            draws=self.draws,
            seed=self.seed,
            model=job.model.name,
            task=base.task.name,
        )

    def _row(self, method: str, name: str) -> Judgement:
        measure, values = MEASURES[name], self.found[method, name]
        random = None
        if name in ORDERED:
            means = self._over_pairs(lambda c: c.numbers[ORDERED.index(name)])
            random = Estimate(float(means.mean()), float(means.min()), float(means.max()))
        unit = measure.unit.format(self.base.job.metric.unit)
        return Judgement(method, name, measure.better, unit, self._estimate(values), random, tuple(values))

    def _estimate(self, values: list[float | None]) -> Estimate:
        """The mean over the pairs that have a value, with its interval."""
        known = np.array([value for value in values if value is not None])
        if not len(known):
            return Estimate(None, None, None)
        return interval(float(known.mean()), resample_weights(len(known), self.seed) @ known, len(known))

    def _over_pairs(self, what: Callable[[Curves], Any]) -> np.ndarray:
        """Something of the random curves, mean over the pairs [order ...]."""
        return np.asarray(np.mean([[what(one) for one in orders] for orders in self.random], axis=0))

    def _all_curves(self) -> tuple[Curve, ...]:
        found = []
        for (method, kind), rows in self.heights.items():
            own = np.array(rows)
            resampled = resample_weights(len(own), self.seed) @ own
            low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
            found.append(_curve(method, kind, own.mean(0), low, high))
        for kind in ("deletion", "insertion") if found else ():
            band = self._over_pairs(attrgetter(kind))
            found.append(_curve(RANDOM, kind, band.mean(0), band.min(0), band.max(0)))
        return tuple(found)


def _curve(method: str, kind: Any, *lines: np.ndarray) -> Curve:
    return Curve(method, kind, STEPS, *(tuple(map(float, line)) for line in lines))
