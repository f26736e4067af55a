"""Files in which pairs are there more than once: every place of a run says the same of what was held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuits.circuit.circuit import Circuit
from circuits.jobs.starting import prompts_text
from tests.circuits.cli.called import Run, run

__all__ = ["run"]

FAST = ("--level", "blocks", "--method", "relp", "--random", "2", "--out", "r")


def _rows() -> list[str]:
    return prompts_text().splitlines()


def _discover(run: Run, rows: list[str], *more: str) -> tuple[str, str]:
    """What a run of these rows printed, on both streams."""
    Path("p.jsonl").write_text("\n".join(rows), encoding="utf-8")
    code, out, err = run("discover", "--task", "p.jsonl", *FAST, *more)
    assert code == 0, err
    return " ".join(out.split()), " ".join(err.split())


def _told() -> tuple[bool, bool]:
    """What manifest and evaluation say of the pairs."""
    manifest, evaluation = (json.loads(Path("r", name).read_text()) for name in ("manifest.json", "evaluation.json"))
    assert manifest["task"]["evaluated"] == evaluation["n_pairs"]
    return manifest["task"]["held_out"], evaluation["held_out"]


@pytest.mark.parametrize("seed", ["0", "3", "5"])
def test_one_duplicate_is_told_and_stays_in_one_half(run: Run, seed: str) -> None:
    rows = _rows()
    out, err = _discover(run, [*rows, rows[0]], "--seed", seed)
    assert _told() == (True, True)
    assert "held-out pairs" in out and "also used" not in out
    assert "1 of the 13 pairs is a duplicate" in out
    assert "1 of 13 pairs is a duplicate (p.jsonl line 13 has the prompts of p.jsonl line 1)" in err
    assert json.loads(Path("r/manifest.json").read_text())["task"]["repeated"] == 1
    assert "13 pairs is a duplicate" in Path("r/report.html").read_text(encoding="utf-8")


def test_every_row_twice(run: Run) -> None:
    out, err = _discover(run, _rows() * 2)
    assert _told() == (True, True)
    assert "12 of 24 pairs are duplicates" in err and "12 held-out pairs" in out


def test_all_rows_the_same_hold_nothing_out(run: Run) -> None:
    out, err = _discover(run, _rows()[:1] * 5)
    assert _told() == (False, False)
    assert "none can be held out" in err and "also used to choose" in out


def test_the_limit_counts_before_the_split(run: Run) -> None:
    rows = _rows()
    _, err = _discover(run, [rows[0], rows[0], *rows], "--limit", "2")
    assert _told() == (False, False) and "1 of 2 pairs is a duplicate" in err and "none can be held out" in err


def test_without_repeats_nothing_is_said(run: Run) -> None:
    out, err = _discover(run, _rows())
    assert _told() == (True, True)
    assert "duplicate" not in out + err and "repeated" not in json.loads(Path("r/manifest.json").read_text())["task"]


def test_evaluate_judges_a_run_on_the_half_that_it_did_not_score(run: Run) -> None:
    rows = _rows()
    _discover(run, [*rows, *rows[:3]])
    n = json.loads(Path("r/evaluation.json").read_text())["n_pairs"]
    code, out, err = run("evaluate", "r", "--random", "2", "--tests", "2", "--json")
    assert code == 0, err
    found = json.loads(out)["evaluation"]
    assert found["held_out"] is True and found["n_pairs"] == n
    assert "judged on the others" not in err


def test_evaluate_takes_the_pairs_of_another_file_that_were_not_scored(run: Run) -> None:
    rows = _rows()
    _discover(run, rows[:8])
    scored = len(Circuit.load("r/circuit.json").scored_pairs)
    Path("other.jsonl").write_text("\n".join([*rows, rows[10]]), encoding="utf-8")
    code, out, err = run("evaluate", "r", "--task", "other.jsonl", "--random", "2", "--tests", "2", "--json")
    assert code == 0, err
    found = json.loads(out)["evaluation"]
    assert found["held_out"] is True and found["n_pairs"] == 13 - scored
    assert f"chosen by {scored} of the 13 pairs" in err and "1 of 13 pairs is a duplicate" in err


def test_a_page_of_pairs_of_which_some_were_scored_does_not_say_all_were(run: Run) -> None:
    rows = _rows()
    _discover(run, rows[:8])
    Path("other.jsonl").write_text("\n".join(rows), encoding="utf-8")
    options = ("--no-hold-out", "--random", "2", "--tests", "2", "--out", "p.html")
    code, _, err = run("evaluate", "r", "--task", "other.jsonl", *options)
    assert code == 0 and "was chosen by 4 of the 12 pairs" in err
    page = Path("p.html").read_text(encoding="utf-8")
    assert "some or all of them gave the scores" in page and "the same that gave the scores" not in page


def test_stability_says_that_pairs_repeat(run: Run) -> None:
    _discover(run, _rows()[:4] * 3, "--no-hold-out")
    code, _, err = run("stability", "r", "--resamples", "5")
    assert code == 0 and "8 of 12 pairs repeat others" in err
