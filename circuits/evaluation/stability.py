"""How far a ranking depends on the examples, the seed or the wording: selection frequencies and overlaps. Needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from operator import index
from typing import Any, Final

import numpy as np

from circuits.circuit.chance import Chance, shared_by_chance
from circuits.circuit.circuit import CircuitError
from circuits.circuit.saved import Saved
from circuits.circuit.selection import ranked
from circuits.evaluation.evaluation import Counts
from circuits.evaluation.faithfulness import counted
from circuits.terms.kinds import kinds_checked
from interp.scores.resampling import RESAMPLES, Estimate, interval, resample_weights
from interp.scores.scores import Ranking, Scores
from interp.whole_numbers import count, whole

CHUNK: Final = 1 << 22


@dataclass(frozen=True)
class PartStability:
    """One part: its mean score with its 95 % interval, and the share of resamples (or of scores) that select it."""

    part: str
    kind: str
    score: Estimate
    selected: bool
    frequency: float


@dataclass(frozen=True)
class Stability(Saved):
    """The parts in the order of the ranking, the first `n` of which are selected; over `resamples` of the examples.

    `overlap`: mean Jaccard index of the top n with that of a resample; `chance`: of two random tops with as many parts of each kind.
    """

    parts: tuple[PartStability, ...]
    n: int
    ranking: Ranking
    counts: Counts
    overlap: float
    resamples: int
    n_pairs: int
    unit: str
    seed: int
    chance: Chance | None = None

    def to_pandas(self) -> Any:
        """A table: part, kind, score, low, high, selected, frequency."""
        return _table(self.parts)

    def __str__(self) -> str:
        head = f"Stability of the top {self.n} of {len(self.parts)} {self.counts} over {self.resamples} resamples of {self.n_pairs} pairs: mean Jaccard {self.overlap:.3f}{_by_chance(self.chance.jaccard if self.chance else None)}"
        return "\n".join([head, *_lines(self.parts)])


@dataclass(frozen=True)
class Consensus(Saved):
    """Several scores of the same parts (seeds, paraphrases, halves of the pairs) and the overlap of their top n.

    `jaccard`: mean over pairs of scores; `pairwise`: each of them, first with second, first with third, and so on.
    `parts`: by mean score over the scores, with its range as low and high; `frequency` is the share that select it.
    `chance`: for each of `pairwise` what random tops with as many parts of each kind share.
    """

    parts: tuple[PartStability, ...]
    n: int
    n_scores: int
    ranking: Ranking
    counts: Counts
    jaccard: float
    pairwise: tuple[float, ...]
    unit: str
    chance: tuple[Chance, ...] = ()

    @property
    def jaccard_by_chance(self) -> float | None:
        """The mean Jaccard index of random tops."""
        return float(np.mean([one.jaccard for one in self.chance])) if self.chance else None

    def to_pandas(self) -> Any:
        """A table: part, kind, score, low, high, selected, frequency."""
        return _table(self.parts)

    def __str__(self) -> str:
        head = f"Overlap of the top {self.n} of {len(self.parts)} {self.counts} in {self.n_scores} scores: mean Jaccard {self.jaccard:.3f}{_by_chance(self.jaccard_by_chance)}"
        return "\n".join([head, *_lines(self.parts)])


@kinds_checked
def selection_frequency(
    scores: Scores, n: int, *, ranking: Ranking = "absolute", resamples: int = RESAMPLES, seed: int = 0
) -> Stability:
    """How often each part is in the top `n` when the examples are drawn again, and an interval of each score.

    Cost: `resamples` rankings, no run of a model. Raises: CircuitError for scores that are a map or n out of range.
    """
    own, n = _listed(scores, ranking, n)
    count(resamples, "resamples", CircuitError, expected=f"at least 1; {RESAMPLES} is the default")
    weights = resample_weights(len(own.per_example), seed, resamples)
    chosen = np.zeros(len(own.parts))
    shared: list[int] = []
    top = own.rank(ranking)[:n]
    step = max(1, CHUNK // len(own.parts))
    for start in range(0, resamples, step):
        for mean in weights[start : start + step] @ own.per_example:
            again = replace(own, per_example=mean[None]).rank(ranking)[:n]
            chosen[again] += 1
            shared.append(len(np.intersect1d(top, again)))
    found = _intervals(own, weights)
    parts = tuple(
        PartStability(own.parts[i].name, own.parts[i].kind, found[i], place < n, float(chosen[i] / resamples))
        for place, i in enumerate(own.rank(ranking))
    )
    overlap, first = float(np.mean([s / (2 * n - s) for s in shared])), [own.parts[i] for i in top]
    p = own.provenance
    return Stability(
        parts, n, ranking, counted(p.level), overlap, resamples, len(own.per_example), p.unit, seed,
        shared_by_chance(first, first, own.parts),
    )  # fmt: skip


@kinds_checked
def consensus(several: Sequence[Scores], n: int, *, ranking: Ranking = "absolute") -> Consensus:
    """The overlap of the top `n` of several scores of the same parts. Raises: CircuitError where the parts differ."""
    if len(several) < 2:
        raise CircuitError(f"{len(several)} scores given; expected two or more to compare.")
    listed = [_listed(scores, ranking, n)[0] for scores in several]
    first, n = listed[0], index(n)
    _check_same(listed)
    tops = [frozenset(scores.parts[i] for i in scores.rank(ranking)[:n]) for scores in listed]
    pairwise = tuple(len(a & b) / len(a | b) for a, b in combinations(tops, 2))
    columns = [{part: float(m) for part, m in zip(s.parts, s.mean, strict=True)} for s in listed]
    means = np.array([[column[part] for part in first.parts] for column in columns])
    together = replace(first, per_example=means)
    parts = tuple(
        PartStability(
            first.parts[i].name,
            first.parts[i].kind,
            Estimate(float(means[:, i].mean()), float(means[:, i].min()), float(means[:, i].max())),
            place < n,
            sum(first.parts[i] in top for top in tops) / len(tops),
        )
        for place, i in enumerate(together.rank(ranking))
    )
    p, mean = first.provenance, float(np.mean(pairwise))
    chance = tuple(shared_by_chance(a, b, first.parts) for a, b in combinations(tops, 2))
    return Consensus(parts, n, len(listed), ranking, counted(p.level), mean, pairwise, p.unit, chance)


def _listed(scores: Scores, ranking: Ranking, n: int) -> tuple[Scores, int]:
    """The scores of the parts that a circuit may list, and n as a whole number. Raises: CircuitError."""
    keep = sorted(ranked(scores, ranking))
    size = whole(n, "n", CircuitError)
    if not 1 <= size <= len(keep):
        raise CircuitError(f"n={n}: expected 1 to {len(keep)}, the parts of level {scores.provenance.level!r}.")
    return scores.select(keep), size


def _check_same(listed: Sequence[Scores]) -> None:
    """Refuse scores of other parts, another sign or another unit. Raises: CircuitError."""
    first = listed[0]
    for other in listed[1:]:
        if odd := set(first.parts) ^ set(other.parts):
            raise CircuitError(
                f"{len(odd)} parts, such as {min(p.name for p in odd)}, are in one of the scores and not in another; give scores of the same parts."
            )
        signs = [s.provenance.importance_sign for s in (first, other)]
        units = [s.provenance.unit for s in (first, other)]
        if first.provenance.unsigned != other.provenance.unsigned:
            methods = [s.provenance.method for s in (first, other)]
            raise CircuitError(
                f"scores of {methods[0]} and of {methods[1]}, of which one has a sign and the other has not; expected both or neither."
            )
        if signs[0] != signs[1] or units[0] != units[1]:
            raise CircuitError(
                f"scores with sign {signs[0]} in {units[0]!r} and with sign {signs[1]} in {units[1]!r}; expected one direction and metric."
            )


def _intervals(scores: Scores, weights: np.ndarray) -> list[Estimate]:
    """The mean score of each part with its interval over resamples; parts in chunks, as the means of all are large."""
    found: list[Estimate] = []
    step = max(1, CHUNK // len(weights))
    for start in range(0, len(scores.parts), step):
        resampled = weights @ scores.per_example[:, start : start + step]
        means = scores.mean[start : start + step]
        found += [interval(float(m), r, len(scores.per_example)) for m, r in zip(means, resampled.T, strict=True)]
    return found


def _by_chance(jaccard: float | None) -> str:
    return "" if jaccard is None else f" (by chance {jaccard:.3f})"


def _lines(parts: Sequence[PartStability]) -> list[str]:
    """The first parts of the ranking, and how many of the selected are selected less than half of the time."""
    shown = [f"  {p.part:<20} score {p.score}, selected in {p.frequency:.0%}" for p in parts[:10]]
    weak = [p.part for p in parts if p.selected and p.frequency < 0.5]
    return [*shown, f"  selected here, but in less than half: {', '.join(weak[:10]) or 'none'}"]


def _table(parts: Sequence[PartStability]) -> Any:
    import pandas as pd

    rows = [(p.part, p.kind, p.score.value, p.score.low, p.score.high, p.selected, p.frequency) for p in parts]
    return pd.DataFrame(rows, columns=["part", "kind", "score", "low", "high", "selected", "frequency"])
