"""The command line at level edges, and the commands that judge and exchange circuits."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuits
import interp
from circuits.anatomy import exact_check
from circuits.circuit.circuit import Circuit
from circuits.cli import app
from circuits.runs.record_files import load_record
from interp.demo import path as demo_path
from interp.scores.scores import Scores
from interp.tasks.pairs.token_pairs import digest
from tests.circuits.cli.called import Run, calling

SMALL = ("--task", "gender", "--limit", "8", "--random", "2", "--quiet")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits ARGS` in an empty folder, with a small exact sample: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exact_check, "SAMPLE", 5)
    monkeypatch.setattr(exact_check, "EDGE_SAMPLE", 10)
    return calling(monkeypatch, capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of edges on a copy of the embedded model, made once."""
    root = tmp_path_factory.mktemp("edges")
    shutil.copytree(demo_path(), root / "model")
    args = ["--model", str(root / "model"), "--level", "edges", "--method", "relp"]
    args += ["--n", "6", "--out", str(root / "run"), *SMALL]
    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit) as stopped:
        patched.setattr(exact_check, "SAMPLE", 5)
        patched.setattr(exact_check, "EDGE_SAMPLE", 10)
        patched.setattr(sys, "argv", ["circuits", "discover", *args])
        app.main()
    assert not stopped.value.code
    return root / "run"


# ---------------------------------------------------------------- bad input

