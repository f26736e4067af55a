"""The registry of attribution methods, of nodes and of edges: the CLI's choices, the docs table and the conformance tests come from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.exact.engine import Machine
from interp.attribution.exact.sweep import REPLAY_BYTES
from interp.errors import MethodError
from interp.parts.layout import NET_LEVELS
from interp.parts.nodes import FEATURES, Group
from interp.registries import About, Registry
from interp.rules.rules import GRADIENT, AttentionRule, Rules


@dataclass(frozen=True)
class MaskSettings:
    """What searches on masks are told. rounds: masked runs forward and back, None for what the method takes; budget: in the place of
    rounds, the forwards that a method may spend in all, a backward counts two; start: the method whose order they begin with;
    backward: the preset that stands for the gradient, None for the method's own; keep: hold what norms made of copies, in place
    of making it again."""

    rounds: int | None = None
    budget: float | None = None
    start: str = "relp"
    backward: str | None = None
    keep: bool = True


class Order(NamedTuple):
    """What a search on masks found: a score of each part [part], the higher the more it belongs in a circuit, and how it was found."""

    scores: Tensor
    said: str


@dataclass(frozen=True)
class Options:
    """What a method may look at besides its batch. `positions`: which positions each label means, [label batch pos].

    `only`: the names of the parts to score, all by default. `tau`: the threshold of ACDC. `masks`: what searches on masks were told. `machine`: how to restart the
    model in the middle, where it can be; `resumes`: whether blocks that a patch cannot reach stand in for themselves. `replay_bytes`: memory for the patches that are then redone at once.
    """

    positions: Tensor
    steps: int
    quadrature: str
    generator: torch.Generator
    advance: Callable[[int], None]
    only: frozenset[str] | None = None
    tau: float | None = None
    machine: Machine | None = None
    resumes: bool = False
    replay_bytes: int = REPLAY_BYTES
    masks: MaskSettings = field(default_factory=MaskSettings)


Function = Callable[[Batch, Options, Rules], dict[Group, Tensor]]
EdgeFunction = Callable[[Any, Options, Rules], Tensor]
JointFunction = Callable[[Sequence[Any], Sequence[Options], Rules], tuple[list[Tensor], float]]
MaskFunction = Callable[[Any, Sequence[Options], Rules], Order]


@dataclass(frozen=True)
class Method:
    """A way to score nodes, edges or both.

    `function` returns, per group, the scores of one batch [batch label unit]; `edges` those of one `EdgeBatch`
    [batch label edge]; `joint` the same of all batches at once, for a method whose choices depend on all of them, and the
    threshold it used; `masked` an `Order` of the parts from runs of all batches with masks over them (see `interp.attribution.masks`),
    which `passes` says the usual number of.
    `base_point`: reads gradients at the base run only, where distances to that run have none. `first_order`: equals the
    exact effect to first order in the size of the patch. `needs_run`: has no meaning for mean and zero ablation. `noise`:
    for direction `noise` only. `unit`: that of its scores where it is not the metric's; they are importances then.
    `search`: runs other methods and patches what their scores make worth it (see `interp.attribution.auto`).
    `unsigned`: its scores are sizes of effects, which say how much a part matters and not which way; it drops layers, to
    which features of the stream do not belong, and does not score level `features`. `per_site`: its steps are made at each
    site of the level in turn. `passes`: how many passes forward and back it makes, of one that has no steps. `complete`: its scores of all parts of a cut through the model, at all positions, add up to the
    metric of the source run less that of the base run. `of_masks`: its runs carry masks over the parts; `warm`: it begins with the
    order of another method, that of the option `start` or of each of `starts`; `circuits`: how many it runs
    of each order that it chooses between; `spends`: the forwards that it may spend, where that and
    not the number of its passes is given by default; `turns`: how many parts of the pairs take turns in its passes. `of_nets`: for nets
    without blocks alone.
    """

    name: str
    formula: str
    cost: str
    paper: str
    function: Function | None = None
    edges: EdgeFunction | None = None
    joint: JointFunction | None = None
    masked: MaskFunction | None = None
    rules: Rules = GRADIENT
    exact: bool = False
    base_point: bool = False
    first_order: bool = False
    uses_steps: bool = False
    needs_run: bool = False
    noise: bool = False
    unit: str = ""
    search: bool = False
    unsigned: bool = False
    per_site: bool = False
    passes: int = 1
    complete: bool = False
    of_masks: bool = False
    warm: bool = False
    starts: tuple[str, ...] = ()
    circuits: int = 0
    spends: float | None = None
    turns: int = 1
    path: str = "points between base and source embedding"
    of_nets: bool = False

    def scores(self, level: str) -> bool:
        """Whether it scores the parts of this level."""
        if level in NET_LEVELS:
            return (
                self.function is not None
                and not self.unsigned
                and not self.of_masks
                and self.rules.attention == AttentionRule()
            )
        if self.of_nets:
            return False
        if self.of_masks and level == "resid":
            return False  # its nodes are scored apart by position
        if self.search or self.masked:
            return True
        if level == "edges":
            return (self.edges or self.joint) is not None
        return self.function is not None and not (level == FEATURES and self.unsigned)

    @property
    def about(self) -> About:
        return About(self.formula, self.unit or "the metric's", self.cost, self.paper)

    @property
    def levels(self) -> str:
        """What it scores, in words."""
        if self.of_nets:
            return "modules of nets"
        if self.scores("edges"):
            return "nodes, edges" if self.search or self.masked or self.function else "edges"
        return "nodes"

    @property
    def uses_gradients(self) -> bool:
        """Whether it takes gradients or relevance coefficients somewhere: at the base run, along a path, at or between both runs,
        or with layers left out."""
        return self.base_point or self.uses_steps or self.needs_run or self.unsigned or self.masked is not None

    @property
    def together(self) -> bool:
        """Whether it needs all batches at once."""
        return self.joint is not None or self.masked is not None

    @property
    def coefficients_at(self) -> str:
        """Where gradients or relevance coefficients are taken, in words."""
        if self.uses_steps:
            return self.path
        if self.masked:
            return "runs with masks over the parts"
        if self.rules.secants:
            return "averaged between both runs"
        return "base run" if self.base_point else "nowhere: none are used"


METHODS: Final[Registry[Method]] = Registry("method", "interp.methods", MethodError)


def method(name: str, *, formula: str, cost: str, paper: str, **kind: Any) -> Callable[[Function], Function]:
    """Register `function` as the method `name` of nodes."""

    def register(function: Function) -> Function:
        METHODS.add(Method(name, formula, cost, paper, function, **kind))
        return function

    return register


def edge_method(name: str, **kind: Any) -> Callable[[EdgeFunction], EdgeFunction]:
    """Register a function as the method `name` of edges: beside a method of nodes of that name, or on its own."""

    def register(function: EdgeFunction) -> EdgeFunction:
        known = METHODS.get(name)
        more = Method(name, **kind, edges=function) if known is None else replace(known, edges=function)
        METHODS.add(more, over=None if known is None or known.scores("edges") else known)
        return function

    return register


def joint_method(
    name: str, *, formula: str, cost: str, paper: str, **kind: Any
) -> Callable[[JointFunction], JointFunction]:
    """Register a function of all batches at once as the method `name` of edges."""

    def register(function: JointFunction) -> JointFunction:
        METHODS.add(Method(name, formula, cost, paper, joint=function, **kind))
        return function

    return register


def masked_method(
    name: str, *, formula: str, cost: str, paper: str, **kind: Any
) -> Callable[[MaskFunction], MaskFunction]:
    """Register a search on runs with masks over the parts as the method `name` of nodes and edges; see `Method.masked`."""

    def register(function: MaskFunction) -> MaskFunction:
        METHODS.add(Method(name, formula, cost, paper, masked=function, noise=True, of_masks=True, **kind))
        return function

    return register


METHODS.add(
    Method(
        "auto",
        formula="exact for the top, a weighted sum of all presets elsewhere",
        cost="5F + 4B + budget",
        paper="presets as listed; conformal bounds: Vovk et al. 2005",
        search=True,
    )
)


def get_method(name: str) -> Method:
    """The method of this name. Raises: MethodError with the near names."""
    return METHODS[name]


def with_start(chosen: Sequence[Method], masks: MaskSettings) -> list[Method]:
    """These methods, and those whose orders they begin with."""
    return [*chosen, *(get_method(name) for m in chosen if m.warm for name in m.starts or (masks.start,))]


def methods() -> Any:
    """A table of all methods: name, levels, formula, cost (F and B: a forward and a backward over the data), paper, rules."""
    import pandas as pd

    rows = [(m.name, m.levels, m.formula, m.cost, m.paper, m.rules.describe()) for m in METHODS.values()]
    return pd.DataFrame(rows, columns=["name", "levels", "formula", "cost", "paper", "rules"])
