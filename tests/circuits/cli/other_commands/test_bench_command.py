"""`circuits bench`: what it prints and writes; bad input is one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from circuits.bench import scale
from circuits.bench.scale import VARIED, WORKS
from circuits.cli.app import app
from circuits.jobs.machine.bench import PARTS
from tests.circuits.bench.test_bench import _strict
from tests.circuits.bench.test_scale import rows
from tests.circuits.cli.called import Run, calling


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits bench ARGS` on little data: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return calling(monkeypatch, capsys, "bench", "--batch", "2", "--length", "5", "--repeats", "1")


def test_json_on_standard_output_is_that_in_the_file(run: Run) -> None:
    code, out, _ = run("--model", "demo", "--out", "b.json", "--json")
    data = _strict(out)
    assert code == 0 and data == _strict(Path("b.json").read_text(encoding="utf-8"))
    assert data["size"] == {"batch": 2, "length": 5, "repeats": 1} and data["machine"]["threads"] >= 1
    found = data["measured"]
    assert {row["group"] for row in found} == set(PARTS)
    for row in found:
        assert row["seconds"] > 0 and 0 < row["ratio"] < math.inf and row["unit"]
        assert (row["bound"] is not None) == (row["group"] == "exact")
        assert row["bound"] is None or 0 < row["bound"] <= 1
    assert all(row["reason"] for row in data["not_measured"])


def test_methods_alone_measure_attribution_only(run: Run) -> None:
    code, out, _ = run("--model", "demo", "--methods", "atp,relp-ig", "--level", "blocks", "--steps", "3", "--json")
    assert code == 0
    names = [(row["group"], row["name"]) for row in _strict(out)["measured"]]
    assert names == [
        ("attribution", n) for n in ("plain model", "atp, blocks", "relp-ig, blocks, 3 steps")
    ]  # fmt: skip


def test_a_table_names_what_was_measured(run: Run) -> None:
    code, out, err = run("--model", "demo", "--level", "resid")
    assert code == 0 and "plain model" in out and "attribution: atp, resid: " in err


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--parts", "exact,speed"), "'speed'"),
        (("--methods", "magic"), "'magic'"),
        (("--methods", "atp", "--level", "sideways"), "'sideways'"),
        (("--batch", "0"), "--batch"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, args: tuple[str, ...], named: str) -> None:
    code, out, err = run("--model", "demo", "--out", "b.json", *args)
    assert code == 2 and out == "" and err.count("\n") == 1 and named in err
    assert not Path("b.json").exists()


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scale, "scale", lambda say: rows(["layers"]))
    out = tmp_path / "found.json"
    done = CliRunner().invoke(app, ["bench", "--scale", "--out", str(out)])
    assert done.exit_code == 0 and "layers 16" in done.output and "exact, heads" in done.output
    assert len(json.loads(out.read_text())) == len(WORKS) * len(VARIED["layers"])
    assert out.with_suffix(".svg").is_file()
    done = CliRunner().invoke(app, ["bench", "--scale", "--json"])
    assert [row["varied"] for row in json.loads(done.stdout)] == ["layers"] * len(WORKS) * len(VARIED["layers"])
