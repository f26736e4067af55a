"""A circuit: a set of nodes, and where it came from. Pure data; running one is the business of `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from interp.errors import InterpError
from interp.files import write_text
from interp.nodes import CIRCUIT_LEVELS, Node

FORMAT: Final = 1
ALWAYS: Final = ("embed",)
_NODE_KEYS: Final = {"kind", "layer", "unit", "grouped", "position"}


class CircuitError(InterpError):
    """A circuit that cannot be made, read or compared."""


@dataclass(frozen=True)
class Circuit:
    """`nodes`: those of the ranking that are in the circuit, from most to least important. The embedding and the
    logits are in every circuit and never counted. `level`: blocks, heads or neurons. `selection`: how it was chosen.
    `scored_pairs`: hashes of the pairs that it was chosen by, so that an evaluation knows whether its own are others."""

    nodes: tuple[Node, ...]
    level: str
    model: str
    task: str
    method: str
    selection: str
    scored_pairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in CIRCUIT_LEVELS:
            raise CircuitError(
                f"level {self.level!r} is a map, not a set of parts that can be cut out: circuits exist for {', '.join(CIRCUIT_LEVELS)}."
            )
        if len(set(self.nodes)) != len(self.nodes):
            raise CircuitError("a node is in the circuit twice.")
        if odd := [n.name for n in self.nodes if n.kind in ALWAYS or n.position is not None]:
            raise CircuitError(
                f"{odd[0]} cannot be listed: the embedding is in every circuit, and nodes have no position."
            )

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __contains__(self, node: object) -> bool:
        return node in self.nodes or node in {n.name for n in self.nodes}

    def __str__(self) -> str:
        return f"Circuit of {len(self)} nodes of level {self.level!r} ({self.selection}): {', '.join(n.name for n in self.nodes)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": FORMAT, **asdict(self), "names": [n.name for n in self.nodes]}

    def save(self, path: str | Path) -> None:
        """Write JSON that `load` reads back to an equal circuit."""
        write_text(path, json.dumps(self.to_dict(), indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Circuit:
        """Read what `save` wrote. Raises: CircuitError for another format or unknown keys."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data.get("format") != FORMAT:
                raise CircuitError(f"{path}: format {data.get('format')!r}; expected {FORMAT}.")
            fields = {k: v for k, v in data.items() if k not in ("format", "names", "nodes")}
            if odd := [k for n in data["nodes"] for k in n if k not in _NODE_KEYS]:
                raise CircuitError(f"{path}: unknown key {odd[0]!r} of a node.")
            fields["scored_pairs"] = tuple(fields.get("scored_pairs", ()))
            return cls(nodes=tuple(Node(**n) for n in data["nodes"]), **fields)
        except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise CircuitError(f"circuit file {str(path)!r} cannot be read: {error}.") from error
        except (TypeError, KeyError, AttributeError) as error:
            raise CircuitError(f"circuit file {str(path)!r} is not one of ours: {error}.") from error