BAD = {
    "kv of heads": (["discover", "--kv", "shared"], "kv: for level 'edges' only"),
    "positions of heads": (["discover", "--split-positions"], "split-positions: for level 'edges' only"),
    "heads at positions": (["discover", "--positions", "each"], "circuits at positions are those of edges"),
    "auto at positions": (["discover", "--level", "edges", "--positions", "end"], "or a method by name"),
    "pruned heads": (["discover", "--prune"], "prune: for level 'edges' only"),
    "greedy heads": (["discover", "--algorithm", "greedy"], "works at level edges"),
    "kv of a comparison of heads": (["compare", "--kv", "split"], "kv: for level 'edges' only"),
    "no such algorithm": (["discover", "--level", "edges", "--algorithm", "gredy"], "Did you mean greedy"),
    "no such kv": (["discover", "--level", "edges", "--kv", "both"], "split"),
    "tau without acdc": (["discover", "--level", "edges", "--tau", "0.1"], "tau belongs to method acdc"),
    "acdc with denoise": (
        ["discover", "--level", "edges", "--method", "acdc", "--direction", "denoise"],
        "direction='noise'",
    ),
    "method of edges at heads": (["discover", "--method", "eap"], "scores edges"),
    "more edges than there are": (["discover", "--level", "edges", "--n", "100000"], "n=100000"),
    "evaluate nothing": (["evaluate", "nowhere.json"], "cannot be read"),
    "evaluate an empty folder": (["evaluate", "empty"], "not a run directory"),
    "evaluate without a model": (["evaluate", "circuit.json"], "--model"),
    "evaluate without a model, with a task": (["evaluate", "circuit.json", "--task", "ioi"], "give --model, for"),
    "evaluate without a task": (["evaluate", "circuit.json", "--model", "demo"], "--task"),
    "evaluate with no such scores": (["evaluate", "circuit.json", "--scores", "none.parquet"], "none.parquet"),
    "evaluate onto a file": (["evaluate", "circuit.json", "--out", "taken.json"], "--force"),
    "evaluate into no folder": (["evaluate", "circuit.json", "--out", "none/a.json"], "does not exist"),
    "stability of nothing": (["stability", "nowhere"], "nowhere"),
    "stability of scores on splits": (["stability", "scores.parquet", "--splits", "2"], "needs a run directory"),
    "truth of nothing": (["truth", "empty"], "no known circuit"),
    "export of nothing": (["export", "nowhere", "--to", "dot", "--out", "x.dot"], "nowhere"),
    "export to no format": (["export", "circuit.json", "--to", "doc", "--out", "x.dot"], "Did you mean dot"),
    "export onto a file": (["export", "circuit.json", "--to", "dot", "--out", "taken.json"], "exists"),
    "import of nothing": (["import", "nowhere.graphml", "--out", "x"], "does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_2_and_writes_nothing(case: str, run: Run, tmp_path: Path) -> None:
    args, said = BAD[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.json").write_text("years of work")
    Circuit((), "edges", "demo", "gender", "relp", "none").save(tmp_path / "circuit.json")
    before = {p: p.read_bytes() if p.is_file() else None for p in sorted(tmp_path.rglob("*"))}
    code, out, err = run(*args, *(["--quiet"] if args[0] in ("discover", "compare", "evaluate") else []))
    assert code == 2 and out == "", err
    assert err.count("\n") == 1 and err.startswith("circuits: ") and said in err, err
    assert {p: p.read_bytes() if p.is_file() else None for p in sorted(tmp_path.rglob("*"))} == before


# ---------------------------------------------------------------- the main job


def test_a_run_of_edges_is_complete_and_says_what_it_sampled(finished: Path) -> None:
    record = load_record(finished)
    assert record.circuit is not None and record.evaluation is not None and record.exact is not None
    assert len(record.circuit.edges) == 6 and record.evaluation.counts == "edges" and record.evaluation.held_out
    names = {edge.name for edge in record.exact.edges}
    assert {name for name, _ in record.scores[0].top(5)} <= names and 10 <= len(names) <= 15
    (agreed,) = record.agreements
    assert f"{len(names)} of {len(record.scores[0].parts)} edges" in agreed.sampled and "10 random" in agreed.sampled
    options = record.manifest["options"]
    assert options["algorithm"] == "top" and options["prune"] is False
    assert record.manifest["conventions"]["kv"] == "shared"
    assert "edges" in (finished / "report.html").read_text(encoding="utf-8")


def test_options_of_edges_reach_scores_circuit_and_manifest(run: Run, tmp_path: Path) -> None:
    options = ["--kv", "split", "--split-positions", "--algorithm", "greedy", "--prune", "--n", "9"]
    code, out, err = run("discover", "--level", "edges", "--method", "eap", "--out", "r", "--json", *options, *SMALL)
    assert code == 0 and err == ""
    record = load_record(tmp_path / "r")
    assert record.circuit is not None and json.loads(out)["circuit"] == [e.name for e in record.circuit.edges]
    assert (record.circuit.kv, record.circuit.split_positions) == ("split", True)
    assert any(e.sender.kind == "pos_embed" for e in record.scores[0].edges)
    assert record.circuit == circuits.discover(record.scores[0], n=9, algorithm="greedy", prune=True)
    conventions = record.manifest["conventions"]
    assert (conventions["kv"], conventions["split_positions"]) == ("split", True)
    assert record.position_map is not None and record.position_map.provenance.method == "atp"


def test_the_method_that_is_chosen_is_said_and_kept(run: Run, tmp_path: Path) -> None:
    """In the words of the run, in its manifest with the method that ran, and in splits that are found as it was."""
    small = ("--task", "gender", "--limit", "8", "--random", "2", "--n", "6")
    code, _, err = run("discover", "--level", "edges", "--out", "e", *small)
    assert code == 0 and "method: exact, as exact patching of all 479 edges may cost" in err
    record = load_record(tmp_path / "e")
    assert record.manifest["options"]["methods"] == ["exact"] and record.scores[0].provenance.exact
    code, _, err = run("discover", "--level", "edges", "--budget", "52F", "--out", "p", *small)
    assert code == 0 and "method: portfolio, as exact patching of all 479 edges may cost" in err
    assert "portfolio: " in err and "|1 - f| of circuits of 1, 2, 5, 10, 20, 50 % of the parts" in err
    record = load_record(tmp_path / "p")
    assert record.manifest["options"]["methods"] == ["portfolio"]
    assert record.scores[0].provenance.masks in (tmp_path / "p" / "report.html").read_text(encoding="utf-8")
    code, out, err = run("stability", "p", "--splits", "1", "--json")
    assert code == 0 and err == "" and "portfolio" in out


@pytest.mark.parametrize("positions", ["end", "each"])
def test_a_circuit_at_positions_is_found_judged_and_drawn(positions: str, run: Run, tmp_path: Path) -> None:
    """`each` takes prompts of one length, for both commands."""
    where = ["--level", "edges", "--method", "relp", "--positions", positions, "--prune", "--n", "40"]
    code, _, err = run("discover", *where, "--out", "r", *SMALL)
    assert code == 0, err
    record = load_record(tmp_path / "r")
    found = record.circuit
    assert found is not None and found.positions == positions and set(found.labels) == set(record.scores[0].positions())
    assert record.evaluation is not None and record.evaluation.n_nodes == len(record.scores[0].parts)
    assert found == circuits.discover(record.scores[0], n=40, prune=True)
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert f"which are {len(found)} at positions or spans" in page and f"@{found.labels[-1]}" in page
    code, out, err = run("evaluate", "r", "--random", "2", "--tests", "2", "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)["evaluation"]["faithfulness"] == pytest.approx(asdict(record.evaluation.faithfulness))
    code, _, err = run("export", "r", "--to", "eap-ig", "--out", "x.json")
    assert code == 2 and "have no positions" in err


def test_tau_gives_the_circuit_that_acdc_leaves(run: Run, tmp_path: Path) -> None:
    args = ["--level", "edges", "--method", "acdc", "--direction", "noise", "--tau", "1.0", "--out", "r"]
    code, _, err = run("discover", *args, "--task", "gender", "--limit", "2", "--random", "1", "--quiet", "--json")
    assert code == 0, err
    record = load_record(tmp_path / "r")
    scores = record.scores[0]
    kept = {e for e, mean in zip(scores.edges, scores.mean, strict=True) if abs(mean) >= 1.0}
    assert record.circuit is not None and set(record.circuit.edges) == kept and 0 < len(kept) < len(scores.edges)


def test_compare_edges_prints_agreement_of_its_default_methods(run: Run) -> None:
    code, out, err = run("compare", "--level", "edges", "--task", "gender", "--limit", "4", "--json", "--quiet")
    assert code == 0, err
    assert set(json.loads(out)["agreement"]) == {"eap", "relp", "relp-ah", "eap-ig", "relp-ig"}


# ---------------------------------------------------------------- evaluate, stability, truth


def test_evaluate_a_run_takes_its_model_scores_and_held_out_pairs(finished: Path, run: Run, tmp_path: Path) -> None:
    args = ("evaluate", str(finished), "--random", "2", "--tests", "5", "--quiet", "--out", "a.json")
    code, out, err = run(*args, "--json")
    assert code == 0 and err == ""
    said = json.loads(out)
    assert said == json.loads((tmp_path / "a.json").read_text())
    record = load_record(finished)
    assert record.evaluation is not None
    assert said["evaluation"]["faithfulness"]["value"] == pytest.approx(record.evaluation.faithfulness.value)
    assert said["evaluation"]["held_out"] is True and said["evaluation"]["n_pairs"] == 4
    assert said["areas"]["method"] == "relp" and len(said["minimality"]["removals"]) == 6
    again = circuits.Assessment.load(tmp_path / "a.json")
    code, out, _ = run(*args, "--force")
    assert code == 0 and out == f"{again}\nwritten: a.json\n" and "without " in out and "f falls by" in out
    code, out, _ = run(*args[:-1], "ev.html")
    assert code == 0 and out.endswith("\npage: ev.html\n") and (tmp_path / "ev.html").is_file()


def test_constants_are_learned_again_on_the_scored_pairs(run: Run, tmp_path: Path) -> None:
    """A run under optimal ablation, judged again: the same constants, so the same numbers. Without the scored pairs there are none."""
    where = ("--level", "heads", "--method", "relp", "--direction", "noise", "--ablation", "optimal", "--n", "4")
    code, _, err = run("discover", *where, "--out", "r", *SMALL)
    assert code == 0, err
    record = load_record(tmp_path / "r")
    said = record.scores[0].provenance.constants
    assert said.startswith("constants learned in 60 steps on 4 prompts")
    assert said in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert record.position_map is not None and record.position_map.provenance.ablation == "mean"
    code, out, err = run("evaluate", "r", "--random", "2", "--tests", "2", "--json")
    assert code == 0 and said in err and record.evaluation is not None
    assert json.loads(out)["evaluation"]["circuit"] == pytest.approx(record.evaluation.circuit, abs=1e-4)
    other = ("--task", "ioi", "--limit", "6", "--model", "demo", "--random", "1", "--tests", "1")
    code, _, err = run("evaluate", "r/circuit.json", *other, "--ablation", "optimal", "--quiet")
    assert code == 2 and "4 of 4 are not among these" in err
    code, _, err = run("evaluate", "r/circuit.json", *other, "--ablation", "mean", "--quiet")
    assert code == 0, err


def test_evaluate_a_circuit_file_needs_no_run_and_says_what_is_not_measured(finished: Path, run: Run) -> None:
    where = ("--model", "demo", "--task", "gender", "--limit", "6", "--ablation", "zero", "--metric", "log_prob")
    args = ("evaluate", str(finished / "circuit.json"), *where, "--random", "1", "--tests", "3", "--json")
    code, out, err = run(*args)
    assert code == 0, err
    said = json.loads(out)
    assert said["areas"] is None and "no scores" in " ".join(said["left_out"])
    found = said["evaluation"]
    model = interp.load("demo")
    pairs = interp.task("gender", model, n=6, seed=0).tokenize(model.tokenizer, model.layout.d_vocab)
    scored = circuits.Circuit.load(finished / "circuit.json").scored_pairs
    others = [pair for pair in pairs if digest([pair])[0] not in scored]
    assert 0 < len(others) < 6 and f"chosen by {6 - len(others)} of the 6 pairs; it is judged on the others" in err
    assert (found["ablation"], found["metric"], found["n_pairs"]) == ("zero", "log_prob", len(others))
    assert found["held_out"] is True


@pytest.mark.parametrize("said", [True, False])
def test_evaluate_warns_of_pairs_that_the_circuit_was_chosen_by(
    said: bool, finished: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all of them were used, or all were asked for; and says so where the file does not tell."""
    judged: list[int] = []
    monkeypatch.setattr("circuits.jobs.assessing._judged", lambda *given: judged.append(len(given[3])))
    monkeypatch.setattr("circuits.jobs.assessing._tell", lambda *_: None)
    data = json.loads((finished / "circuit.json").read_text())
    if not said:
        del data["scored_pairs"]
    (tmp_path / "c.json").write_text(json.dumps(data))
    where = ("evaluate", "c.json", "--model", "demo", "--task", "gender", "--limit", "6")
    code, _, err = run(*where, "--no-hold-out")
    assert code == 0 and judged == [6]
    assert (re.search(r"WARNING: the circuit was chosen by [1-5] of the 6 pairs", err) is not None) is said
    assert ("does not say which pairs" in err) is not said


def test_evaluate_says_what_it_may_cost_and_what_it_did(finished: Path, run: Run, tmp_path: Path) -> None:
    """The plan before the work is what --max-forwards is held against; what was spent stands in JSON, in the text and on the page."""
    asked = ("evaluate", str(finished), "--random", "2", "--tests", "3", "--limit", "2")
    code, out, err = run(*asked, "--out", "found.html")
    planned = re.search(r"plan: at most (\d+) forwards of the 2 judged pairs: curve \d+, tests \d+", err)
    assert code == 0 and planned
    said = re.search(r"cost: ([\d.]+) forwards of the pairs \(curve .*\), \d+ runs of circuits", out)
    assert said and float(said[1]) <= int(planned[1]) + 0.5 and said[0] in (tmp_path / "found.html").read_text()
    code, out, _ = run(*asked, "--json", "--quiet", "--max-forwards", planned[1])
    spent = json.loads(out)["spent"]
    assert (
        code == 0 and spent["forwards_total"] == pytest.approx(float(said[1]), rel=1e-3) and spent["circuits_run"] > 30
    )
    assert sum(spent["forwards_by_phase"].values()) == pytest.approx(spent["forwards_total"], abs=0.05)
    code, out, err = run(*asked, "--quiet", "--max-forwards", str(int(planned[1]) - 1), "--out", "refused.json")
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and not (tmp_path / "refused.json").exists()
    assert f"this evaluation may need {planned[1]}" in err and "--tests" in err


def test_evaluate_refuses_a_model_that_changed_since_the_run(finished: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    manifest["model"]["files"]["config.json"] = "0" * 64
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    code, out, err = run("evaluate", "run", "--quiet")
    assert code == 2 and out == "" and "not those of the run" in err


def test_stability_counts_how_often_a_part_is_in_the_top(finished: Path, run: Run) -> None:
    """A second writing: draw the examples again with a loop, and count."""
    code, out, _ = run("stability", str(finished), "--n", "3", "--resamples", "4000", "--json")
    found = {part["part"]: part["frequency"] for part in json.loads(out)["parts"]}
    scores = load_record(finished).scores[0]
    rng, counts = np.random.default_rng(7), dict.fromkeys(found, 0)
    for _ in range(2000):
        mean = scores.per_example[rng.integers(0, len(scores.per_example), len(scores.per_example))].mean(0)
        for i in np.argsort(-np.abs(mean), kind="stable")[:3]:
            counts[scores.parts[i].name] += 1
    assert code == 0 and sum(found.values()) == pytest.approx(3)
    assert all(abs(found[name] - counts[name] / 2000) < 0.06 for name in found)
    code, out, _ = run("stability", str(finished / "scores.parquet"), "--n", "3")
    assert code == 0 and max(counts, key=lambda name: counts[name]) in out


def test_stability_on_splits_is_the_run_beside_others(finished: Path, run: Run) -> None:
    code, out, err = run("stability", str(finished), "--splits", "1", "--json")
    found, record = json.loads(out), load_record(finished)
    assert code == 0 and record.circuit is not None and record.evaluation is not None, err
    own, other = found["found"]
    assert own["parts"] == [part.name for part in record.circuit.parts] and other["seed"] == own["seed"] + 1
    assert own["faithfulness"]["value"] == record.evaluation.faithfulness.value and len(other["parts"]) == 6
    assert own["cost"] == pytest.approx(record.manifest["forwards_by_phase"]["scoring"], abs=0.02) and other["held_out"]
    both = len(set(own["parts"]) & set(other["parts"]))
    assert found["overlaps"][0]["shared"] == both and 0 < found["overlaps"][0]["chance"]["shared"] < 6
    code, out, err = run("stability", str(finished), "--splits", "1")
    assert code == 0 and "F: a forward of its scored pairs" in out and "by chance" in out and "plan: at most" in err
    assert run("stability", str(finished), "--splits", "1", "--n", "3")[0] == 2


def test_truth_finds_known_circuits_and_exits_3_where_exact_does_not(assets: Path, run: Run, tmp_path: Path) -> None:
    source = assets / "truth" / "hist"
    code, out, err = run("truth", str(source), "--methods", "exact,eap", "--limit", "10", "--json")
    assert code == 0 and [row["auroc"] for row in json.loads(out) if row["method"] == "exact"] == [1.0], err
    shutil.copytree(source, tmp_path / "wrong")
    path = tmp_path / "wrong" / "circuit.json"
    data = json.loads(path.read_text())
    _flip(data, "in_resample_circuit")
    path.write_text(json.dumps(data))
    code, out, err = run("truth", "wrong", "--methods", "exact", "--limit", "10")
    assert code == 3 and "wrong" in out and "WARNING" in err
    assert run("truth", "wrong", "--methods", "eap", "--limit", "10")[0] == 0


def _flip(data: dict[str, Any], key: str) -> None:
    """Call an edge of the circuit none of it, and another one."""
    inside = next(e for e in data["edges"] if e[key])
    outside = next(e for e in data["edges"] if not e[key])
    inside[key], outside[key] = False, True


# ---------------------------------------------------------------- other formats


@pytest.mark.parametrize("name", ["graphml", "parquet"])
def test_what_is_exported_is_imported_again(name: str, finished: Path, run: Run, tmp_path: Path) -> None:
    code, out, err = run("export", str(finished), "--to", name, "--out", f"x.{name}")
    assert code == 0 and out == f"x.{name}\n", err
    assert run("import", f"x.{name}", "--out", "back")[0] == 0
    assert Circuit.load(tmp_path / "back" / "circuit.json") == Circuit.load(finished / "circuit.json")
    first, again = (Scores.load(folder / "scores.parquet") for folder in (finished, tmp_path / "back"))
    means = dict(zip(again.parts, again.mean, strict=True))
    assert [means[part] for part in first.parts] == pytest.approx(list(first.mean))
    assert run("import", f"x.{name}", "--out", "back")[0] == 2
    assert run("import", f"x.{name}", "--out", "back", "--force")[0] == 0


def test_formats_that_need_the_shape_take_the_model_of_the_run(finished: Path, run: Run, tmp_path: Path) -> None:
    assert run("export", str(finished), "--to", "eap-ig", "--out", "x.json")[0] == 0
    edges = json.loads((tmp_path / "x.json").read_text())["edges"]
    inside = {name.replace("input->", "embed->") for name, edge in edges.items() if edge["in_graph"]}
    assert inside == {edge.name for edge in Circuit.load(finished / "circuit.json").edges}


# ---------------------------------------------------------------- what can be imported


def test_public_names_are_reached_and_none_hides_a_module() -> None:
    modules = {path.stem for path in Path(circuits.__file__).parent.iterdir() if path.suffix in ("", ".py")}
    assert not modules & set(circuits.__all__)
    assert all(callable(getattr(circuits, name)) for name in circuits.__all__)
