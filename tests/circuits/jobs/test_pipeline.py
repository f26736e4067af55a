"""The main job: what is held out, what is sampled, what is warned about, and what a run reads back as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from circuits.anatomy import exact_check
from circuits.anatomy.overview import measure_accuracy
from circuits.jobs import pipeline
from circuits.jobs.pipeline import run_comparison, run_discovery
from circuits.runs.directory import complete, finished, open_run
from circuits.runs.record_files import load_record, save_record
from circuits.settings.prepared import Settings, prepare_run
from interp.attribution.request import attribute
from interp.errors import EditError
from interp.ledger import counting
from interp.model.edits import patch
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.tasks.find import task as find_task
from interp.tasks.task import Task


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


@pytest.fixture(scope="module")
def gender(demo: HookedModel) -> Task:
    return find_task("gender", demo, n=16)


def _quiet(message: str) -> None:
    return None


def test_a_run_reads_back_as_it_was(demo: HookedModel, gender: Task, tmp_path: Path) -> None:
    settings = Settings(methods=("relp", "gim", "atp"), n=3, n_random=2)
    found = run_discovery(prepare_run(demo, gender, settings), {"job": "discover"}, _quiet)
    with open_run(tmp_path / "r", {"job": "discover"}) as folder:
        save_record(folder, found)
        complete(folder, finished({"job": "discover"}))
    again = load_record(tmp_path / "r")
    assert again.circuit == found.circuit and again.evaluation == found.evaluation
    assert again.agreements == found.agreements and again.prompts == found.prompts
    assert again.accuracy == found.accuracy and again.position_labels == found.position_labels
    assert [s.provenance for s in again.scores] == [s.provenance for s in found.scores]


def test_a_search_is_judged_by_what_it_scored_exactly(demo: HookedModel, gender: Task, tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(level="edges", budget="20F", chance=0.2, n=3, n_random=1)
    found = run_discovery(prepare_run(demo, gender, settings), {"job": "discover"}, said.append)
    auto, *tried = found.scores
    assert auto.search is not None and auto.exact is not None and found.exact is not None
    certificate = auto.search.certificate
    assert certificate.outside and certificate.n == 3 and certificate.chance == 0.2 and str(certificate) in said
    assert [s.provenance.method for s in tried] == list(auto.search.tried) == [a.method for a in found.agreements]
    assert [p.name for p in found.exact.parts] == [p.name for p, e in zip(auto.parts, auto.exact, strict=True) if e]
    assert all(f"{len(found.exact.parts)} of {len(auto.parts)} edges" in a.sampled for a in found.agreements)
    with open_run(tmp_path / "r", {"job": "discover"}) as folder:
        save_record(folder, found)
        complete(folder, finished({"job": "discover"}))
    again = load_record(tmp_path / "r")
    assert again.scores[0].search == auto.search and again.agreements == found.agreements
    assert again.scores[0].exact is not None and (again.scores[0].exact == auto.exact).all()


def test_comparing_a_search_judges_it_by_exact_patching_of_its_own(demo: HookedModel, gender: Task) -> None:
    settings = Settings(methods=("relp", "auto"), budget="6F", hold_out=False)
    found = run_comparison(prepare_run(demo, gender, settings), {}, _quiet)
    assert [s.provenance.method for s in found.scores] == ["relp", "auto"]
    assert found.exact is not None and len(found.exact.parts) == len(found.scores[0].parts)
    relp, auto = found.agreements
    assert auto.method == "auto" and (auto["all"].pearson or 0) >= (relp["all"].pearson or 0) - 1e-9


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_what_a_search_patched_is_not_patched_again(demo: HookedModel, gender: Task, level: str) -> None:
    with counting() as ledger:
        found = run_comparison(
            prepare_run(demo, gender, Settings(methods=("relp", "auto"), level=level, hold_out=False)), {}, _quiet
        )
    plain = Settings(methods=("relp", "exact"), level=level, hold_out=False)
    expected = run_comparison(prepare_run(demo, gender, plain), {}, _quiet)
    assert "checking" not in ledger.spent and ledger.spent["scoring"] > 0
    assert found.exact is not None and expected.exact is not None
    same = expected.exact.select_components({part.name for part in found.exact.parts})
    assert found.exact.parts == same.parts and np.array_equal(found.exact.per_example, same.per_example)
    relp, auto = found.agreements
    assert auto["all"].pearson == pytest.approx(1.0)
    if level == "edges":  # so many that the check is of a sample
        assert (
            len(same.parts) < len(expected.exact.parts) and "of 479 edges: the top 40 of each ranking" in relp.sampled
        )
    else:
        assert len(same.parts) == len(expected.exact.parts) and relp.rows == expected.agreements[0].rows


def test_what_is_found_exactly_costs_what_patching_cost(demo: HookedModel, gender: Task) -> None:
    """Not what the estimates cost that a search also made."""
    found = attribute(demo, gender, method="auto", level="heads")
    exact = attribute(demo, gender, method="exact", level="heads")
    known = found.known().provenance
    assert (known.forwards, known.backwards) == (pytest.approx(exact.provenance.forwards), 0)
    assert found.provenance.forwards > known.forwards and found.provenance.backwards > 0


def test_a_search_that_left_parts_is_checked_by_patching_them(demo: HookedModel, gender: Task) -> None:
    settings = Settings(methods=("relp", "auto"), level="neurons", budget="6F", hold_out=False)
    with counting() as ledger:
        found = run_comparison(prepare_run(demo, gender, settings), {}, _quiet)
    auto = next(s for s in found.scores if s.search)
    assert auto.exact is not None and not auto.exact.all() and found.exact is not None
    assert ledger.spent["checking"] > 0 and len(found.exact.parts) > auto.exact.sum()


def test_exact_is_a_stated_sample_where_nodes_are_many(
    demo: HookedModel, gender: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_check, "EXACT_LIMIT", 10)
    monkeypatch.setattr(exact_check, "SAMPLE", 3)
    found = run_comparison(prepare_run(demo, gender, Settings(methods=("atp", "relp"), hold_out=False)), {}, _quiet)
    assert found.exact is not None
    names = {node.name for node in found.exact.parts}
    assert len(names) < len(found.scores[0].parts)
    for scores in found.scores:
        assert names >= {name for name, _ in scores.top(3)}
    assert all(f"{len(names)} of" in a.sampled for a in found.agreements)


def test_the_default_circuit_is_the_smallest_faithful_one(demo: HookedModel, gender: Task) -> None:
    """One node fewer is below the target on the scored pairs, and the chosen size is not."""
    from circuits.circuit.selection import discover
    from circuits.evaluation.faithfulness import evaluate

    job = prepare_run(demo, gender, Settings(methods=("relp",)))
    scores = job.request.score()["relp"]
    chosen, _ = pipeline.choose_circuit(job, scores, _quiet)
    sizes = [size for size in (len(chosen) - 1, len(chosen)) if size > 0]
    curve = evaluate(demo, job.scoring, discover(scores, n=len(chosen)), sizes=sizes, n_random=1).curve
    values = [point.faithfulness.value for point in curve]
    assert values[-1] is not None and values[-1] >= pipeline.TARGET
    if len(values) > 1:
        assert values[0] is not None and values[0] < pipeline.TARGET


def test_the_default_circuit_of_greedy_is_its_shortest_faithful_beginning(demo: HookedModel, gender: Task) -> None:
    """Judged again by `evaluate`: the chosen beginning of the greedy order is faithful, and one edge fewer is not."""
    from circuits.circuit.selection import discover, greedy
    from circuits.evaluation.faithfulness import evaluate

    job = prepare_run(demo, gender, Settings(methods=("relp",), level="edges", algorithm="greedy"))
    scores = job.request.score()["relp"]
    chosen, _ = pipeline.choose_circuit(job, scores, _quiet)
    assert chosen.edges == tuple(scores.edges[i] for i in greedy(scores)[: len(chosen)]) and len(chosen) > 1
    values = [
        evaluate(demo, job.scoring, circuit, n_random=1, sizes=[]).faithfulness.value
        for circuit in (discover(scores, n=n, algorithm="greedy") for n in (len(chosen) - 1, len(chosen)))
    ]
    assert values[0] is not None and values[1] is not None
    assert values[0] < pipeline.TARGET <= values[1]


def test_a_task_that_the_model_cannot_do_warns(demo: HookedModel, gender: Task) -> None:
    from dataclasses import replace

    said: list[str] = []
    reversed_pairs = tuple(replace(p, answers=p.wrong, wrong=p.answers) for p in gender.pairs)
    accuracy = measure_accuracy(demo, Task("upside down", reversed_pairs), said.append)
    assert accuracy["clean"] < 0.5 and any("WARNING" in line for line in said)
    said.clear()
    assert measure_accuracy(demo, gender, said.append)["clean"] > 0.9 and not said


def test_a_patch_of_the_wrong_shape_says_so(demo: HookedModel) -> None:
    with pytest.raises(EditError, match="broadcasts"):
        demo.run("When", edits=[patch("resid_pre.0", torch.zeros(3, 5, 7))])
