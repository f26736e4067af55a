"""The registry of node attribution methods: the CLI's choices, the docs table and the conformance tests come from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.batches import Batch
from interp.errors import MethodError, unknown
from interp.nodes import Group
from interp.rules import GRADIENT, Rules


@dataclass(frozen=True)
class Options:
    """What a method may look at besides its batch. `positions`: which positions each label means, [label batch pos]."""

    positions: Tensor
    steps: int
    quadrature: str
    generator: torch.Generator
    advance: Callable[[int], None]
    only: frozenset[str] | None = None


Function = Callable[[Batch, Options, Rules], dict[Group, Tensor]]


@dataclass(frozen=True)
class Method:
    """A way to score nodes: `function` returns, per group, the scores of one batch [batch label unit].

    `base_point`: reads gradients at the base run only, where distances to that run have none.
    `first_order`: equals the exact effect to first order in the size of the patch.
    """

    name: str
    function: Function
    formula: str
    cost: str
    paper: str
    rules: Rules = GRADIENT
    exact: bool = False
    base_point: bool = False
    first_order: bool = False
    uses_steps: bool = False

    @property
    def coefficients_at(self) -> str:
        """Where gradients or relevance coefficients are taken, in words."""
        if self.uses_steps:
            return "points between base and source embedding"
        return "base run" if self.base_point else "nowhere: none are used"


METHODS: Final[dict[str, Method]] = {}


def method(name: str, *, formula: str, cost: str, paper: str, **kind: Any) -> Callable[[Function], Function]:
    """Register `function` as the method `name`."""

    def register(function: Function) -> Function:
        if name in METHODS:
            raise MethodError(f"method {name!r} is registered twice.")
        METHODS[name] = Method(name, function, formula, cost, paper, **kind)
        return function

    return register


def get_method(name: str) -> Method:
    """The method of this name. Raises: MethodError with the near names."""
    if name not in METHODS:
        raise MethodError(unknown("method", name, METHODS))
    return METHODS[name]


def methods() -> Any:
    """A table of all methods: name, formula, cost (F and B: a forward and a backward over the data), paper, rules."""
    import pandas as pd

    rows = [(m.name, m.formula, m.cost, m.paper, m.rules.describe()) for m in METHODS.values()]
    return pd.DataFrame(rows, columns=["name", "formula", "cost", "paper", "rules"])
