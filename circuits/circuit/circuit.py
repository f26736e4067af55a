"""A circuit: a set of nodes or of edges, and where it came from. Pure data; running one is the business of `evaluate`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from interp.attribution.batching.positions import POSITIONS
from interp.errors import InterpError
from interp.files import write_text
from interp.formatting.guarded import read_json, reading
from interp.formatting.plain import kinds, rebuilt
from interp.formatting.showing import card, figure
from interp.formatting.text import visible
from interp.parts.graph import KEY_VALUE, Edge, KeyValue, Part, parse_edge
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES, Node, competes
from interp.parts.sites import CROSS
from interp.scores.scores import Scores

FORMAT: Final = 1
#: Parts that are listed where a circuit is printed.
MOST_LISTED: Final = 50
ALWAYS: Final = ("embed",)
#: Names of spans that edges can be at and be read back.
NAMED: Final = re.compile(r"(?!-?\d+$).+", re.DOTALL)
_NODE_KEYS: Final = {"kind", "layer", "unit", "grouped", "position", "stack"}


class CircuitError(InterpError):
    """A circuit that cannot be made, read or compared."""


@dataclass(frozen=True)
class Circuit:
    """`parts`: what the circuit holds, from most to least important: edges at level `edges`, else nodes.

    Node circuits: embedding and logits are in every one and never counted. `level`: blocks, heads, neurons, edges or
    features. A circuit of features lists no errors: whether they are kept is a matter of its evaluation.
    `selection`: how it was chosen. `scored_pairs`: hashes of the pairs that it was chosen by, so that an evaluation
    knows whether its own are others. `kv`, `split_positions`: which graph its edges belong to (see `interp.parts.graph`).
    `dictionaries`: whose features these are, a line each with a hash, as in `Provenance`.
    `positions`, `labels`: of edges that are apart at positions, how these are named (`each`, `end` or `spans`) and all names that
    there are; every token has one, so with `rest` an edge outside all spans is a part like others. `both_ways`: positions may look at later
    ones there.
    """

    parts: tuple[Part, ...]
    level: str
    model: str
    task: str
    method: str
    selection: str
    scored_pairs: tuple[str, ...] = ()
    kv: KeyValue = "shared"
    split_positions: bool = False
    dictionaries: tuple[str, ...] = ()
    positions: str = "all"
    labels: tuple[int | str, ...] = ()
    both_ways: bool = False

    def __post_init__(self) -> None:
        if self.level not in CIRCUIT_LEVELS:
            raise CircuitError(
                f"level {self.level!r} is a map, not a set of parts that can be cut out: circuits exist for {', '.join(CIRCUIT_LEVELS)}."
            )
        if (self.level == FEATURES) != bool(self.dictionaries):
            raise CircuitError(
                f"a circuit of level {self.level!r} with {len(self.dictionaries)} dictionaries; expected one or more at level "
                f"{FEATURES!r}, and none elsewhere."
            )
        if self.kv not in KEY_VALUE:
            raise CircuitError(f"kv={self.kv!r}: expected {' or '.join(KEY_VALUE)}.")
        self._check_labels()
        if len(set(self.parts)) != len(self.parts):
            raise CircuitError(f"{'an edge' if self.level == 'edges' else 'a node'} is in the circuit twice.")
        for part in self.parts:
            self._check(part)

    def _check(self, part: Part) -> None:
        if isinstance(part, Edge) != (self.level == "edges") or is_feature(part) != (self.level == FEATURES):
            raise CircuitError(f"{part.name} is no part of a circuit of level {self.level!r}.")
        if not listable(part):
            raise CircuitError(
                f"{part.name} cannot be listed: the embedding is in every circuit, and errors are kept or removed all together."
            )
        if part.position not in (self.labels or (None,)):
            expected = ", ".join(map(str, self.labels)) or "none: the circuit is one of parts at all positions together"
            raise CircuitError(f"{part.name} is at position {part.position}; expected one of {expected}.")

    def _check_labels(self) -> None:
        if self.positions not in POSITIONS or (self.positions == "all") == bool(self.labels):
            raise CircuitError(
                f"positions={self.positions!r} with {len(self.labels)} labels; expected {', '.join(POSITIONS)}, and labels for all but "
                "the first."
            )
        if self.labels and self.level != "edges":
            raise CircuitError(
                f"a circuit of level {self.level!r} has parts at all positions together; circuits at positions are those of edges."
            )
        if odd := [label for label in self.labels if isinstance(label, str) and not NAMED.fullmatch(label)]:
            raise CircuitError(f"position {odd[0]!r}: a span with this name would be read as a number; rename it.")

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges. Raises: CircuitError for a circuit of nodes; `circuits.lifted` makes one of edges of it."""
        if self.level != "edges":
            raise CircuitError(
                f"this is a circuit of nodes (level {self.level!r}); circuits.lifted(...) gives its edges."
            )
        return tuple(part for part in self.parts if isinstance(part, Edge))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes; of a circuit of edges those that an edge begins or ends at, a head once whatever it reads by."""
        if self.level != "edges":
            return tuple(part for part in self.parts if isinstance(part, Node))
        ends = (node for edge in self.edges for node in (edge.sender, component(edge.receiver)))
        return tuple(dict.fromkeys(ends))

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __contains__(self, part: object) -> bool:
        return part in self.parts or part in {p.name for p in self.parts}

    def __str__(self) -> str:
        what = self.level if self.level in ("edges", FEATURES) else f"nodes of level {self.level!r}"
        shown = ", ".join(visible(p.name) for p in self.parts[:MOST_LISTED])
        more = f" and {len(self) - MOST_LISTED:,} more" if len(self) > MOST_LISTED else ""
        return f"Circuit of {len(self)} {what} ({visible(self.selection)}): {shown}{more}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))

    def show(self, scores: Scores | None = None, evaluation: Any = None, edges: Scores | None = None) -> ShownCircuit:
        """The interactive view at the end of a notebook cell, with what is known of the circuit.

        `scores`: what it was chosen by, for colours and what follows in the ranking; `evaluation`: for a slider with the faithfulness at each
        size; `edges`: scores of the edges between the nodes of a circuit of nodes or features.
        """
        return ShownCircuit(self, scores, evaluation, edges)

    def plot(self, scores: Scores | None = None, *, edges: Scores | None = None) -> Any:
        """A plotly figure of the circuit as a graph: see `circuits.plot_circuit`."""
        return figure(self, scores=scores, edges=edges)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        left_out = ["parts", "kv", "split_positions"]
        left_out += [] if self.dictionaries else ["dictionaries"]
        left_out += [] if self.labels else ["positions", "labels"]
        left_out += [] if self.both_ways else ["both_ways"]
        data = {k: v for k, v in vars(self).items() if k not in left_out}
        if self.level == "edges":
            graph = {"kv": self.kv, "split_positions": self.split_positions}
            return {"format": FORMAT, "edges": [p.name for p in self.parts], **data, **graph}
        return {
            "format": FORMAT,
            "nodes": [p.to_dict() for p in self.nodes],
            **data,
            "names": [p.name for p in self.parts],
        }

    def save(self, path: str | Path) -> None:
        """Write JSON that `load` reads back to an equal circuit."""
        write_text(path, json.dumps(self.to_dict(), indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Circuit:
        """Read what `save` wrote. Raises: CircuitError for another format or unknown keys."""
        with reading(f"circuit file {str(path)!r}", CircuitError):
            data = read_json(path)
            if data.get("format") != FORMAT:
                raise CircuitError(f"format {data.get('format')!r}; expected {FORMAT}.")
            owner: Any = cls
            hints = kinds(owner)
            given = {k: v for k, v in data.items() if k not in ("format", "names", "nodes", "edges")}
            return cls(parts=_parts(data), **{name: rebuilt(hints[name], value) for name, value in given.items()})


@dataclass(frozen=True)
class ShownCircuit:
    """A circuit with what is known of it, for a notebook: the interactive view in a frame. See `Circuit.show`.

    `evaluation`: the `Evaluation` of it, for the slider of sizes. `edges`: scores of the edges between its nodes.
    """

    circuit: Circuit
    scores: Scores | None = None
    evaluation: Any = None
    edges: Scores | None = None

    def __str__(self) -> str:
        return str(self.circuit)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))


def listable(part: Part) -> bool:
    """Whether a circuit may list it: all but the embedding, which is in every one, and the errors of dictionaries."""
    return isinstance(part, Edge) or competes(part.kind)


def is_feature(part: Part) -> bool:
    """Whether a part is one of level `features`: a feature, or the error of a dictionary."""
    return isinstance(part, Node) and part.kind.endswith((".feature", ".error"))


def is_error(part: Part) -> bool:
    """Whether a part is what a dictionary does not make up."""
    return isinstance(part, Node) and part.kind.endswith(".error")


def component(node: Node) -> Node:
    """The node that a reader belongs to: the head of a q, k or v reader; an MLP and the logits are their own.

    A K/V reader shared by a group belongs to no single head and stays what it is.
    """
    if node.grouped or node.kind.removeprefix(CROSS) not in ("q", "k", "v"):
        return node
    return Node("cross_head" if node.kind.startswith(CROSS) else "head", node.layer, node.unit, stack=node.stack)


def _parts(data: dict[str, Any]) -> tuple[Part, ...]:
    if data.get("level") == "edges":
        return tuple(parse_edge(name) for name in data["edges"])
    if odd := [k for n in data["nodes"] for k in n if k not in _NODE_KEYS]:
        raise CircuitError(f"unknown key {odd[0]!r} of a node.")
    return rebuilt(tuple[Node, ...], data["nodes"])  # type: ignore[no-any-return]
