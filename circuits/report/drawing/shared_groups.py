"""Keys and values that several heads share: which heads read each group, told by the edges that were scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.layered import box_name

if TYPE_CHECKING:
    from interp.parts.graph import Edge, Part
    from interp.parts.nodes import Node

#: The largest number of heads of a group that is thought of.
_MOST: Final = 256


def sharing(edges: Iterable[Edge], heads: Iterable[Part] = ()) -> dict[str, str]:
    """Head -> the box of the keys and values that it reads; empty where none are shared, or where the edges do not tell by whom.

    `heads`: parts among which are all heads of the model, where they are known; else their number is not.

    Every scored head has a query, and a group is scored where one of its heads is. So in each layer the groups of the heads are the groups
    seen. Sizes of a group for which that holds may be several; they must agree on every head.
    """
    queries: dict[int, set[int]] = {}
    groups: dict[int, set[int]] = {}
    names: dict[tuple[int, int], str] = {}
    for reader in {edge.receiver for edge in edges}:
        if reader.layer is None or reader.unit is None:
            continue
        if reader.kind == "q":
            queries.setdefault(reader.layer, set()).add(reader.unit)
        elif reader.grouped:
            groups.setdefault(reader.layer, set()).add(reader.unit)
            names[reader.layer, reader.unit] = box_name(reader)
    if not groups:
        return {}
    units = [node.unit or 0 for part in heads for node in _nodes(part) if node.kind in ("head", "q")]
    n_heads = max(units, default=-1) + 1
    found = [
        {(layer, head): head // size for layer, heads in queries.items() for head in heads}
        for size in range(2, _MOST + 1)
        if n_heads % size == 0
        and all({head // size for head in heads} == groups.get(layer, set()) for layer, heads in queries.items())
    ]
    if not found or any(other != found[0] for other in found):
        return {}
    return {f"a{layer}.h{head}": names[layer, group] for (layer, head), group in sorted(found[0].items())}


def _nodes(part: Part) -> tuple[Node, ...]:
    from interp.parts.nodes import Node

    return (part,) if isinstance(part, Node) else (part.sender, part.receiver)


def entering(nodes: Iterable[Node], shared: Mapping[str, str], order: Mapping[str, int], never: int) -> dict[str, int]:
    """Shared keys and values -> the size from which they are in: that of the first of their heads. `never`: where none of them is listed."""
    found = {box_name(node): never for node in nodes if node.grouped}
    for head, group in shared.items():
        found[group] = min(found.get(group, never), order.get(head, never))
    return found


def joins(shared: Mapping[str, str], nodes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """From the keys and values of each group to its heads."""
    both = [(group, head) for head, group in shared.items() if head in nodes and group in nodes]
    return [
        {"id": f"j{i}", "source": nodes[group]["id"], "target": nodes[head]["id"]}
        for i, (group, head) in enumerate(both)
    ]


def role(node: Node, kind: str) -> str:
    """What a node counts as beside the size of the circuit."""
    if kind == "kv":
        return "error" if node.kind.endswith(".error") else "shared"
    return "end" if node.kind in ("embed", "pos_embed", "logits") else "node"
