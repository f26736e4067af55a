"""The nodes that can be scored and patched: their names, their kinds, and where each kind is read and edited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from interp.errors import MethodError, SiteError, unknown
from interp.parts.block_layout import AttentionLayout
from interp.parts.layout import Layout
from interp.parts.ports import port
from interp.parts.sites import CROSS, FURTHER, MODULE, Site
from interp.parts.stack_layout import Stack
from interp.precision import wide


@dataclass(frozen=True)
class View:
    """How a kind of node is seen: its site, whether the site's axis 2 has one node per unit, and whether a unit is a vector.

    `units` is the size of that axis by its name in the layout; None means one node for the whole site.
    """

    site: str
    units: str | None
    vector: bool = True


VIEWS: Final = {
    "embed": View("embed", None),
    "resid_pre": View("resid_pre", None),
    "resid_mid": View("resid_mid", None),
    "resid_post": View("resid_post", None),
    "attn_out": View("attn_out", None),
    "mlp": View("mlp_out", None),
    "cross_out": View("cross_out", None),
    "mixer_out": View("mixer_out", None),
    "second_mlp_out": View("second_mlp_out", None),
    "resid_cross": View("resid_cross", None),
    "head": View("z", "n_heads"),
    "cross_head": View("cross_z", "n_heads"),
    "q": View("q", "n_heads"),
    "k": View("k", "n_kv_heads"),
    "v": View("v", "n_kv_heads"),
    "cross_q": View("cross_q", "n_heads"),
    "cross_k": View("cross_k", "n_kv_heads"),
    "cross_v": View("cross_v", "n_kv_heads"),
    "neuron": View("mlp_post", "d_mlp", vector=False),
}

#: Kinds of nodes by level, in forward order; those of attention to another stack are there where there is such.
LEVELS: Final = {
    "resid": ("resid_pre", "resid_mid", "resid_cross", "resid_post"),
    "blocks": ("embed", "attn_out", "cross_out", *FURTHER, "mlp"),
    "heads": ("embed", "head", "cross_head", *FURTHER, "mlp"),
    "qkv": ("q", "k", "v", "cross_q", "cross_k", "cross_v"),
    "neurons": ("neuron",),
}
#: The kinds that are of attention, and what they say of it.
_CHANNELS: Final = {kind: kind[-1] for kind in ("q", "k", "v", "cross_q", "cross_k", "cross_v")}
_OF_HEADS: Final = frozenset({"head", "q", "k", "v"})
_OF_ATTENTION: Final = _OF_HEADS | {"attn_out"}
_OF_MLP: Final = frozenset({"mlp", "neuron"})
CIRCUIT_LEVELS: Final = ("blocks", "heads", "neurons", "features", "edges")
#: The level of dictionaries: its nodes depend on them, not on the model alone (see `interp.attribution.features`).
FEATURES: Final = "features"
#: What `interp.attribution.feature_edges` scores: its parts are edges between nodes of level `features`, and to the metric.
FEATURE_EDGES: Final = "feature_edges"


@dataclass(frozen=True)
class Node:
    """One component. `unit` is the head, K/V head, neuron or feature; `position` a token position or span, None for all
    together. Features and errors of dictionaries have kinds such as `resid_post.feature` and `mlp_out.error`; modules of nets without
    blocks have kinds such as `module:features.4`, of which `unit` is a channel. `stack`: the prefix of its stack, where that has one."""

    kind: str
    layer: int | None = None
    unit: int | None = None
    grouped: bool = False
    position: int | str | None = None
    stack: str = ""

    @property
    def name(self) -> str:
        """`embed`, `a3.h2`, `m3`, `m3.n117`, `attn_out.3`, `resid_pre.3`, `a3.h2<q>`, `a3.kv1<k>`, `resid_post.3.f117`,
        `resid_post.3.error`; of attention to another stack `x3.h2`, `x3.h2<q>`, `cross_out.3`; of another stack `encoder:a3.h2`; of nets
        without blocks `module:features.4`, `module:features.4.c2`; `@p` at a position."""
        at = "" if self.position is None else f"@{self.position}"
        return f"{self.stack}:{self._component}{at}" if self.stack else self._component + at

    @property
    def _component(self) -> str:
        attention = f"{'x' if self.kind.startswith(CROSS) else 'a'}{self.layer}"
        if self.kind in ("head", "cross_head"):
            return f"{attention}.h{self.unit}"
        if self.kind in _CHANNELS:
            return f"{attention}.{'kv' if self.grouped else 'h'}{self.unit}<{_CHANNELS[self.kind]}>"
        if self.kind == "mlp":
            return f"m{self.layer}"
        if self.kind == "neuron":
            return f"m{self.layer}.n{self.unit}"
        if self.kind.startswith(f"{MODULE}:"):
            return self.kind if self.unit is None else f"{self.kind}.c{self.unit}"
        place, _, part = self.kind.partition(".")
        parts = (place, self.layer, f"f{self.unit}" if part == "feature" else part or None)
        return ".".join(str(x) for x in parts if x is not None)

    @property
    def head(self) -> int | None:
        """Head (or K/V head) index; None for other kinds."""
        return self.unit if self.kind in ("head", "cross_head", *_CHANNELS) else None

    @property
    def neuron(self) -> int | None:
        """Neuron index; None for other kinds."""
        return self.unit if self.kind == "neuron" else None

    @property
    def feature(self) -> int | None:
        """Feature index in its dictionary; None for other kinds."""
        of_dictionary = self.kind.endswith(".feature") and not self.kind.startswith(f"{MODULE}:")
        return self.unit if of_dictionary else None

    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain data; the stack only where there is one."""
        return {name: value for name, value in vars(self).items() if name != "stack" or value}

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Group:
    """All nodes of one kind in one layer: they share a site, a gradient and a value."""

    kind: str
    site: Site
    n_units: int
    grouped: bool = False

    @property
    def view(self) -> View:
        return VIEWS[self.kind]

    def node(self, unit: int, position: int | str | None = None) -> Node:
        """The node of one unit."""
        own = unit if self.view.units else None
        return Node(self.kind, self.site.layer, own, self.grouped, position, self.site.stack)

    def width(self, layout: Layout) -> int:
        """Numbers per token at its site."""
        if not self.view.vector:
            return self.n_units
        stack = layout.stack(self.site.stack)
        return int(self.n_units * stack.d_head if self.view.units else stack.d_model)

    def contract(self, difference: Tensor, gradient: Tensor) -> Tensor:
        """difference . gradient within each node: site-shaped tensors -> [batch pos unit], in float32 or better."""
        change = wide(difference)
        product = change * gradient.to(change.dtype)
        if not self.view.vector:
            return product
        return product.sum(-1) if self.view.units else product.sum(-1, keepdim=True)

    def mix(self, base: Tensor, source: Tensor, units: Tensor, positions: Tensor) -> Tensor:
        """`base` with `source` at some units and positions. units: bool [unit]; positions: bool [batch pos]."""
        chosen = positions[:, :, None] & units[None, None, :]
        return source.to(base).where(chosen[..., None] if self.view.vector and self.view.units else chosen, base)


