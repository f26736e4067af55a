"""The tables of docs/architectures.md that `measure_architectures.py` has measured: shares, reasons, and a row for each class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tables import code, markdown

ROWS: Final = Path(__file__).resolve().parent / "architectures.jsonl"
_COLUMNS: Final = {
    "built": "built",
    "loads": "loads",
    "reads": "reads and identity edits",
    "patching": "exact patching",
    "relp": "RelP conserves or is refused",
}
#: What a class lacks that loads as a net of its modules.
_BLOCKS: Final = "loads with blocks"
#: What of a reason is a model's own: paths, class names in front, numbers.
_OWN: Final = (
    (re.compile(r"^\w+(?=: )"), "…"),
    (re.compile(r"\b[\w.]*\.\d+(\.[\w.]+)*|\b(\w+\.)+(layers|blocks|h|layer|stages)\b[\w.]*"), "…"),
    (re.compile(r"Found: .*"), ""),
    (re.compile(r"\[[\d, ]+\]"), "[…]"),
    (re.compile(r"off by [\d.e+-]+"), "off by …"),
    (re.compile(r"\b\d+(\.\d+)?\b"), "…"),
    (re.compile(r"…(, …)+"), "…"),
)
_LONGEST: Final = 240

Row = dict[str, str]


def read_rows(path: Path = ROWS) -> list[Row]:
    """What was measured, a row for each class of each mapping."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shares(path: Path = ROWS) -> str:
    """Of all classes of each mapping the share for which each column holds, those that were not built included."""
    found = read_rows(path)
    mappings = list(dict.fromkeys(row["mapping"] for row in found))
    groups = [(name, [row for row in found if row["mapping"] == name]) for name in mappings]
    table = []
    for name, own in (*groups, ("all", found)):
        counts = [f"{n} ({n / len(own):.0%})" for n in (sum(map(_holds(column), own)) for column in _COLUMNS)]
        conserve, nets = sum(row["relp"] == "yes" for row in own), sum(row["loads"] == "modules" for row in own)
        counts[1] += f"; {nets} as nets" if nets else ""
        table.append((name, len(own), *counts[:-1], f"{counts[-1]}; {conserve} conserve"))
    return markdown(("mapping", "classes", *_COLUMNS.values()), table)


def _holds(column: str) -> Callable[[Row], bool]:
    return lambda row: row[column] not in (("no",) if column == "built" else ("no", "-"))


def reasons() -> str:
    """What does not hold, blocks and then the first of the columns, grouped by its reason with names and numbers left out, the most frequent
    first."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in read_rows():
        if row["blocks"]:
            found.setdefault((_BLOCKS, _grouped(row["blocks"])), []).append(row["class"])
        if row["why"]:
            failed = next(column for column in _COLUMNS if not _holds(column)(row))
            found.setdefault((_COLUMNS[failed], _grouped(row["why"])), []).append(row["class"])
    order = ["built", _BLOCKS, *list(_COLUMNS.values())[1:]]
    ordered = sorted(found.items(), key=lambda item: (order.index(item[0][0]), -len(item[1]), item[0][1]))
    table = [(what, len(names), _text(why), _some(names)) for (what, why), names in ordered]
    return markdown(("does not hold", "classes", "because", "of"), table)


def _grouped(why: str) -> str:
    for pattern, instead in _OWN:
        why = pattern.sub(instead, why)
    why = " ".join(why.split())
    return why if len(why) <= _LONGEST else f"{why[:_LONGEST]}…"


def _text(why: str) -> str:
    """A reason as plain text of a page."""
    return re.sub(r"([*_<>\[\]`~#])", r"\\\1", why)


def _some(names: Sequence[str]) -> str:
    """The classes, each once, six by name."""
    each = list(dict.fromkeys(names))
    return code(each[:6]) + (f" and {len(each) - 6} more" if len(each) > 6 else "")


def classes() -> str:
    """A line for each class: what holds of it."""
    marks = {word: word for word in ("no", "-", "refused")} | {"modules": "as a net"}
    table = [
        (row["mapping"], f"`{row['class']}`", *(marks.get(row[column], "yes") for column in _COLUMNS))
        for row in read_rows()
    ]
    return markdown(("mapping", "class", *_COLUMNS.values()), table)
