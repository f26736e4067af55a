"""Inputs that are no text as plain data: the pictures of a record by their names on the page, and numbers over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, cast

from interp.formatting.numbers import decimals, score

if TYPE_CHECKING:
    from circuits.anatomy.anatomy import Example, Pattern
    from circuits.anatomy.prompts import Prompt
    from circuits.runs.record import Record
    from interp.parts.nodes import Node
    from interp.pictures.input_picture import Picture
    from interp.scores.scores import Scores

#: Kinds of stream and layers of a map over a picture, and heads that are drawn beside each other.
MOST_DRAWN: Final = 48
#: Positions that stand nowhere in the picture and are listed with their numbers.
MOST_ELSEWHERE: Final = 6
Over = dict[str, Any]


def pictures(record: Record, most: int) -> dict[str, dict[str, Any]]:
    """The pictures of a record, of its first `most` pairs and of the prompts looked at closely, by the name that the page gives each."""
    found: dict[str, Picture | None] = {}
    for i, prompt in enumerate(record.prompts[:most], 1):
        found |= {f"pair-{i}-clean": prompt.clean_picture, f"pair-{i}-corrupt": prompt.corrupt_picture}
    for i, example in enumerate(record.anatomy.examples if record.anatomy is not None else (), 1):
        found |= {f"example-{i}": example.picture, f"example-{i}-source": example.source_picture}
    return {name: asdict(picture) for name, picture in found.items() if picture is not None}


def over(
    picture: Picture, of: str, names: Sequence[str], values: Sequence[float], unit: str, *, limit: float = 0.0
) -> Over | None:
    """A number for each position over a picture; None where positions do not stand in it. limit: of the strongest tint, by default the
    largest value of a position that stands in it."""
    if not picture.placed or not len(picture.places) == len(names) == len(values):
        return None
    inside = [abs(v) for v, box in zip(values, picture.places, strict=True) if box]
    most = limit or max(inside, default=0.0)
    digits = decimals([max([most, *map(abs, values)])], 3)
    beside = [(n, v) for n, v, box in zip(names, values, picture.places, strict=True) if not box]
    return {
        "of": of,
        "values": list(values),
        "limit": most,
        "digits": digits,
        "unit": unit,
        "signed": True,
        "said": [f"{name}: {score(v, digits)} {unit}" for name, v in zip(names, values, strict=True)],
        "elsewhere": [{"name": n, "value": v} for n, v in beside[:MOST_ELSEWHERE]],
        "left": max(0, len(beside) - MOST_ELSEWHERE),
    }  # fmt: skip


def pair_pictures(prompt: Prompt, index: int) -> dict[str, Any] | None:
    """Both inputs of a pair and its attributions over the clean one; None for a pair of texts."""
    clean, corrupt = prompt.clean_picture, prompt.corrupt_picture
    if clean is None or corrupt is None:
        return None
    names = f"pair-{index + 1}-clean", f"pair-{index + 1}-corrupt"
    methods = {m: over(clean, names[0], prompt.clean_tokens, v, prompt.unit) for m, v in prompt.attributions.items()}
    return {
        "sides": [
            {"what": what, "name": picture.name, "of": own}
            for what, picture, own in zip(("clean", "corrupt"), (clean, corrupt), names, strict=True)
        ],
        "methods": [{"method": m, "heat": heat} for m, heat in methods.items() if heat is not None],
        "kind": clean.kind,
    }


def looks(pattern: Pattern, example: Example, index: int) -> Over | None:
    """Where a head looks, over the picture of what it looks at: shares of its weight from nothing to the largest."""
    picture, names, of = example.picture, example.tokens, f"example-{index + 1}"
    if pattern.across:
        picture, names, of = example.source_picture, example.source, f"{of}-source"
    if picture is None:
        return None
    found = over(picture, of, names, pattern.looked, "of the weight")
    return None if found is None else {**found, "signed": False, "digits": 2}


def stream_pictures(record: Record) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(stack, kind of stream) -> its map layer by layer over the clean input of the first pair, all on one scale; nothing where that is text."""
    scores, prompt = record.position_map, record.prompts[0] if record.prompts else None
    if scores is None or prompt is None or prompt.clean_picture is None:
        return {}
    picture, names = prompt.clean_picture, prompt.clean_tokens
    rows = _rows(scores, picture.stack, len(names))
    limit = max(
        (abs(v) for row in rows.values() for v, box in zip(row, picture.places, strict=False) if box), default=0.0
    )
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (kind, layer), row in list(rows.items())[:MOST_DRAWN]:
        heat = over(picture, "pair-1-clean", names, row, scores.provenance.unit, limit=limit)
        if heat is not None:
            found.setdefault((picture.stack, kind), []).append({"layer": layer, "heat": heat})
    return found


def _rows(scores: Scores, stack: str, n: int) -> dict[tuple[str, int], list[float]]:
    """(kind, layer) -> a score for each of `n` positions of one stack; nothing where positions are counted otherwise."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for node, mean in zip(cast("tuple[Node, ...]", scores.parts), scores.mean, strict=True):
        if isinstance(node.position, int) and node.stack == stack:
            found.setdefault((node.kind, node.layer or 0), {})[node.position] = float(mean)
    whole = {key: row for key, row in sorted(found.items()) if sorted(row) == list(range(n))}
    return {key: [row[i] for i in range(n)] for key, row in whole.items()}
