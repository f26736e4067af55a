"""Two runs side by side: what is matched, what is refused, and what is said of the numbers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.comparison.matching import side_by_side
from circuits.runs.record import Record
from circuits.runs.record_files import save_record
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.runs.edge_records import edge_record
from tests.circuits.runs.records import a_record, an_evaluation
from tests.interp.scores.random_scores import head_nodes, provenance

HEADS = tuple(n for n in head_nodes() if n.kind != "embed")


def run_of(values: Any, parts: tuple[Node, ...] = HEADS, n: int = 4, **changes: Any) -> Record:
    """A run whose mean scores are these, with the circuit of the `n` largest."""
    mean = np.asarray(values, dtype=float)
    scores = Scores(parts, np.stack([mean - 1, mean + 1]), provenance("relp", pairs=("p", "q"), **changes))
    order = np.argsort(-np.abs(mean), kind="stable")
    chosen = tuple(parts[i] for i in order if parts[i].kind != "embed")[:n]
    p = scores.provenance
    circuit = Circuit(chosen, p.level, p.model, p.task, p.method, f"n={n}, absolute ranking", p.pairs)
    return Record({}, (scores,), circuit=circuit, evaluation=an_evaluation())


@pytest.fixture(scope="module")
def values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    first = rng.normal(size=len(HEADS)) ** 3
    return first, first + rng.normal(size=len(HEADS))


def ranks(numbers: list[float]) -> list[float]:
    """Average ranks, by counting."""
    return [sum(b < a for b in numbers) + (sum(b == a for b in numbers) + 1) / 2 for a in numbers]


def correlation(a: list[float], b: list[float]) -> float:
    """Pearson's r as it is defined."""
    x, y = sum(a) / len(a), sum(b) / len(b)
    top = sum((i - x) * (j - y) for i, j in zip(a, b, strict=True))
    return top / math.sqrt(sum((i - x) ** 2 for i in a) * sum((j - y) ** 2 for j in b))


def test_correlations_and_places_are_those_of_a_slow_count(values: tuple[np.ndarray, np.ndarray]) -> None:
    # The second side lacks two parts and scores the embedding, which is no part that a circuit chooses.
    a, b = values
    found = side_by_side(run_of(a), run_of([*b[2:], 99.0], (*HEADS[2:], Node("embed"))))
    ours, theirs = a[2:].tolist(), b[2:].tolist()
    assert found.n_common == len(HEADS) - 2
    assert found.pearson == pytest.approx(correlation(ours, theirs))
    assert found.spearman == pytest.approx(correlation(ranks(ours), ranks(theirs)))
    by_name = {row.part: row for row in found.rows}
    assert "embed" not in by_name
    for i, node in enumerate(HEADS):
        row = by_name[node.name]
        assert row.place_a == 1 + sum(abs(v) > abs(a[i]) for v in a)
        assert row.score_a == pytest.approx(a[i])
        if i < 2:
            assert (row.place_b, row.score_b, row.rise) == (None, None, None)
        else:
            assert row.place_b == 1 + sum(abs(v) > abs(b[i]) for v in b[2:])
            assert row.rise == row.place_a - row.place_b


def test_parts_in_both_and_in_one_only(values: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (run_of(v, n=9) for v in values)
    assert a.circuit and b.circuit
    first, second = ({p.name for p in c.parts} for c in (a.circuit, b.circuit))
    found = side_by_side(a, b)
    assert set(found.held("both")) == first & second
    assert set(found.held("a")) == first - second
    assert set(found.held("b")) == second - first
    assert found.comparison is not None
    assert found.comparison.jaccard == pytest.approx(len(first & second) / len(first | second))


def test_opposite_directions_compare_importances(values: tuple[np.ndarray, np.ndarray]) -> None:
    a, _ = values
    found = side_by_side(run_of(a), run_of(-a, direction="noise", importance_sign=-1))
    assert found.quantity == "importance" and found.pearson == pytest.approx(1.0)
    assert all(x == pytest.approx(y) for _, x, y in found.common)
    assert any("different direction" in warning for warning in found.warnings)


def test_a_side_without_signs_is_compared_by_size(values: tuple[np.ndarray, np.ndarray]) -> None:
    a, _ = values
    found = side_by_side(run_of(a), run_of(np.abs(a), unsigned=True))
    assert found.quantity == "size" and found.pearson == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model": "another"}, "model"),
        ({"positions": "each"}, "positions"),
    ],
)
def test_parts_that_mean_other_things_are_not_matched(
    values: tuple[np.ndarray, np.ndarray], change: dict[str, Any], word: str
) -> None:
    found = side_by_side(run_of(values[0]), run_of(values[1], **change))
    assert found.unmatched.startswith(f"different {word}")
    assert found.rows == () and found.comparison is None and found.common == ()
    assert any(warning.startswith(f"different {word}") for warning in found.warnings)
    assert "not compared" in found.render()


