"""The command line at level features: a run from end to end, evaluated again, and bad input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from circuits.circuit.circuit import Circuit
from circuits.runs.record_files import load_record
from interp.dictionaries.storage import save_dictionary
from interp.scores.scores import Scores
from tests.circuits.cli.called import Run, calling
from tests.interp.dictionaries.random_dictionaries import made

SITES = ("resid_post.0", "mlp_out.1")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits ARGS` in an empty folder with dictionaries: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for i, site in enumerate(SITES):
        save_dictionary(made(site, 128, n=48, kind="topk", seed=i), tmp_path / "dictionaries" / site)
    return calling(monkeypatch, capsys)


LEVEL = ("--level", "features")
GIVEN = (*LEVEL, "--dictionaries", "dictionaries")
SMALL = ("--task", "sva", "--limit", "8", "--random", "2", "--quiet")


def test_discover_writes_a_run_that_is_read_and_evaluated_again(run: Run, tmp_path: Path) -> None:
    code, out, err = run("discover", *SMALL, *GIVEN, "--method", "relp", "--n", "6", "--out", "run", "--json")
    assert (code, err) == (0, "")
    said, record = json.loads(out), load_record(tmp_path / "run")
    assert record.features is not None and record.circuit is not None and record.evaluation is not None
    assert said["circuit"] == [p.name for p in record.circuit.parts] and len(record.circuit) == 6
    assert [f.target for f in record.features.dictionaries] == ["resid_post.0", "mlp_out.1"]
    assert all(f.l0 == 8 for f in record.features.dictionaries)
    assert record.features.without_errors is not None and record.features.without_errors.errors == "removed"
    assert [(b.level, b.n_parts) for b in record.features.beside] == [("neurons", 2048), ("heads", 20)]
    assert {p.size for p in record.features.beside[0].points} == {p.size for p in record.evaluation.curve}
    assert [look.name for look in record.features.looks] == [p.name for p in record.circuit.parts]
    edges = record.feature_edges
    assert edges is not None and {str(e.receiver) for e in edges.edges} >= {"logits"}
    assert (tmp_path / "run" / "report.html").read_text().count("</html>") == 1

    code, out, err = run("evaluate", "run", "--random", "2", "--tests", "2", "--json", "--quiet")
    again = json.loads(out)
    assert (code, err) == (0, "")
    for name, own in (("evaluation", record.evaluation), ("without_errors", record.features.without_errors)):
        assert again[name]["faithfulness"]["value"] == pytest.approx(own.faithfulness.value, abs=1e-5)
        assert again[name]["n_pairs"] == own.n_pairs

    shutil.move(tmp_path / "dictionaries", tmp_path / "moved")
    code, _, err = run("evaluate", "run", "--quiet")
    assert code == 2 and "no such folder" in err and len(err.splitlines()) == 1
    code, out, _ = run("evaluate", "run", "--dictionaries", "moved", "--random", "2", "--tests", "2", "--quiet")
    assert code == 0 and "errors removed" in out
    save_dictionary(made("resid_post.0", 128, n=48, kind="topk", seed=7), tmp_path / "others" / "a")
    shutil.copytree(tmp_path / "moved" / "mlp_out.1", tmp_path / "others" / "b")
    code, _, err = run("evaluate", "run", "--dictionaries", "others", "--quiet")
    assert code == 2 and "other dictionaries: given resid_post.0" in err and len(err.splitlines()) == 1


def test_a_bound_is_kept_or_refused(run: Run, tmp_path: Path) -> None:
    """Too little for finding the active features, too little for the rest, and enough; nothing is written by what is refused."""
    asked = ("discover", *SMALL[:-1], *GIVEN, "--method", "relp", "--n", "3", "--out", "run")
    for most, said in (
        ("1", "finding the active features alone may need 2"),
        ("30", "max-forwards=30: this run may need"),
    ):
        code, out, err = run(*asked, "--max-forwards", most, "--quiet")
        assert (
            code == 2 and out == "" and said in err and len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
        )
    code, _, err = run(*asked, "--max-forwards", "600")
    planned = re.search(r"plan: at most (\d+) forwards of the 4 scored pairs: loading 2, accuracy .* features \d+", err)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert code == 0 and planned and manifest["forwards_total"] <= int(planned[1])
    assert set(manifest["forwards_by_phase"]) >= {"loading", "features", "anatomy"}


def test_discover_by_threshold_and_alone_on_the_terminal(run: Run, tmp_path: Path) -> None:
    run("discover", *SMALL, *GIVEN, "--method", "atp", "--n", "5", "--out", "five")
    scores = Scores.load(tmp_path / "five" / "scores.parquet")
    fifth = Circuit.load(tmp_path / "five" / "circuit.json").parts[-1]
    size = abs(scores[fifth.name])
    code, out, _ = run(
        "discover", *SMALL, *GIVEN, "--method", "atp", "--threshold", f"{size * 0.999999:.9g}", "--out", "t"
    )
    assert code == 0 and "errors removed" in out and "heads, MLPs" in out
    assert Circuit.load(tmp_path / "t" / "circuit.json").parts == Circuit.load(tmp_path / "five" / "circuit.json").parts


def test_compare_judges_methods_of_features(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(
        "compare", "--task", "sva", "--limit", "6", "--quiet", *GIVEN, "--methods", "atp,relp", "--out", "c", "--json"
    )
    assert code == 0 and set(json.loads(out)["agreement"]) == {"atp", "relp"}
    assert (
        load_record(tmp_path / "c").features is None
        and "Where the scores are" in (tmp_path / "c" / "report.html").read_text()
    )


def _truncated(folder: Path) -> None:
    weights = folder / "dictionaries" / "mlp_out.1" / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])


def _narrow(folder: Path) -> None:
    save_dictionary(made("resid_post.2", 32), folder / "dictionaries" / "narrow")


def _twice(folder: Path) -> None:
    save_dictionary(made("resid_post.0", 128, seed=5), folder / "dictionaries" / "again")


def _layerless(folder: Path) -> None:
    save_dictionary(made("resid_post.9", 128), folder / "dictionaries" / "deep")


def _nothing(folder: Path) -> None:
    (folder / "empty").mkdir()


BAD: list[tuple[tuple[str, ...], Callable[[Path], None], str]] = [
    (LEVEL, _nothing, "give --dictionaries FOLDER"),
    (("--dictionaries", "dictionaries"), _nothing, "belongs to --level features; given with level 'heads'"),
    ((*LEVEL, "--dictionaries", "empty"), _nothing, "holds no dictionary"),
    ((*LEVEL, "--dictionaries", "nowhere"), _nothing, "no such folder"),
    (GIVEN, _truncated, "mlp_out.1"),
    (GIVEN, _narrow, "'resid_post.2' has width 32; this model has 128"),
    (GIVEN, _twice, "two dictionaries of resid_post.0"),
    (GIVEN, _layerless, "layer 9"),
    ((*GIVEN, "--n", "5000"), _nothing, "n=5000: expected"),
    ((*GIVEN, "--n", "5", "--threshold", "0.1"), _nothing, "give one of them"),
    ((*GIVEN, "--kv", "split"), _nothing, "'edges' only"),
    ((*GIVEN, "--algorithm", "greedy"), _nothing, "works at level edges"),
    ((*GIVEN, "--method", "eap"), _nothing, "not level 'features'"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "prepare", "message"), BAD)
def test_bad_input_is_one_line_and_nothing_written(
    run: Run, tmp_path: Path, options: tuple[str, ...], prepare: Callable[[Path], None], message: str
) -> None:
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("discover", *SMALL, *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert message in err and "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_circuit_alone_needs_its_dictionaries(run: Run, tmp_path: Path) -> None:
    run("discover", *SMALL, *GIVEN, "--method", "atp", "--n", "3", "--out", "run")
    own = (
        "evaluate",
        "run/circuit.json",
        "--model",
        "demo",
        "--task",
        "sva",
        "--limit",
        "8",
        "--random",
        "2",
        "--tests",
        "2",
    )
    code, _, err = run(*own, "--quiet")
    assert code == 2 and "give --dictionaries" in err
    code, out, _ = run(*own, "--quiet", "--dictionaries", "dictionaries")
    assert code == 0 and "errors kept" in out


def test_a_dictionary_of_another_model_is_said(run: Run, tmp_path: Path) -> None:
    """Of those trained here; other projects have names of their own for models."""
    theirs = {"model_name": "gpt2-small"}
    for details, said in (
        (theirs | {"model_sha256": "0"}, 1),
        ({"model_name": "demo", "model_sha256": "0"}, 0),
        (theirs, 0),
    ):
        shutil.rmtree(tmp_path / "dictionaries")
        save_dictionary(made("resid_post.0", 128, n=48, details=details), tmp_path / "dictionaries")
        code, _, err = run("compare", *SMALL[:4], *GIVEN, "--methods", "atp", "--out", "other", "--force")
        assert (
            code == 0 and " ".join(err.split()).count("was trained on model 'gpt2-small'; it is used on 'demo'") == said
        )
