"""The graph of a model: what writes into the residual stream, what reads it, and the edges between them.

Writers, in forward order: the embedding (token + position; apart with `split_positions`), heads, MLPs. Readers: q, k and v
of each head, MLPs, the logits. What mixes positions without heads is one node that reads and writes, as an MLP is. A writer's value is what it adds to the residual stream; a reader is its own copy of that
stream. What a reader can see is a prefix of the writers, so an edge is a reader and an index below `n_upstream`.

Names: `a0.h3->a2.h1<q>`, `embed->m0`, `m3->logits`, `m3->attn_out.4`; K/V readers shared by a group are `a2.kv1<k>`; `@p` at a position.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from interp.errors import MethodError, unknown
from interp.parts.block_layout import BlockLayout
from interp.parts.layout import Layout
from interp.parts.nodes import Node
from interp.parts.sites import Site, is_place

KeyValue = Literal["shared", "split"]
KEY_VALUE: Final = ("shared", "split")
#: The kinds of the parts of a layer, as of the nodes that write.
Kind = Literal["head", "attn_out", "mlp"]
CHANNELS: Final = ("q", "k", "v")
EMBEDDINGS: Final = ("embed", "pos_embed")


@dataclass(frozen=True)
class Edge:
    """What `receiver` reads of `sender`; at one token position or span, or (None) at all together."""

    sender: Node
    receiver: Node
    position: int | str | None = None

    @property
    def name(self) -> str:
        """`sender->receiver`, with `@p` at a position."""
        return f"{self.sender.name}->{self.receiver.name}" + ("" if self.position is None else f"@{self.position}")

    @property
    def kind(self) -> str:
        """The kinds of its ends: `head->q`, `embed->mlp`, `mlp->logits`."""
        return f"{self.sender.kind}->{self.receiver.kind}"

    @property
    def layer(self) -> int | None:
        """The receiver's layer; None for the logits."""
        return self.receiver.layer

    @property
    def head(self) -> int | None:
        """None: an edge is no head."""
        return None

    neuron = head

    def __str__(self) -> str:
        return self.name


Part = Node | Edge


@dataclass(frozen=True)
class Step:
    """One part of a layer: its heads, or one node that reads and writes as a whole. `writers`, `readers`: their numbers in the graph; `sees`:
    how many writers its readers see, the first so many."""

    kind: Kind
    layer: int
    writers: range
    readers: range
    sees: int

    @property
    def site(self) -> Site:
        """Where what it writes is read: z of heads."""
        return Site({"head": "z", "attn_out": "attn_out", "mlp": "mlp_out"}[self.kind], self.layer)


