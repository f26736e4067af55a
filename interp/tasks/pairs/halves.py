"""Which pairs of a task are the same, and a split in which the same pairs stay together: of one, no half learns from the other."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from itertools import accumulate

#: For each pair, what it is told by: equal keys are the same pair.
Keys = Sequence[Hashable]


def same_pairs(keys: Keys) -> list[list[int]]:
    """The places of the same pairs together, in the order in which each first occurs."""
    found: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return list(found.values())


def halved(keys: Keys, seed: int, fraction: float) -> tuple[list[int], list[int]]:
    """The places of two parts in order: whole groups of the same pairs, shuffled with `seed`, the first of about `fraction`.

    Two or more different pairs are needed.
    """
    groups = same_pairs(keys)
    random.Random(seed).shuffle(groups)
    wanted = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    sizes = accumulate(map(len, groups))
    cut = min(next(i for i, size in enumerate(sizes, 1) if size >= wanted), len(groups) - 1)
    first, second = (sorted(place for group in part for place in group) for part in (groups[:cut], groups[cut:]))
    return first, second
