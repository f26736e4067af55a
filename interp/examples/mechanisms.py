"""Which examples of a task a model answers by the same parts: groups by rank correlation of their scores, and whether there are any.

Axis words: `example part`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, ClassVar, Final

import numpy as np

from interp.errors import InterpError, ScoreError
from interp.examples import example_groups as grouping
from interp.examples.example_groups import OUTLIER
from interp.examples.shared_traits import Shared, shared_traits
from interp.formatting.numbers import number, several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.scores.scores import Scores
from interp.tasks.task import Task
from interp.whole_numbers import count

#: Draws of the null of stability: a resampled one each, which costs twenty trees.
STABLE_DRAWS: Final = 39
#: Groups that come out again less than so far are not spoken of.
STABLE: Final = 0.5
_SHOWN: Final = 160


@dataclass(frozen=True)
class Tried:
    """What was found of `n` groups. separation: mean silhouette, beside the median of draws of one group with the same covariance of ranks
    and the share of these that are as far apart; stability: mean adjusted Rand index under resampling, beside that of scores whose parts
    were shuffled apart (None where groups are not apart, and it was not looked at)."""

    n: int
    separation: float
    null_separation: float
    p_separation: float
    stability: float | None = None
    null_stability: float | None = None
    p_stability: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Mechanisms(Table):
    """Groups of examples. groups: the number of its group for each example, -1 for one that is in none [example]; own: its mean rank
    correlation with the others of its group, other: with those of the nearest other group, nan where there is none [example].

    tried: each number of groups that was looked at; shared: what the prompts of each group have in common; prompts: the clean texts, where
    the task was given; pairs: hashes of the pairs. chance: the level of both tests.
    """

    fault: ClassVar[type[InterpError]] = ScoreError

    groups: np.ndarray = field(metadata=along(0))
    own: np.ndarray = field(metadata=along(0, finite=False))
    other: np.ndarray = field(metadata=along(0, finite=False))
    tried: tuple[Tried, ...]
    shared: tuple[Shared, ...]
    prompts: tuple[str, ...]
    pairs: tuple[str, ...]
    model: str
    task: str
    method: str
    level: str
    least: int
    chance: float
    seed: int

    def __post_init__(self) -> None:
        n = self.groups.shape
        check_sizes(self, own=(self.own.shape, n), other=(self.other.shape, n))

    @property
    def n(self) -> int:
        """How many groups there are: one where the examples are not told apart."""
        return int(self.groups.max()) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each group: its number, and what it shares most surely."""
        first = {s.group: s.trait for s in reversed(self.shared)}
        return tuple(f"{i + 1}: {first.get(i, 'nothing shared')}" for i in range(self.n))

    def places(self, group: int) -> list[int]:
        """Indices of the examples of a group, counted from 0. Raises: ScoreError for one that is not there."""
        if not 0 <= count(group, "group", ScoreError, least=0) < self.n:
            raise ScoreError(f"group={group}: expected 0 to {self.n - 1}.")
        return np.flatnonzero(self.groups == group).tolist()

    def tasks(self, task: Task) -> dict[str, Task]:
        """The pairs of each group as a task of its own, by the names of the groups. Raises: ScoreError for a task of other length."""
        _check_task(task, len(self.groups))
        return {name: task.at(self.places(i)) for i, name in enumerate(self.names)}

    def to_pandas(self) -> Any:
        """A row for each example: example, group (-1: none), own_correlation, nearest_other, and prompt where the task was given."""
        found = {
            "example": range(len(self.groups)),
            "group": self.groups,
            "own_correlation": self.own,
            "nearest_other": self.other,
        }
        return rows_of(found | ({"prompt": self.prompts} if self.prompts else {}))

    def __str__(self) -> str:
        n = len(self.groups)
        lines = [
            f"Mechanisms({several(self.n, 'group')}, {several(n, 'example')} of {self.task}, {self.method}, {self.level})"
        ]
        for i in range(self.n if self.n > 1 else 0):
            traits = "; ".join(str(s) for s in self.shared if s.group == i)
            lines.append(f"  group {i + 1}, {several(len(self.places(i)), 'example')}: {traits or 'nothing shared'}")
        if out := int((self.groups == OUTLIER).sum()):
            lines.append(f"  {several(out, 'example')} in no group")
        lines += [f"  {_told(one)}" for one in self.tried]
        if self.n == 1:
            lines.append(
                "  so these examples are not told apart: one mechanism, or differences that scores do not show"
            )
        return printed("\n".join(lines))