@dataclass(frozen=True)
class Graph:
    """All writers, readers and edges of a model of this shape.

    `parallel`: per layer, whether the MLP reads beside attention and so not what its heads write. `kv`: K/V readers
    `shared` by their group of query heads (true to the model), or `split` per query head (as MIB counts them). `layers`: per layer the
    kinds of its parts, in order: `head`, `attn_out` for what mixes positions without heads, `mlp`; heads and an MLP by default.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: tuple[bool, ...]
    kv: KeyValue = "shared"
    split_positions: bool = False
    layers: tuple[tuple[Kind, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", self.layers or (("head", "mlp"),) * self.n_layers)
        if self.kv not in KEY_VALUE:
            raise MethodError(unknown("kv", self.kv, KEY_VALUE))

    @classmethod
    def of(cls, layout: Layout, *, kv: KeyValue = "shared", split_positions: bool = False) -> Graph:
        """The graph of a model. Raises: MethodError where positions cannot be split off its embedding."""
        if split_positions and layout.pos_embed is None:
            raise MethodError(
                "split_positions: this model adds no position embedding to its token embedding, so there is nothing to split."
            )
        parallel = tuple(block.parallel for block in layout.blocks)
        layers = tuple(tuple(_kinds(block)) for block in layout.blocks)
        return cls(layout.n_layers, layout.n_heads, layout.n_kv_heads, parallel, kv, split_positions, layers)

    @property
    def group(self) -> int:
        """Query heads that share one K/V head."""
        return self.n_heads // max(1, self.n_kv_heads)

    @property
    def first(self) -> int:
        """How many writers there are before the first layer."""
        return 1 + self.split_positions

    @property
    def n_attention_readers(self) -> int:
        """How many readers the heads of a layer have."""
        return self.n_heads + 2 * (self.n_kv_heads if self.kv == "shared" else self.n_heads)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The parts of all layers, in forward order."""
        found, writer, reader = list[Step](), self.first, 0
        for layer, kinds in enumerate(self.layers):
            start = writer
            for kind in kinds:
                n, read = (self.n_heads, self.n_attention_readers) if kind == "head" else (1, 1)
                sees = start if self.parallel[layer] else writer
                found.append(Step(kind, layer, range(writer, writer + n), range(reader, reader + read), sees))
                writer, reader = writer + n, reader + read
        return tuple(found)

    @cached_property
    def layer_writers(self) -> tuple[range, ...]:
        """The numbers of the writers of each layer."""
        found = [[step for step in self.steps if step.layer == layer] for layer in range(self.n_layers)]
        return tuple(range(own[0].writers.start, own[-1].writers.stop) for own in found)

    @cached_property
    def attentions(self) -> dict[int, Step]:
        """The heads of each layer that has some."""
        return {step.layer: step for step in self.steps if step.kind == "head"}

    @cached_property
    def writers(self) -> tuple[Node, ...]:
        """Every writer in forward order."""
        found = [Node(kind) for kind in EMBEDDINGS[: self.first]]
        for step in self.steps:
            heads = step.kind == "head"
            found += [Node(step.kind, step.layer, unit if heads else None) for unit in range(len(step.writers))]
        return tuple(found)

    @cached_property
    def readers(self) -> tuple[Node, ...]:
        """Every reader in forward order: q, k, v of the heads of a layer, its MLP; the logits last."""
        found = list[Node]()
        for step in self.steps:
            found += self.attention_readers(step.layer) if step.kind == "head" else (Node(step.kind, step.layer),)
        return (*found, Node("logits"))

    def read_at(self, step: Step) -> Site:
        """Where the stream is that the readers of a part read: behind the part of the layer before it, where they see that."""
        behind = step.sees > self.layer_writers[step.layer].start
        return Site("resid_mid" if behind else "resid_pre", step.layer)

    def attention_readers(self, layer: int) -> tuple[Node, ...]:
        """The readers of the heads of one layer: all q, then all k, then all v."""
        grouped = self.kv == "shared" and self.group > 1
        units = self.n_kv_heads if self.kv == "shared" else self.n_heads
        queries = [Node("q", layer, head) for head in range(self.n_heads)]
        return (*queries, *(Node(c, layer, unit, grouped) for c in "kv" for unit in range(units)))

    @cached_property
    def n_upstream(self) -> tuple[int, ...]:
        """For each reader, how many writers it sees: the first so many."""
        return (*(step.sees for step in self.steps for _ in step.readers), len(self.writers))

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, readers in forward order and for each its writers in forward order."""
        ends = zip(self.readers, self.n_upstream, strict=True)
        return tuple(Edge(sender, reader) for reader, n in ends for sender in self.writers[:n])

    @cached_property
    def index(self) -> dict[Edge, int]:
        """The place of each edge in `edges`."""
        return {edge: i for i, edge in enumerate(self.edges)}

    @cached_property
    def by_name(self) -> dict[str, Edge]:
        """Every edge by its name."""
        return {edge.name: edge for edge in self.edges}

    def edge(self, name: str) -> Edge:
        """The edge of this name. Raises: MethodError with the near names."""
        if name not in self.by_name:
            raise MethodError(unknown("edge", name, self.by_name))
        return self.by_name[name]

    @cached_property
    def visible(self) -> np.ndarray:
        """Which writers each reader sees: bool [reader writer]. True entries, row by row, are `edges`."""
        seen = np.arange(len(self.writers))[None, :] < np.array(self.n_upstream)[:, None]
        return np.asarray(seen)

    def matrix(self, edges: Iterable[Edge], labels: Sequence[int | str | None] = (None,)) -> np.ndarray:
        """A set of edges at these positions as bool [label reader writer]. Raises: MethodError for an edge that is not in this
        graph, or at none of them."""
        place = {label: i for i, label in enumerate(labels)}
        flat = np.zeros((len(labels), len(self.edges)), dtype=bool)
        for edge in edges:
            at = self.index.get(edge if edge.position is None else Edge(edge.sender, edge.receiver))
            if at is None or edge.position not in place:
                raise MethodError(unknown("edge", edge.name, [known.name for known in self.at_positions(labels)]))
            flat[place[edge.position], at] = True
        found = np.zeros((len(labels), *self.visible.shape), dtype=bool)
        found[:, self.visible] = flat
        return found

    def at_positions(self, labels: Sequence[int | str | None]) -> list[Edge]:
        """Every edge at every position label, position slowest."""
        return [edge if label is None else replace(edge, position=label) for label in labels for edge in self.edges]

    def __str__(self) -> str:
        return f"Graph of {len(self.writers)} writers, {len(self.readers)} readers, {len(self.edges)} edges"


def _kinds(block: BlockLayout) -> Iterator[Kind]:
    """The kinds of a block's parts, in order."""
    if block.attn is not None:
        yield "head" if block.attn.heads else "attn_out"
    if block.mlp is not None:
        yield "mlp"


