"""`circuits reproduce`: what is refused before any work, what is written and printed, and one model that fails among others."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import interp
from circuits.jobs import reproduction
from interp.errors import ScoreError
from interp.model.loading.load import DEMO
from interp.scores.scores import Scores
from tests.circuits.cli.called import Run, run

__all__ = ["run"]

FEW = ("reproduce", "relp", "--limit", "3", "--methods", "atp,relp")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("reproduce", "rlep"), "Did you mean relp"),
        ((*FEW, "--methods", "atp,rlep"), "Did you mean relp"),
        ((*FEW, "--methods", "exact,relp"), "it always runs"),
        ((*FEW, "--methods", "eap"), "scores edges"),
        ((*FEW, "--methods", "auto"), "auto"),
        ((*FEW, "--model", "demo", "--model", "demo"), "given twice"),
        ((*FEW, "--model", "demo", "--model", "nowhere"), "model 'nowhere'"),
        (("reproduce", "relp", "--limit", "0"), "one pair"),
        ((*FEW, "--length", "0"), "length=0"),
        ((*FEW, "--seed", "9" * 25), "below 2**63"),
        ((*FEW, "--steps", "3"), "steps belongs to"),
        ((*FEW, "--dtype", "float31"), "dtype 'float31'"),
        ((*FEW, "--max-forwards", "0"), "max-forwards=0"),
        ((*FEW, "--max-forwards", "9"), "max-forwards=9: its table may need"),
        (("reproduce",), "paper"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run: Run, args: tuple[str, ...], said: str) -> None:
    code, out, err = run(*args)
    assert code == 2 and said.lower() in err.lower() and out == ""
    assert err.splitlines()[-1].startswith("circuits: ") and not list(Path().iterdir())


def test_the_table_is_printed_written_and_made_of_the_scores_beside_it(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr("circuits.console.printing.out.width", 80, raising=False)
    code, out, err = run(*FEW, "--out", "r")
    assert code == 0, err
    planned = re.search(
        r"plan of demo: at most (\d+) forwards of the 3 pairs: accuracy 2, scoring resid (\d+), scoring blocks", err
    )
    tables, _, _ = out.partition("table: r/table.json")
    assert "residual stream" in tables and all(len(line) <= 80 for line in tables.splitlines())
    assert "nothing, no figure of the paper" in " ".join(out.split()) and "NOTE: positions 'each'" in err
    manifest = json.loads(Path("r/manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["job"] == "reproduce"
    weights = hashlib.sha256((DEMO / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["models"][0]["files"]["model.safetensors"] == weights and weights in "".join(out.split())
    spent = manifest["models"][0]
    assert planned and spent["forwards_total"] <= int(planned[1])
    assert spent["forwards_by_phase"]["scoring resid"] <= int(planned[2]) + 0.5
    found = json.loads(Path("r/table.json").read_text())
    rows = list(csv.DictReader(Path("r/table.csv").read_text().splitlines()))
    cells = {(c["kind"], c["method"]): c["row"] for c in found["tables"][0]["cells"]}
    assert len(rows) == len(cells) == 6
    for line in rows:
        level = "resid" if line["kind"] == "resid_pre" else "blocks"
        ours, exact = (Scores.load(f"r/scores/1-demo/{level}-{m}.parquet") for m in (line["method"], "exact"))
        own = interp.agreement(ours, exact)[line["kind"]]
        assert float(line["pearson"]) == cells[line["kind"], line["method"]]["pearson"] == own.pearson
        assert (float(line["low"]), float(line["high"])) == own.pearson_ci and line["largest"] == own.largest
    assert "| atp |" in Path("r/table.md").read_text()
    assert "residual stream" in Path("r/report.html").read_text()


def test_help_says_whose_tables_there_are(run: Run) -> None:
    code, out, _ = run("reproduce", "--help")
    assert code == 0 and "whose table: relp" in " ".join(out.split())


def test_other_commands_say_that_it_is_no_run_of_theirs(run: Run) -> None:
    code, out, err = run(*FEW[:3], "2", "--methods", "atp", "--out", "r", "--json", "--quiet")
    assert code == 0 and err == "" and json.loads(out)["directory"] == "r"
    for command in ("report", "evaluate", "stability"):
        code, _, err = run(command, "r")
        assert code == 2 and "of circuits reproduce" in err
    assert run("open", "r")[0] == 0
    code, _, err = run(*FEW, "--out", "r")
    assert code == 2 and "--force" in err


def test_one_model_that_fails_is_named_and_the_others_are_there(run: Run, monkeypatch: Any) -> None:
    """A name from outside is shown on the page as text."""
    name = "b<script>alert(1)<"
    for folder in ("a", name):
        shutil.copytree(DEMO, folder)
    own = reproduction.measure

    def failing(ready: Any, say: Any, weights: Any) -> Any:
        if ready.given == "a":
            raise ScoreError("method 'relp': a score is not finite")
        return own(ready, say, weights)

    monkeypatch.setattr(reproduction, "measure", failing)
    code, out, err = run(*FEW, "--model", "a", "--model", name, "--out", "r")
    assert code == 1 and "model 'a' failed: ScoreError: method 'relp'" in err.splitlines()[-1] and "residual" in out
    found = json.loads(Path("r/table.json").read_text())
    assert [t["given"] for t in found["tables"]] == [name] and found["failed"][0]["given"] == "a"
    page = Path("r/report.html").read_text()
    assert "Not measured: model" in page and "<script>alert" not in page
    assert [m["given"] for m in json.loads(Path("r/manifest.json").read_text())["models"]] == ["a", name]
    code, out, err = run(*FEW, "--model", "a", "--out", "none")
    assert code == 1 and out == "" and json.loads(Path("none/manifest.json").read_text())["status"] == "failed"