def test_weights_of_one_name_that_differ_are_not_matched(values: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (
        replace(run_of(v), manifest={"model": {"files": {"w": digest}}}) for v, digest in zip(values, "xy", strict=True)
    )
    assert side_by_side(a, b).unmatched.startswith("different weights")
    assert not side_by_side(a, a).unmatched


def test_nodes_and_edges_are_not_matched() -> None:
    assert side_by_side(a_record(), edge_record()).unmatched.startswith("different level")


def test_what_makes_numbers_hard_to_compare_is_warned_of(values: tuple[np.ndarray, np.ndarray]) -> None:
    a = run_of(values[0])
    b = replace(run_of(values[0], task="other", ablation="mean"), evaluation=an_evaluation(ablation="mean", n_pairs=7))
    words = [w.removeprefix("different ").split(" (")[0] for w in side_by_side(a, b).warnings]
    assert words == ["task", "ablation", "measure of faithfulness", "pairs evaluated"]
    assert side_by_side(a, a).warnings == ()


def test_a_circuit_file_beside_a_run(tmp_path: Path, values: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (run_of(v) for v in values)
    assert b.circuit is not None
    b.circuit.save(tmp_path / "b.json")
    found = side_by_side(a, tmp_path / "b.json")
    assert found.comparison is not None and found.comparison.size_b == 4
    assert found.unmixed == "a circuit alone has no scores"
    assert {f.name: f.b for f in found.facts}["metric"] is None
    assert not next(f for f in found.facts if f.name == "metric").differs
    page = found.render()
    assert "B has no evaluation" in page and "a circuit without a run" in page


def test_runs_read_from_disk_are_those_that_were_saved(tmp_path: Path) -> None:
    record = replace(a_record(), manifest={"format": 1, "status": "complete", "model": {"files": {"w": "x"}}})
    (tmp_path / "run").mkdir()
    save_record(tmp_path / "run", record)
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(record.manifest))
    names = ("a", "b")
    read, made = (
        side_by_side(tmp_path / "run", edge_record(), names=names),
        side_by_side(record, edge_record(), names=names),
    )
    assert read.to_dict() == made.to_dict() and read.facts == made.facts


def test_what_is_no_run_and_no_circuit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for given in (tmp_path / "missing", tmp_path / "x.json"):
        with pytest.raises(CircuitError, match=re.escape(str(given))):
            side_by_side(given, given)


def test_the_table_has_every_part_once(values: tuple[np.ndarray, np.ndarray]) -> None:
    table = side_by_side(*map(run_of, values)).to_pandas()
    assert sorted(table["part"]) == sorted(node.name for node in HEADS)
    best = table[["place_a", "place_b"]].min(axis=1)
    assert best.is_monotonic_increasing


def test_a_notebook_shows_places_and_harmless_text() -> None:
    record = a_record(lambda text: f"<b>{text}")
    shown = side_by_side(record, record, names=("<i>a", "b"))._repr_html_()
    assert "<i>" not in shown and "&lt;i&gt;a" in shown
    first = side_by_side(record, record).rows[0]
    assert first.part in shown and "Pearson" in shown and "SideBySide(" not in repr(side_by_side(record, record))


# ------------------------------------------------------------ the page


def test_scores_without_change_have_no_correlation() -> None:
    found = side_by_side(run_of(np.arange(1.0, len(HEADS) + 1)), run_of(np.ones(len(HEADS))))
    assert (found.pearson, found.spearman) == (None, None) and "undefined" in str(found)
