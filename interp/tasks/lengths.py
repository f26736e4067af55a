"""Prompts of one length together, so that no run ever sees padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of equal length, shorter prompts first."""
    buckets: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        buckets[length].append(i)
    for _, members in sorted(buckets.items()):
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size]
