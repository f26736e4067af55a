"""What every look leaves: files, a page that loads nothing and shows text as text, and nothing where it fails."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from circuits.jobs.looking.look import Found, look
from circuits.runs.directory import RunError
from circuits.runs.looked import Bars, HeatMap, Line, Lines, Looked, Number, Section, load_looked, rows_of_table
from circuits.settings.looking_options import LookOptions
from interp.errors import InterpError
from interp.formatting.table import Table, rows_of
from interp.formatting.text import visible

HOSTILE = "</script><script>alert(1)</script>\u202e<img src=http://evil/x onerror=alert(1)>\"'&\x00\n"


@dataclass(frozen=True, eq=False, repr=False)
class Tokens(Table):
    """A table of texts and numbers."""

    names: tuple[str, ...]
    values: tuple[float, ...]

    def to_pandas(self) -> Any:
        return rows_of({"token": list(self.names), "value": list(self.values), "n": range(len(self.names))})

    def __str__(self) -> str:
        return "Tokens"


def found(last: float = 2.0) -> Found:
    table = Tokens((HOSTILE, " a", "b"), (-1.0, 3.0, last))
    bars = Bars(names=table.names, values=table.values, unit=HOSTILE)
    heat = HeatMap(
        rows=("0", HOSTILE), columns=("x",), values=((1.0,), (None,)), unit="u", row_title="r", column_title=HOSTILE
    )
    lines = Lines(x=(0.0, 1.0), lines=(Line(HOSTILE, (1.0, None)), Line("b", (0.0, 2.0))), x_title=HOSTILE, y_title="y")
    rows = rows_of_table(table, order="value", tokens=("token",), most=2)
    sections = (
        Section(HOSTILE, (HOSTILE,), rows, bars),
        Section("heat", (), None, heat),
        Section("lines", (), None, lines),
    )
    return Found(
        Looked(HOSTILE, (HOSTILE, "two"), sections, (Number("largest_value", 3.0),)), {"tokens": table}, (3, 4)
    )


def test_a_look_leaves_its_files_and_a_page_that_shows_text_as_text(tmp_path: Path) -> None:
    out = tmp_path / "x"
    look(LookOptions(out=out, quiet=True), "statistics", lambda model, say: found())
    assert {p.name for p in out.iterdir()} == {
        "manifest.json",
        "config.toml",
        "looked.json",
        "tokens.parquet",
        "report.html",
    }
    assert Tokens.load(out / "tokens.parquet").values == (-1.0, 3.0, 2.0)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<img" not in page and "\u202e" not in page and "\x00" not in page
    assert "&lt;script&gt;alert(1)" in page and "⟨U+202E⟩" in page and "default-src 'none'" in page
    harmless = page.replace(str(escape(visible(HOSTILE))), "")
    assert not re.search(r"https?:|src=|url\(|@import|javascript:", harmless)
    assert set(re.findall(r'href="([^"]*)"', harmless)) == {"#main", "#run", *(f"#section-{i}" for i in (1, 2, 3))}
    assert page.count("<svg") == 3 and "The first 2 of 3 rows." in page and "·a" in page
    looked, manifest = load_looked(out)
    assert looked == found().looked
    assert manifest["job"] == "statistics" and manifest["multiply_adds"] == 0 and manifest["forwards_total"] == 0
    assert [line[1] for line in looked.sections[0].rows.lines] == [3.0, 2.0]  # type: ignore[union-attr]


def test_nothing_is_left_where_the_work_fails(tmp_path: Path) -> None:
    def fails(model: Any, say: Any) -> Found:
        raise InterpError("no such thing")

    for work, said in ((fails, "no such thing"), (lambda model, say: not_finite(), "is not finite")):
        with pytest.raises(InterpError, match=said):
            look(LookOptions(out=tmp_path / "x", quiet=True), "depth", work)
        assert not list(tmp_path.iterdir())


def not_finite() -> Found:
    good = found()
    return Found(Looked("t", (), (), (Number("x", float("nan")),)), good.tables)


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "x"
    look(LookOptions(out=out, quiet=True), "lens", lambda model, say: found())
    text = (out / "looked.json").read_text()
    data = json.loads(text)
    wrong = [
        text[:40],
        "[]",
        json.dumps({**data, "more": 1}),
        json.dumps({**data, "title": 3}),
        json.dumps(
            {**data, "sections": [{**data["sections"][0], "figure": {"names": ["a"], "values": [], "unit": "u"}}]}
        ),
        json.dumps({**data, "numbers": [{"name": "x"}]}),
        text.replace("3.0", "NaN"),
    ]
    for damaged in wrong:
        (out / "looked.json").write_text(damaged)
        with pytest.raises(RunError, match=r"looked\.json") as raised:
            load_looked(out)
        assert "\n" not in str(raised.value)
