"""Circuits of features evaluated: errors kept and removed, and what a circuit says of its dictionaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import discover, ranked
from circuits.evaluation.areas import ranking_areas
from circuits.evaluation.assessment import assess
from circuits.evaluation.faithfulness import evaluate
from circuits.evaluation.hypotheses import sufficiency
from circuits.evaluation.minimality import leave_one_out
from circuits.evaluation.ratio import measure
from circuits.evaluation.running.feature_runner import with_silent
from circuits.evaluation.smallest import find_smallest
from interp.errors import InterpError
from interp.parts.nodes import Node
from tests.circuits.evaluation.running.test_feature_runner import runner
from tests.interp.attribution.features.given_dictionaries import given, rotated, stub
from tests.interp.dictionaries.random_dictionaries import made


def test_a_complete_basis_needs_no_errors() -> None:
    """Closed form: with features that make up the stream, all of them are the model, errors kept or removed alike."""
    model, task = stub()
    dictionaries = {"resid_post.0": rotated("resid_post.0"), "resid_post.1": rotated("resid_post.1", 1)}
    scores = interp.attribute(model, task, method="atp", level="features", dictionaries=dictionaries)
    assert abs(scores["resid_post.0.error"]) < 1e-12
    everything = discover(scores, n=len(ranked(scores)))
    found = {
        e: evaluate(model, task, everything, dictionaries=dictionaries, errors=e, n_random=2)
        for e in ("kept", "removed")
    }
    for errors, one in found.items():
        assert one.errors == errors and one.counts == "features"
        assert one.faithfulness.value == pytest.approx(1, abs=1e-9)
        assert one.completeness.value == pytest.approx(0, abs=1e-9)
    some = discover(scores, n=5)
    kept, removed = (evaluate(model, task, some, dictionaries=dictionaries, errors=e, n_random=2) for e in found)
    assert kept.faithfulness.value == pytest.approx(removed.faithfulness.value, abs=1e-9)
    assert kept.curve[-1].faithfulness.value != 1


def test_errors_alone_tell_kept_from_removed() -> None:
    """f of all features: 1 with errors kept, not so without; the whole and the empty model are the same for both."""
    model, task = stub()
    dictionaries = given(model)
    kept = runner(model, task, dictionaries)
    removed = kept.with_errors("removed")
    everything = frozenset(kept.parts)
    a, b = (measure(r, [everything, frozenset()]) for r in (kept, removed))
    assert a.ends == b.ends
    assert a.value(everything) == 1 and b.value(everything) != pytest.approx(1, abs=1e-3)
    assert b.value(frozenset()) == 0 and a.value(frozenset()) != pytest.approx(0, abs=1e-3)
    assert kept.errors == "kept" and len(kept.held) == 4 and not removed.held


def test_a_circuit_says_whose_features_it_holds(tmp_path: Path) -> None:
    model, task = stub()
    dictionaries = given(model)
    scores = interp.attribute(model, task, method="relp", level="features", dictionaries=dictionaries)
    circuit = discover(scores, n=4)
    assert circuit.dictionaries == scores.provenance.dictionaries and len(circuit.dictionaries) == 4
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == circuit
    other = dictionaries | {"resid_post.0": made("resid_post.0", 32, seed=9, dtype=torch.float64)}
    with pytest.raises(CircuitError, match=r"belong to other dictionaries: given resid_post.0"):
        evaluate(model, task, circuit, dictionaries=other)
    with pytest.raises(CircuitError, match=r"expected z.1"):
        evaluate(model, task, circuit, dictionaries={k: v for k, v in dictionaries.items() if k != "z.1"})
    with pytest.raises(InterpError, match="needs dictionaries"):
        evaluate(model, task, circuit)
    theirs = interp.attribute(model, task, method="relp", level="features", dictionaries=other)
    with pytest.raises(CircuitError, match="other dictionaries"):
        evaluate(model, task, circuit, scores=theirs, dictionaries=dictionaries)


def test_everything_that_judges_circuits_judges_features(tmp_path: Path) -> None:
    """assess: both evaluations, tests, minimality, areas to the whole model; random circuits keep the numbers per kind."""
    model, task = stub()
    dictionaries = given(model)
    half, rest = task.split(0)
    scores = interp.attribute(model, half, method="relp", level="features", dictionaries=dictionaries)
    circuit = discover(scores, n=3)
    found = assess(model, rest, circuit, scores, n_random=2, n_tests=3, dictionaries=dictionaries)
    found.save(tmp_path / "assessment.json")
    assert type(found).load(tmp_path / "assessment.json") == found and found.without_errors is not None
    assert found.evaluation.errors == "kept" and found.without_errors.errors == "removed"
    assert found.evaluation.full == found.without_errors.full and found.evaluation.empty == found.without_errors.empty
    assert found.minimality is not None and len(found.minimality.removals) == 3
    assert found.areas is not None and found.areas.absolute.points[-1].size == found.areas.n_parts
    if not found.areas.reason:
        assert found.areas.absolute.points[-1].faithfulness.value == pytest.approx(1, abs=1e-9)
    own: Any = {"dictionaries": dictionaries, "errors": "removed"}
    least = leave_one_out(model, rest, circuit, **own)
    assert least.faithfulness.value == pytest.approx(found.without_errors.faithfulness.value, abs=1e-12)
    assert sufficiency(model, rest, circuit, n_random=2, **own).statistic == pytest.approx(
        abs(1 - (found.without_errors.faithfulness.value or 0)), abs=1e-12
    )
    areas = ranking_areas(model, rest, scores, n_random=1, **own)
    assert areas.absolute.points[-1].faithfulness.value != pytest.approx(1, abs=1e-3)
    silent = with_silent(scores, (*scores.parts, Node("z.feature", 1, 23), Node("z.feature", 1, 22)))
    assert silent.per_example[:, len(scores.parts) :].sum() == 0
    assert silent.provenance == scores.provenance


def test_the_smallest_faithful_top_is_faithful() -> None:
    model, task = stub()
    dictionaries = {"resid_post.1": rotated("resid_post.1")}
    scores = interp.attribute(model, task, method="atp", level="features", dictionaries=dictionaries)
    found = find_smallest(model, task, scores, dictionaries=dictionaries, errors="removed")
    assert found.size is not None and found.counts == "features"
    own = evaluate(model, task, discover(scores, n=found.size), dictionaries=dictionaries, errors="removed", n_random=1)
    assert own.faithfulness.value is not None and own.faithfulness.value >= 0.9