# ---------------------------------------------------------------- names

_WHOLE = r"m(?P<m>\d+)|attn_out\.(?P<a>\d+)"
_WRITER = re.compile(rf"a(?P<l>\d+)\.h(?P<u>\d+)|{_WHOLE}|(?P<e>embed|pos_embed)")
_READER = re.compile(rf"a(?P<l>\d+)\.(?P<g>h|kv)(?P<u>\d+)<(?P<c>[qkv])>|{_WHOLE}|(?P<e>logits)")
_FEATURE = re.compile(r"(?P<kind>[a-z_]+)(\.(?P<l>\d+))?\.(f(?P<u>\d+)|error)")


def parse_edge(name: str) -> Edge:
    """The edge that a name means, whatever the model. Raises: MethodError for a name of another form."""
    ends, _, at = name.partition("@")
    sender, arrow, receiver = ends.partition("->")
    writer, reader = _end(_WRITER, sender), _end(_READER, receiver)
    if not arrow or writer is None or reader is None or (not at and "@" in name):
        raise MethodError(
            f"edge {name!r}: expected 'sender->receiver', for example 'a0.h3->a2.h1<q>', 'embed->m0', 'm3->logits' or "
            "'resid_post.0.f3->resid_post.1.error'."
        )
    position = int(at) if re.fullmatch(r"-?\d+", at) else at or None
    return Edge(writer, reader, position)


def _end(pattern: re.Pattern[str], name: str) -> Node | None:
    """The node that one end of an edge names; None for no such name."""
    if (feature := _FEATURE.fullmatch(name)) is not None:
        if not is_place(name.rpartition(".")[0]):
            return None
        layer, unit = (None if feature[key] is None else int(feature[key]) for key in ("l", "u"))
        return Node(f"{feature['kind']}.{'error' if unit is None else 'feature'}", layer, unit)
    found = pattern.fullmatch(name)
    return None if found is None else _known(found.groupdict())


def _known(found: dict[str, Any]) -> Node:
    if found["e"]:
        return Node(found["e"])
    if found["m"]:
        return Node("mlp", int(found["m"]))
    if found["a"]:
        return Node("attn_out", int(found["a"]))
    kind = found.get("c") or "head"
    return Node(kind, int(found["l"]), int(found["u"]), found.get("g") == "kv")
