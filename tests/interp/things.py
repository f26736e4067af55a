"""A registry of the smallest things that can be registered, for packages of tests to add to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interp.errors import InterpError
from interp.registries import About, Registry


class ThingError(InterpError):
    """A thing that is not there."""


@dataclass(frozen=True)
class Thing:
    name: str
    function: Callable[..., Any] | None = None
    kind: type = int

    @property
    def about(self) -> About:
        return About("a thing")


GROUP = "interp_tests.things"
THINGS: Registry[Thing] = Registry("thing", GROUP, ThingError, (Thing("stone"), Thing("wood")))