def _told(one: Tried) -> str:
    said = f"{one.n} groups: apart {number(one.separation, 3)} (one group {number(one.null_separation, 3)}, p {number(one.p_separation)})"
    if one.stability is None:
        return said
    return f"{said}, come out again {number(one.stability, 3)} (by chance {number(one.null_stability, 3)}, p {number(one.p_stability)})"


@kinds_checked
def mechanisms(
    scores: Scores,
    task: Task | None = None,
    *,
    attributes: Mapping[str, Sequence[object]] | None = None,
    most: int = 6,
    least: int | None = None,
    draws: int = 199,
    chance: float = 0.05,
    seed: int = 0,
) -> Mechanisms:
    """Whether the examples of some scores fall into groups that different parts answer, and into which.

    Examples are joined by average linkage of 1 - Spearman correlation of their scores over the parts. Of the cuts into 2 to `most` groups
    of at least `least` examples (by default a tenth of them, and 3; smaller branches are in no group) one is taken only where it is
    further apart than `draws` samples of one normal distribution with the same mean and covariance of ranks (silhouette; Bonferroni over
    the numbers of groups), and where it comes out again from seven tenths of the examples and parts, more so than of scores shuffled within each part,
    and to an adjusted Rand index of 0.5. Of several the one that comes out again best. Otherwise there is one group.

    task: the pairs that were scored, in their order, for the names of the groups: words, beginnings, ends, lengths, answers and orders of spans
    that a group has more often, by the hypergeometric test with Bonferroni's correction. attributes: further traits, a value for each example.

    Cost: no run of the model; about (draws + 800) trees, each example^2. Source: silhouettes Rousseeuw 1987; the null of one normal
    distribution Liu et al. 2008 (SigClust); stability Ben-Hur et al. 2002.
    Raises: ScoreError for scores with too few examples or parts, an example that scores all parts alike, or scores of all examples together.
    """
    x = _checked(scores)
    least = max(3, ceil(len(x) / 10)) if least is None else count(least, "least", ScoreError, least=2)
    count(most, "most", ScoreError, least=2)
    count(draws, "draws", ScoreError, least=19)
    if not 0 < chance < 1:
        raise ScoreError(f"chance={chance!r:.40}: expected a number between 0 and 1.")
    if len(x) < 2 * least:
        raise ScoreError(f"{len(x)} examples make no two groups of {least}; expected {2 * least} or more.")
    if task is not None:
        _check_task(task, len(x))
    rng = np.random.default_rng(count(seed, "seed", ScoreError, least=0))
    tried, groups = _chosen(x, most, least, draws, chance, rng)
    own, other = _correlations(x, groups)
    p = scores.provenance
    prompts = () if task is None else tuple(visible(pair.clean, _SHOWN) for pair in task.pairs)
    shared = shared_traits(groups, task, attributes)
    of = (prompts, tuple(p.pairs), p.model, p.task, p.method, p.level)
    return Mechanisms(groups, own, other, tried, shared, *of, least, float(chance), seed)


def _checked(scores: Scores) -> np.ndarray:
    x = np.asarray(scores.per_example, dtype=float)
    if x.shape[1] < 4:
        raise ScoreError(f"scores of {x.shape[1]} parts have no order to compare; expected 4 or more.")
    if len(x) > 1 and (x == x[:1]).all():
        raise ScoreError(
            f"scores of {scores.provenance.method} are of all examples together; expected one for each example."
        )
    if len(flat := np.flatnonzero((x == x[:, :1]).all(1))):
        raise ScoreError(f"example {flat[0]} scores all {x.shape[1]} parts alike, so it has no order; leave it out.")
    return x


