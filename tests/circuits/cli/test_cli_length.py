"""Prompts of one length from the command line: asked for, or taken where each position is scored, and said in log and manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.circuits.cli.called import Run, run

__all__ = ["run"]

EACH = ("compare", "--methods", "relp", "--positions", "each", "--out", "r", "--json")


def test_each_position_of_a_built_in_task_takes_the_commonest_length_and_says_so(run: Run) -> None:
    code, _, err = run(*EACH, "--task", "ioi", "--limit", "8")
    assert code == 0, err
    assert "NOTE: positions 'each' need prompts of one length" in err and "8 are made" in err
    manifest = json.loads(Path("r/manifest.json").read_text())
    assert "its commonest length" in manifest["task"]["source"]
    assert manifest["task"]["pairs"] == 8
    length = int(manifest["task"]["source"].split(" tokens each")[0].split()[-1])
    code, _, err = run(*EACH, "--force", "--task", "ioi", "--limit", "8", "--length", str(length + 1))
    assert code == 0, err
    assert "NOTE" not in err
    manifest = json.loads(Path("r/manifest.json").read_text())
    assert f"{length + 1} tokens each" in manifest["task"]["source"] and manifest["options"]["length"] == length + 1


def test_of_a_file_those_of_the_commonest_length_are_taken_with_a_warning(run: Run) -> None:
    from interp import load, task

    rows = [
        {"clean": p.clean, "corrupt": p.corrupt, "answer": p.answers[0], "wrong": p.wrong[0]}
        for p in task("ioi", load("demo"), n=12).pairs
    ]
    Path("mixed.json").write_text(json.dumps(rows))
    code, _, err = run(*EACH, "--task", "mixed.json")
    assert code == 0, err
    manifest = json.loads(Path("r/manifest.json").read_text())
    kept = manifest["task"]["pairs"]
    assert 1 < kept < 12 and f"{kept} of 12 are taken, the others left out" in err and "WARNING" in err
    assert f"{kept} of 12 pairs, those of" in manifest["task"]["source"]


@pytest.mark.parametrize("more", [("--length", "3"), ("--length", "100")])
def test_a_length_that_no_prompt_has_is_refused(run: Run, more: tuple[str, ...]) -> None:
    code, _, err = run("discover", "--task", "ioi", "--limit", "4", *more)
    assert code == 2 and "tokens asked for, only 0 distinct ones" in err


def test_evaluate_takes_the_length_of_the_run_or_another(run: Run) -> None:
    code, _, err = run(
        "discover", "--task", "ioi", "--limit", "12", "--length", "15", "--n", "2", "--random", "1", "--out", "r"
    )
    assert code == 0, err
    manifest = json.loads(Path("r/manifest.json").read_text())
    assert "15 tokens each" in manifest["task"]["source"]
    few = ("--random", "1", "--tests", "2", "--json")
    code, out, err = run("evaluate", "r", *few)
    assert code == 0, err
    assert run("evaluate", "r", "--length", "15", *few)[1] == out
    code, _, err = run("evaluate", "r", "--length", "16", *few)
    assert code == 2 and "there are pairs of 15" in err


def test_a_run_that_is_older_than_some_options_is_judged_as_it_was(run: Run) -> None:
    few = ("--random", "1", "--json", "--quiet")
    code, _, err = run(
        "discover", "--level", "blocks", "--method", "relp", "--limit", "8", "--random", "1", "--out", "r", "--quiet"
    )
    assert code == 0, err
    code, now, err = run("evaluate", "r", *few)
    assert code == 0, err
    manifest = json.loads(Path("r/manifest.json").read_text())
    manifest["options"] = {k: v for k, v in manifest["options"].items() if k not in ("chat", "length")}
    Path("r/manifest.json").write_text(json.dumps(manifest))
    code, older, err = run("evaluate", "r", *few)
    assert code == 0, err
    assert json.loads(older) == json.loads(now)
