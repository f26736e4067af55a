"""What is printed of a run over features, and tables in narrow terminals."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from circuits.console import printing, run_results
from circuits.runs.record import Record
from tests.circuits.runs.feature_records import a_record


@pytest.fixture(scope="module")
def record() -> Record:
    return a_record()


def test_the_terminal_has_the_table(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(printing, "out", Console(file=heard, width=200))
    run_results.record(record, "report.html")
    told = heard.getvalue()
    assert "errors removed" in told and "neurons (of 2,048)" in told and "heads, MLPs (of 10)" in told
    row = next(line for line in told.splitlines() if line.startswith("│ 12 "))
    assert "60 % [58, 63]" in row and "50 % [48, 53]" in row and "30 % [28, 33]" in row and "│ - " in row
    assert run_results.record_json(record, "run")["features"]["looks"][0]["name"] == record.features.looks[0].name  # type: ignore[union-attr]


COLUMNS = ("site", "active features", "share")


def printed(columns: tuple[str, ...], rows: list[tuple[str, ...]], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    heard = io.StringIO()
    monkeypatch.setattr(printing, "out", Console(file=heard, width=width))
    printing.table("found", columns, rows)
    return heard.getvalue()


@pytest.mark.parametrize("width", [80, 55, 40, 30])
def test_tables_break_no_word_and_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Framed, without a frame, or as a list: every word of every cell is whole, and no line is wider than the terminal."""
    rows = [("mlp_normed.2-topk_transcoder", "12,288", "undefined: no harm"), ("[b]resid_post.1", "96", "0.93")]
    told = printed(COLUMNS, rows, width, monkeypatch)
    words = re.sub("[│┃]", " ", told).replace(",\n", " ").split()
    for cell in (*COLUMNS[1:], *(cell for row in rows for cell in row)):
        assert all(word in words or f"{word}," in words for word in cell.split()), (cell, told)
    assert max(map(len, told.splitlines())) <= width
    assert ("┃" in told) == (width == 80) and ("site" in told) == (width >= 55)


def test_agreement_of_features_fits_a_terminal_of_80_columns(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(printing, "out", Console(file=heard, width=80))
    run_results.agreements(record.agreements)
    told = heard.getvalue()
    assert max(map(len, told.splitlines())) <= 80
    for row in record.agreements[0].rows:
        (own,) = [line for line in told.splitlines() if re.match(rf"\W*relp\W+{re.escape(row.kind)} ", line)]
        assert f" {round(row.top_k * row.k)}/{row.k}" in own
        assert f" {'-' if row.pearson is None else f'{row.pearson:.3f}'} " in own
