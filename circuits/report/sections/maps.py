"""Scores to the grids that heat-maps show: layer x component, layer x position, component x position, or bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from circuits.terms.words import kind_name
from interp.formatting.numbers import decimals
from interp.formatting.text import token

if TYPE_CHECKING:
    from interp.parts.nodes import Node
    from interp.scores.scores import Scores

MOST_ROWS: Final = 64
MOST_COLUMNS: Final = 160
MOST_NUMBERED: Final = 20
MOST_BARS: Final = 30
_COLUMNS: Final = {
    "attn_out": "attention",
    "cross_out": "to encoder",
    "mixer_out": "mixer",
    "second_mlp_out": "second MLP",
    "mlp": "MLP",
    "embed": "embed",
    "resid_pre": "before block",
    "resid_mid": "in the middle",
    "resid_cross": "before MLP",
    "resid_post": "after block",
}
#: Kinds with a grid of their own, by layer and head.
_APART: Final = ("q", "k", "v", "cross_head", "cross_q", "cross_k", "cross_v")
_WHAT: Final = {"features": "features and errors", "edges": "edges", "feature_edges": "edges"}
Key = tuple[Any, ...]
Place = Callable[["Node"], tuple[Key, Key]]


def score_maps(
    scores: Scores, chosen: frozenset[str], labels: Mapping[str, Sequence[str]] | None = None
) -> list[dict[str, Any]]:
    """The pictures of one method: `form` is `grid` or `bars`. `chosen`: names of nodes to outline. `labels`: texts of positions by stack."""
    together = all(node.position is None for node in scores.parts)
    if together and (scores.provenance.level == "features" or {node.kind for node in scores.parts} == {"neuron"}):
        return [ranked_bars(scores)]
    stacks = list(dict.fromkeys(node.stack for node in _nodes(scores)))
    found = [(stack, grid) for stack in stacks for grid in _of_stack(scores, stack, chosen, labels or {})]
    return [grid if len(stacks) == 1 else _titled(stack, grid) for stack, grid in found]


def _of_stack(
    scores: Scores, stack: str, chosen: frozenset[str], labels: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """The grids of the nodes of one stack: attention to another one apart from its own."""
    scores = scores.select([i for i, node in enumerate(_nodes(scores)) if node.stack == stack])
    kinds = list(dict.fromkeys(node.kind for node in scores.parts))
    if any(node.position is not None for node in scores.parts):
        return [_by_position(scores, kind, chosen, labels.get(stack, ())) for kind in kinds]
    separate = [kind for kind in kinds if kind in _APART]
    found = [_by_layer(scores, (kind,), chosen) for kind in separate]
    rest = tuple(kind for kind in kinds if kind not in separate)
    return found + ([_by_layer(scores, rest, chosen)] if rest else [])


def _titled(stack: str, grid: dict[str, Any]) -> dict[str, Any]:
    """A grid whose title says its stack."""
    return {**grid, "title": ": ".join(part for part in (stack or "decoder", grid["title"]) if part)}


def _nodes(scores: Scores) -> tuple[Node, ...]:
    """The parts of a level of nodes; edges have maps of their own (see `circuits.report.sections.edges_section`)."""
    return cast("tuple[Node, ...]", scores.parts)


def share_limit(maps: Iterable[dict[str, Any]], limit: float) -> None:
    """Give one colour scale to all maps of about the same range; a map of another range keeps its own."""
    for data in maps:
        if data["form"] == "grid" and limit / 3 <= data["limit"] <= limit * 3:
            data["limit"] = limit


def _by_layer(scores: Scores, kinds: tuple[str, ...], chosen: frozenset[str]) -> dict[str, Any]:
    """Rows are layers; columns heads first, then one for each other kind."""
    others: list[str] = [
        kind for kind in ("attn_out", "mlp", "resid_pre", "resid_mid", "resid_post", "embed") if kind in kinds
    ]
    others += [kind for kind in kinds if kind not in ("head", *_APART, *others)]

    def place(node: Node) -> tuple[Key, Key]:
        column = (0, node.unit) if node.head is not None else (1, others.index(node.kind))
        return (node.layer or 0,), column

    def column_name(key: Key) -> str:
        return str(key[1]) if key[0] == 0 else _COLUMNS.get(others[key[1]], others[key[1]])

    heads = any(kind in ("head", *_APART) for kind in kinds)
    title = kind_name(kinds[0]) if kinds[0] in _APART else ""
    grid = _grid(scores, kinds, place, chosen)
    return _named(
        grid, title, ("layer", "head" if heads else "part of the block"), lambda key: str(key[0]), column_name
    )


def _by_position(scores: Scores, kind: str, chosen: frozenset[str], labels: Sequence[str]) -> dict[str, Any]:
    """Rows are components of one kind; columns are positions in the order of the scores."""
    order = {p: i for i, p in enumerate(dict.fromkeys(node.position for node in scores.parts))}
    positions = list(order)
    units = {node.unit for node in _nodes(scores) if node.kind == kind} != {None}

    def place(node: Node) -> tuple[Key, Key]:
        return (node.layer or 0, node.unit or 0), (order[node.position],)

    def row_name(key: Key) -> str:
        return f"{key[0]}.{key[1]}" if units else str(key[0])

    grid = _grid(scores, (kind,), place, chosen)
    names = ("layer.unit" if units else "layer", "position · token" if labels else "position")
    return _named(grid, kind_name(kind), names, row_name, lambda key: _position(positions[key[0]], labels))


def _position(position: int | str | None, labels: Sequence[str]) -> str:
    if isinstance(position, int) and -len(labels) <= position < len(labels):
        return f"{position} {token(labels[position])[:24]}"
    return "all" if position is None else str(position)


def _grid(scores: Scores, kinds: tuple[str, ...], place: Place, chosen: frozenset[str]) -> dict[str, Any]:
    """The cells of some kinds, and the row and column keys in order, the weakest left out where there are too many."""
    cells = {
        place(node): (node, float(m)) for node, m in zip(_nodes(scores), scores.mean, strict=True) if node.kind in kinds
    }
    rows, row_note = _strongest({at[0] for at in cells}, cells, 0, MOST_ROWS, "rows")
    columns, column_note = _strongest({at[1] for at in cells}, cells, 1, MOST_COLUMNS, "positions")
    shown = [[cells.get((row, column)) for column in columns] for row in rows]
    values = [[None if cell is None else cell[1] for cell in row] for row in shown]
    # The embedding is in every circuit; its size would wash out all others.
    sizes = [abs(v) for node, v in cells.values() if node.kind != "embed"] or [abs(v) for _, v in cells.values()]
    return {
        "form": "grid",
        "signed": True,
        "rows": rows,
        "columns": columns,
        "values": values,
        "names": [["" if cell is None else cell[0].name for cell in row] for row in shown],
        "marked": [[cell is not None and cell[0].name in chosen for cell in row] for row in shown],
        "limit": max(sizes, default=0.0),
        "digits": decimals(sizes, 3),
        "numbers": len(columns) <= MOST_NUMBERED,
        "unit": scores.provenance.unit,
        "note": " ".join(note for note in (row_note, column_note) if note),
    }


def _strongest(
    keys: set[Key], cells: dict[tuple[Key, Key], tuple[Node, float]], axis: int, most: int, what: str
) -> tuple[list[Key], str]:
    if len(keys) <= most:
        return sorted(keys), ""
    size = dict.fromkeys(keys, 0.0)
    for at, (_, value) in cells.items():
        size[at[axis]] = max(size[at[axis]], abs(value))
    kept = sorted(sorted(keys, key=lambda key: (-size[key], key))[:most])
    return kept, f"Shown are the {most} of {len(keys)} {what} with the largest scores."


def _named(
    grid: dict[str, Any],
    title: str,
    axes: tuple[str, str],
    row_name: Callable[[Key], str],
    column_name: Callable[[Key], str],
) -> dict[str, Any]:
    """The grid with words in place of keys."""
    return {
        **grid,
        "title": title,
        "row_title": axes[0],
        "column_title": axes[1],
        "rows": [row_name(key) for key in grid["rows"]],
        "columns": [column_name(key) for key in grid["columns"]],
    }


def ranked_bars(scores: Scores) -> dict[str, Any]:
    means = scores.mean
    found: list[dict[str, Any]] = [
        {"name": scores.parts[i].name, "score": float(means[i])} for i in scores.rank()[:MOST_BARS]
    ]
    sizes = [abs(bar["score"]) for bar in found]
    return {
        "form": "bars",
        "title": "",
        "bars": found,
        "limit": max(sizes, default=0.0),
        "digits": decimals(sizes),
        "unit": scores.provenance.unit,
        "note": f"The {len(found)} of {len(scores.parts):,} {_WHAT.get(scores.provenance.level, 'neurons')} with the largest scores.",
    }
