"""What a table of a paper is: agreement of methods with exact patching, over some kinds of nodes, on a task; and what was printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interp.attribution.asking.request_options import MemoryOptions, SeedOptions, StepOptions
from interp.tasks.metric import Direction


@dataclass(frozen=True, kw_only=True)
class Wanted(MemoryOptions, SeedOptions, StepOptions):
    """What the user asks of a reproduction: by which methods, on how many pairs, of how many tokens
    (None: of the commonest number)."""

    methods: tuple[str, ...]
    limit: int
    length: int | None = None


@dataclass(frozen=True)
class Printed:
    """The figures that a paper prints for one model, those of them that are known here: by (kind of node, method).

    names: what its folder or hub id is called, in lower case; shape: `(model type, layers, d_model, heads)` of its configuration.
    A model is taken for it where both fit.
    """

    model: str
    names: tuple[str, ...]
    shape: tuple[str, int, int, int]
    figures: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Paper:
    """A table of a paper. `levels`: which kinds of nodes of which level; `methods`: those of its table, the one it argues against
    first and its own second; `others`: what is measured beside them unless users say; `printed`: model by model."""

    name: str
    title: str
    source: str
    says: str
    task: str
    positions: str
    direction: Direction
    metric: str
    levels: Mapping[str, tuple[str, ...]]
    methods: tuple[str, str]
    others: tuple[str, ...] = ()
    printed: tuple[Printed, ...] = field(default=(), repr=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of nodes, in the order of the columns."""
        return tuple(kind for kinds in self.levels.values() for kind in kinds)

    def of_model(self, name: str, hf: Any, layout: Any) -> Printed | None:
        """What is printed for a model of this name and configuration; None where the paper does not have it."""
        shape = (hf.config.model_type, layout.n_layers, layout.d_model, layout.n_heads)
        called = name.rpartition("/")[2].lower()
        return next((p for p in self.printed if called in p.names and shape == p.shape), None)