def groups(level: str, layout: Layout) -> list[Group]:
    """The groups of a level on this model, in forward order. A layer that mixes positions without attention has no heads: at level
    `heads` what it adds is one node. A layer with attention alone, or an MLP alone, has no nodes of the other.

    Raises: MethodError for an unknown level; SiteError where the model lacks a site that the level needs.
    """
    if level not in LEVELS:
        raise MethodError(unknown("level", level, (*LEVELS, "edges")))
    layout.check_blocks(f"level {level!r}")
    found = [group for stack in layout.stacks for group in _groups(level, stack, layout)]
    return found or [_group(LEVELS[level][0], 0, layout, layout)]  # which says why there is none


def model_groups(model: Any, level: str) -> list[Group]:
    """The groups of a level on a model; of one that ends at some sites (`HookedModel.ending_at`) those that are not behind them. Raises: as `groups`."""
    found = groups(level, model.layout)
    return found if model.outcome is None else [group for group in found if model.outcome.reaches(group.site)]


def _groups(level: str, stack: Stack, layout: Layout) -> Iterator[Group]:
    """The groups of a level in one stack, in forward order."""
    if "embed" in LEVELS[level]:
        yield _group("embed", None, stack, layout)
    for layer, block in enumerate(stack.blocks):
        for kind in LEVELS[level]:
            if kind == "embed" or (kind == "resid_post" and layer < stack.n_layers - 1):
                continue
            if kind == "resid_mid" and (block.parallel or block.lacking):
                continue
            if block.cross is None and (kind.startswith(CROSS) or kind == "resid_cross"):
                continue
            if kind in FURTHER and kind not in block.further:
                continue
            if (kind in _OF_ATTENTION and block.attn is None) or (kind in _OF_MLP and block.mlp is None):
                continue
            if kind in _OF_HEADS and not block.heads:
                if kind != "head":
                    continue
                kind = "attn_out"
            yield _group(kind, layer, stack, layout)


def _group(kind: str, layer: int | None, stack: Stack, layout: Layout) -> Group:
    view = VIEWS[kind]
    site = Site(view.site, layer, stack=stack.name)
    try:
        port(site, layout)
    except SiteError as error:
        raise SiteError(f"nodes of kind {kind!r} cannot be scored: {error}") from error
    own = _attention_at(view, layer, stack)
    n_units = getattr(stack if own is None else own, view.units) if view.units else 1
    if n_units is None:
        raise SiteError(
            f"nodes of kind {kind!r} cannot be scored: the layers of this model have different numbers of them; sites such as "
            f"'{site}' can be read and edited."
        )
    return Group(kind, site, n_units, own is not None and view.units == "n_kv_heads" and n_units < own.n_heads)


def _attention_at(view: View, layer: int | None, stack: Stack) -> AttentionLayout | None:
    """The attention of a layer that units are heads of; None for other kinds."""
    if layer is None or view.units not in ("n_heads", "n_kv_heads"):
        return None
    return stack.blocks[layer].cross if view.site.startswith(CROSS) else stack.blocks[layer].attn


def nodes_of(found: Sequence[Group], positions: Sequence[int | str | None]) -> list[Node]:
    """Every node of the groups at every position label, position slowest within a group."""
    return [g.node(unit, p) for g in found for p in positions for unit in range(g.n_units)]


def competes(kind: str) -> bool:
    """Whether nodes of a kind compete for a place in a circuit: the embedding is in every one, and errors of dictionaries are kept
    or removed all together."""
    return kind != "embed" and (kind.startswith(f"{MODULE}:") or not kind.endswith(".error"))
