"""What surrounds the numbers, as plain data: the prompts, the conventions, the manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from circuits.report.sections.pictures_section import pair_pictures
from circuits.runs.rule_use import said_rules
from circuits.terms.words import metric_name
from interp.formatting.numbers import MISSING, count, decimals, number

if TYPE_CHECKING:
    from circuits.anatomy.prompts import Prompt
    from interp.scores.provenance import Provenance
    from interp.scores.scores import Scores

BLOCK: Final = 18
DEEPEST: Final = 12
FIRST_KEYS: Final = ("command", "status", "versions", "model", "task", "conventions", "seconds", "created")
_UNITS: Final = {
    "forwards": "passes over the data",
    "backwards": "passes over the data",
    "seconds": "s",
    "n_pairs": "pairs",
}
_WORDS: Final = {
    "n_pairs": "pairs",
    "exact": "exact patching",
    "base_metric": "metric of the base run",
    "source_metric": "metric of the source run",
    "importance_sign": "sign of importance",
    "steps": "integration steps",
    "forwards": "forward passes",
    "backwards": "backward passes",
    "seconds": "time",
    "engine": "exact patching by",
}
_DIRECTIONS: Final = {
    "denoise": "Direction denoise: the clean activation is patched into the corrupt run, so the base is the corrupt run",
    "noise": "Direction noise: the corrupt activation is patched into the clean run, so the base is the clean run",
}


def direction_line(first: Provenance | None) -> str:
    """Direction and sign in one line."""
    if first is None:
        return ""
    edges = first.level == "edges"
    head = _DIRECTIONS.get(first.direction, f"Direction {first.direction}")
    if first.ablation != "counterfactual" and first.direction != "denoise":
        each = "What each edge carries in the clean run" if edges else "Each activation of the clean run"
        head = f"{each} is replaced in turn by {first.ablation} ablation (direction {first.direction})"
    elif edges:
        head = f"{head}; an edge is patched by changing what its sender wrote for its receiver alone"
    sign = "positive" if first.importance_sign > 0 else "negative"
    return f"{head}; a {sign} score means that the {'edge' if edges else 'component'} is important."


#: What belongs to one level, and means nothing at another.
_OF_LEVEL: Final = {"kv": ("edges", "qkv"), "split_positions": ("edges",), "dictionaries": ("features",)}


def conventions(scores: Scores) -> dict[str, Any]:
    """The fields of a provenance that apply, in words, with units; of a search how many parts it scored exactly."""
    provenance = scores.provenance
    units = _UNITS | {"base_metric": provenance.unit, "source_metric": provenance.unit}
    facts = [
        {"name": _WORDS.get(key, key.replace("_", " ")), "value": _said(key, value, units.get(key, ""), scores)}
        for key, value in asdict(provenance).items()
        if key != "pairs"
        and (key not in ("constants", "masks", "both_ways") or value)
        and (provenance.level in _OF_LEVEL.get(key, (provenance.level,)))
    ]
    return {"method": provenance.method, "facts": facts}


def rules_said(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each method with rules what these do to each operation of the model."""
    return [
        {"method": method, "facts": [{"name": operation, "value": done} for operation, done in own.items()]}
        for method, own in said_rules(manifest).items()
    ]


def _said(key: str, value: Any, unit: str, scores: Scores) -> str:
    """A convention in words."""
    if key == "exact" and scores.exact is not None:
        return f"{count(int(scores.exact.sum()))} of {count(len(scores.parts))}"
    if key == "attention" and value == "eager":
        return "eager in these runs, which read, change or redo attention; the model's own is back after each"
    if key == "n_pairs" and value == 1:
        return "1 pair"
    return _text(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, unit)


def _text(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        value = number(value, 0 if value.is_integer() else None)
    return f"{value} {unit}".strip()


def prompt_pair(prompt: Prompt, index: int) -> dict[str, Any]:
    """One pair: its tokens and attributions in lines of a length that fits the page."""
    return {
        "index": index + 1,
        "answers": list(prompt.answers),
        "wrong": list(prompt.wrong),
        "clean_metric": prompt.clean_metric,
        "corrupt_metric": prompt.corrupt_metric,
        "metric": metric_name(prompt.metric),
        "unit": prompt.unit,
        "methods": list(prompt.attributions),
        "blocks": _blocks(prompt),
        "pictures": pair_pictures(prompt, index),
    }


def _blocks(prompt: Prompt) -> list[dict[str, Any]]:
    n = max(len(prompt.clean_tokens), len(prompt.corrupt_tokens))
    clean, corrupt = _padded(prompt.clean_tokens, n), _padded(prompt.corrupt_tokens, n)
    segments = list(prompt.segments)
    found = {method: _padded(values, n) for method, values in prompt.attributions.items()}
    limits = {method: max((abs(v) for v in values if v is not None), default=0.0) for method, values in found.items()}
    # Long prompts go over several lines of about the same length.
    width = math.ceil(n / math.ceil(n / BLOCK)) if n else 1
    blocks = []
    for start in range(0, n, width):
        at = slice(start, start + width)
        rows = [
            {"method": m, "limit": limits[m], "digits": decimals([limits[m]], 3), "values": values[at]}
            for m, values in found.items()
        ]
        differs = [a != b for a, b in zip(clean[at], corrupt[at], strict=True)]
        tokens = {"clean": clean[at], "corrupt": corrupt[at], "differs": differs, "segments": segments[at]}
        blocks.append({"positions": list(range(start, min(n, start + width))), **tokens, "attributions": rows})
    return blocks


def _padded(values: Sequence[Any], n: int) -> list[Any]:
    return [*values[:n], *[None] * (n - len(values))]


def manifest_tree(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as plain data, the best known keys first."""
    keys = [key for key in FIRST_KEYS if key in manifest] + [key for key in manifest if key not in FIRST_KEYS]
    return {str(key): _rounded(key, plain(manifest[key])) for key in keys}


def _rounded(key: str, value: Any) -> Any:
    """Seconds with two digits, wherever they stand: more is noise."""
    if isinstance(value, dict):
        return {inner: _rounded(inner, own) for inner, own in value.items()}
    return round(value, 2) if key == "seconds" and isinstance(value, float) else value


def plain(value: Any, depth: int = 0) -> Any:
    """JSON types only; what is nested too deep or of another type becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if depth < DEEPEST and isinstance(value, Mapping):
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple):
        return [plain(inner, depth + 1) for inner in value]
    return str(value)
