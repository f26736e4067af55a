"""DOT files for graphviz, to look at: colour by the sign of the importance, width by its size. Written, not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from circuits.interchange.contents import Contents
from circuits.interchange.networks import attributes, ends
from interp.files import write_text
from interp.parts.graph import Edge
from interp.parts.nodes import Node

HELPS, WORKS_AGAINST, NOT_SCORED = "#2166ac", "#b2182b", "#555555"
WIDTH: Final = (0.5, 5.0)


def quoted(text: str) -> str:
    """A DOT string that shows `text` as it is: quotes and backslashes escaped, control characters as U+...."""
    shown = "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'


def to_dot(contents: Contents) -> str:
    """The text: the circuit where there is one, else everything scored."""
    parts = [
        (part, entry)
        for part, entry in zip(contents.parts, attributes(contents), strict=True)
        if entry.get("in_circuit", True)
    ]
    largest = max((abs(entry.get("importance", 0.0)) for _, entry in parts), default=0.0)
    title = " ".join((*contents.source, contents.level))
    lines = [f"digraph {quoted(title)} {{", "  rankdir=BT;", f"  label={quoted(title)};", "  node [shape=box];"]
    nodes = {name: node for part, _ in parts if isinstance(part, Edge) for name, node in _components(part)}
    lines += [f"  {quoted(name)} [group={quoted(node.kind)}];" for name, node in nodes.items()]
    lines += [_line(part, _style(entry, largest)) for part, entry in parts]
    return "\n".join([*lines, "}"]) + "\n"


def _components(edge: Edge) -> list[tuple[str, Node]]:
    sender, receiver, _ = ends(edge)
    return [(sender, edge.sender), (receiver, edge.receiver)]


def _line(part: Edge | Node, style: str) -> str:
    if not isinstance(part, Edge):
        return f"  {quoted(part.name)} [{style}];"
    sender, receiver, channel = ends(part)
    return f"  {quoted(sender)} -> {quoted(receiver)} [label={quoted('' if channel == 'in' else channel)}, {style}];"


def _style(entry: dict[str, Any], largest: float) -> str:
    importance = entry.get("importance")
    if importance is None:
        return f'color="{NOT_SCORED}", penwidth=1'
    width = WIDTH[0] + (WIDTH[1] - WIDTH[0]) * (abs(importance) / largest if largest else 0.0)
    colour = HELPS if importance >= 0 else WORKS_AGAINST
    tooltip = quoted(f"{entry['name']} {importance:+.6g}")
    return f'color="{colour}", penwidth={width:.3f}, tooltip={tooltip}'


def write(contents: Contents, path: Path) -> list[Path]:
    """Write the file."""
    write_text(path, to_dot(contents))
    return [path]
