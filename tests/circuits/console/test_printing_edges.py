"""What is printed of a run over edges."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from circuits.console import printing, run_results
from circuits.runs.record import Record
from circuits.terms.words import kind_name
from interp.formatting.numbers import percent_interval
from tests.circuits.runs.edge_records import edge_record
from tests.circuits.runs.records import a_record, searched_record
from tests.circuits.runs.test_finding_edges import with_rows


@pytest.fixture(scope="module")
def record() -> Record:
    return edge_record()


def test_agreement_on_a_terminal_of_80_columns_has_a_line_per_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(printing, "out", Console(file=heard, width=80))
    kinds = [("all", 479, 0.9), ("embed->logits", 1, 0.9), ("head->q", 96, -0.31), ("head->v", 96, 0.52)]
    run_results.agreements(with_rows(*kinds).agreements)
    told = heard.getvalue().splitlines()
    assert max(map(len, told)) <= 80 and told[0].strip() == "agreement of relp with exact patching"
    for kind, n, r in kinds:
        (own,) = [line for line in told if line.startswith(f"{kind} ")]
        assert f" {n} " in own and (n < 8 or f"{r:.3f} [{r - 0.05:.2f}, {r + 0.04:.2f}]" in own)


def printed(record: Record, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The cells of every row that is printed."""
    monkeypatch.setattr(printing, "out", Console(file=io.StringIO(), width=200))
    run_results.record(record, "somewhere")
    text = printing.out.file.getvalue()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines()]


def test_terminal_lists_edges_and_the_size_of_the_circuit(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = printed(record, monkeypatch)
    scores = record.scores[0]
    assert record.circuit is not None and record.evaluation is not None
    for i in scores.rank()[:10]:
        name = scores.edges[i].name
        _, mean, bounds, known, inside = next(row for row in rows if row[:1] == [name])
        low, high = (float(text) for text in bounds.replace("−", "-").strip("[]").split(","))
        assert float(mean.replace("−", "-")) == pytest.approx(scores.mean[i], abs=0.005)
        assert (low + high) / 2 == pytest.approx(scores.mean[i], abs=0.006)
        assert (high - low) / 2 == pytest.approx(1.96 * scores.stderr[i], abs=0.006)
        assert (known, inside) == ("estimated", "yes")
    assert ["edges", "30 of 479"] in rows
    assert ["nodes that they join", str(len(record.circuit.nodes))] in rows
    for kind in ("head->q", "mlp->logits"):
        n = sum(edge.kind == kind for edge in record.circuit.edges)
        assert ([kind_name(kind), str(n)] in rows) == (n > 0)
    f = record.evaluation.faithfulness
    assert ["faithfulness", percent_interval(f.value, f.low, f.high)] in rows


def test_terminal_without_an_evaluation(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = printed(replace(record, evaluation=None), monkeypatch)
    assert ["edges", "30"] in rows and not any(row[:1] == ["faithfulness"] for row in rows)
    assert not any(row[:1] == ["nodes that they join"] for row in printed(a_record(), monkeypatch))


def test_searches_have_a_table_of_their_own_and_no_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in printed(searched_record(), monkeypatch) if row[:1] in (["learned"], ["relp"], ["method"])]
    heads, learned, relp = ([r for r in rows if r[0] == name] for name in ("method", "learned", "relp"))
    assert {len(row) for row in learned} == {len(heads[1])} and {len(row) for row in relp} == {len(heads[0])}
    top = next(row for row in printed(searched_record(), monkeypatch) if row[3:4] == ["an order, no estimate"])
    assert top[1:3] != ["", ""]
    assert "Pearson [95 %]" in heads[0] and "Pearson [95 %]" not in heads[1]
    said = run_results.record_json(searched_record(), "somewhere")
    assert set(said["searches"]) == {"learned", "iterated"} and said["searches"]["iterated"]["unit"] == "rounds kept"
    assert not set(said["agreement"]) & set(said["searches"])
