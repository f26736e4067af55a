"""A clock for tests of the benchmark, which tells times that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from circuits.bench.workload import seconds_of


def fixed_clock(others: float) -> Callable[..., dict[str, float]]:
    """A clock: the plain model takes 2 s, whatever else `others`; everything is run once, as it would be."""

    def measure(works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
        seconds_of(works, 1)
        return {name: 2.0 if name.startswith("plain") else others for name in works}

    return measure
