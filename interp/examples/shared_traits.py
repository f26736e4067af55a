"""What the prompts of a group of examples share that others have less often, with the chance of that under no connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from interp.errors import ScoreError
from interp.examples.example_groups import OUTLIER
from interp.formatting.numbers import number
from interp.formatting.text import visible
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task

#: Traits of a group that are kept, and the largest corrected p with which one is.
MOST: Final = 5
CHANCE: Final = 0.05
_WORD: Final = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Shared:
    """A trait that is in `inside` of the `size` examples of a group, and in `outside` of the `others` examples of other groups.

    p: the chance that so many or more fall into a group of that size by drawing (hypergeometric), times the number of traits and groups
    that were tried."""

    group: int
    trait: str
    inside: int
    size: int
    outside: int
    others: int
    p: float

    def __str__(self) -> str:
        return visible(
            f"{self.trait} ({self.inside} of {self.size}, elsewhere {self.outside} of {self.others}, p {number(self.p)})"
        )


def shared_traits(
    groups: np.ndarray, task: Task | None, attributes: Mapping[str, Sequence[object]] | None
) -> tuple[Shared, ...]:
    """Of each group the traits that it has more often than the others, the surest first. Outliers are left out.

    attributes: further traits by name, a value for each example. Raises: ScoreError where there are not as many as examples.
    """
    from scipy.stats import hypergeom

    names, has = _table(len(groups), task, attributes)
    has = has[:, groups != OUTLIER]
    labels = groups[groups != OUTLIER]
    n, tests = len(labels), len(names) * (labels.max() + 1)
    found: list[Shared] = []
    for group in range(labels.max() + 1 if labels.max() else 0):
        member = labels == group
        inside, size, total = has[:, member].sum(1), int(member.sum()), has.sum(1)
        p = np.minimum(1, hypergeom.sf(inside - 1, n, total, size) * tests)
        order = [int(i) for i in np.argsort(p, kind="stable")[:MOST] if p[i] <= CHANCE]
        found += [
            Shared(group, names[i], int(inside[i]), size, int(total[i] - inside[i]), n - size, float(p[i]))
            for i in order
        ]
    return tuple(found)


def _table(
    n: int, task: Task | None, attributes: Mapping[str, Sequence[object]] | None
) -> tuple[list[str], np.ndarray]:
    """The names of all traits that more than one example has and not every one, and who has them [trait example]."""
    each: list[set[str]] = [set() for _ in range(n)]
    for i, pair in enumerate(task.pairs if task is not None else ()):
        each[i].update(_traits(pair))
    for name, values in (attributes or {}).items():
        if isinstance(values, str) or len(values) != n:
            raise ScoreError(
                f"attributes[{name!r:.40}] has {len(values)} values; expected one for each of {n} examples."
            )
        for i, value in enumerate(values):
            each[i].add(f"{name} {value}")
    everything = sorted(set().union(*each))
    has = np.array([[name in own for own in each] for name in everything], dtype=bool).reshape(len(everything), n)
    keep = (has.sum(1) > 1) & (has.sum(1) < n)
    return [name for name, kept in zip(everything, keep, strict=True) if kept], has[keep]


def _traits(pair: Pair) -> Iterator[str]:
    """What can be said of a pair: its words, how it begins and ends, its length, its answers, and in which order its spans stand."""
    words = _WORD.findall(pair.clean)
    yield from (f"word {word!r}" for word in dict.fromkeys(words))
    if words:
        yield f"begins with {words[0]!r}"
        yield f"ends with {words[-1]!r}"
        yield f"{len(words)} words"
    yield from (f"answer {answer!r}" for answer in pair.answers)
    yield from (f"wrong {wrong!r}" for wrong in pair.wrong)
    if len(pair.spans) > 1:
        yield f"spans in the order {', '.join(sorted(pair.spans, key=lambda name: pair.spans[name]))}"