def _check_task(task: Task, n: int) -> None:
    if len(task) != n:
        raise ScoreError(
            f"task {task.name!r} has {len(task)} pairs, the scores {n}; expected the task that was scored."
        )


def _chosen(
    x: np.ndarray, most: int, least: int, draws: int, chance: float, rng: np.random.Generator
) -> tuple[tuple[Tried, ...], np.ndarray]:
    """Each number of groups with its tests, and the groups that are taken."""
    ranked = grouping.ranks(x)
    cuts = grouping.cuts(grouping.tree_of(ranked), most, least)
    found = _apart(x, ranked, cuts, (most, least, draws), rng)
    far = [one for one in found if one.p_separation <= chance / max(1, len(found))]
    if far:
        found, far = _again(x, found, {one.n for one in far}, (most, least), rng)
    good = [one for one in far if (one.p_stability or 0) <= chance and (one.stability or 0) >= STABLE]
    if not good:
        return tuple(found), np.zeros(len(x), dtype=np.int64)
    best = max(good, key=lambda one: (one.stability or 0, one.separation))
    return tuple(found), cuts[best.n]


def _apart(
    x: np.ndarray,
    ranked: np.ndarray,
    cuts: Mapping[int, np.ndarray],
    sizes: tuple[int, int, int],
    rng: np.random.Generator,
) -> list[Tried]:
    """How far apart the groups of each cut are, beside draws of one group."""
    most, least, draws = sizes
    own = {k: grouping.separation(ranked, groups) for k, groups in cuts.items()}
    null = np.full((draws, most + 1), -1.0)  # a draw that has no such cut is not apart
    for i in range(draws):
        drawn = grouping.one_group(x, rng)
        for k, groups in grouping.cuts(grouping.tree_of(drawn), most, least).items():
            null[i, k] = grouping.separation(drawn, groups)
    return [
        Tried(k, value, float(np.median(null[:, k])), (1 + int((null[:, k] >= value).sum())) / (draws + 1))
        for k, value in own.items()
    ]


def _again(
    x: np.ndarray, found: Sequence[Tried], far: set[int], sizes: tuple[int, int], rng: np.random.Generator
) -> tuple[list[Tried], list[Tried]]:
    """How far the groups of the cuts that are apart come out again, beside scores that are shuffled."""
    own = grouping.stability(x, *sizes, rng)
    null = np.array([grouping.stability(grouping.shuffled(x, rng), *sizes, rng) for _ in range(STABLE_DRAWS)])
    told = []
    for one in found:
        value, by_chance = float(own[one.n - 2]), null[:, one.n - 2]
        p = (1 + int((by_chance >= value).sum())) / (STABLE_DRAWS + 1)
        first = (one.n, one.separation, one.null_separation, one.p_separation)
        told.append(Tried(*first, value, float(np.median(by_chance)), p) if one.n in far else one)
    return told, [one for one in told if one.n in far]


def _correlations(x: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean correlation of each example with the others of its group, and with the nearest other group [example]; nan where there is none."""
    ranked = grouping.ranks(x)
    alike, n = ranked @ ranked.T, int(groups.max()) + 1
    means = np.full((len(x), n), np.nan)
    for k in range(n):
        member = groups == k
        sums, sizes = alike[:, member].sum(1) - np.where(member, 1.0, 0.0), member.sum() - member
        means[:, k] = np.divide(sums, sizes, out=np.full(len(x), np.nan), where=sizes > 0)
    inside = np.flatnonzero(groups != OUTLIER)
    own, rest = np.full(len(x), np.nan), means.copy()
    own[inside] = means[inside, groups[inside]]
    rest[inside, groups[inside]] = np.nan
    known = ~np.isnan(rest).all(1)
    other = np.full(len(x), np.nan)
    other[known] = np.nanmax(rest[known], axis=1)
    return own, other
