"""`circuits bench --sae`: what it prints and writes; bad input is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from interp.dictionaries.training.steps.learner import ARCHITECTURES
from interp.dictionaries.training.steps.options import TRANSCODERS
from tests.circuits.bench.test_bench_sae import SMALL
from tests.circuits.cli.called import Run, calling


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits bench ARGS`: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return calling(monkeypatch, capsys, "bench")


def test_every_architecture_is_measured_beside_sae_lens_where_that_trains_it(run: Run) -> None:
    code, out, _ = run("--sae", *SMALL, "--out", "b.json", "--json")
    assert code == 0
    data = json.loads(out)
    assert data == json.loads(Path("b.json").read_text())
    assert [one["architecture"] for one in data["measured"]] == list(ARCHITECTURES)
    for one in data["measured"]:
        assert one["tokens_per_second"] > 0
        if one["architecture"] in TRANSCODERS:
            assert one["sae_lens"] is None and one["ratio"] is None
        else:
            assert one["ratio"] == pytest.approx(one["tokens_per_second"] / one["sae_lens"])
    assert data["size"] == {"d_in": 12, "d_sae": 32, "k": 3, "batch": 16, "repeats": 1}
    assert data["machine"]["threads"] == torch.get_num_threads() and "sae-lens" in data["versions"]


def test_the_table_names_what_was_asked_for(run: Run) -> None:
    code, out, said = run("--sae", *SMALL, "--architecture", "topk, transcoder")
    assert code == 0 and "topk" in out and "transcoder" in out and "jumprelu" not in out
    assert "12 -> 32, k 3, 16 tokens a step" in out and "sae-lens does not train it" in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--sae", "--architecture", "topp"], "unknown architecture 'topp'. Did you mean topk"),
        (["--sae", "--model", "demo"], "--sae runs no model"),
        (["--sae", "--scale"], "--sae runs no model"),
        (["--k", "3"], "expected --sae with them"),
        (["--sae", "--d-sae", "8", "--d-in", "4", "--architecture", "topk"], "k=32: there are 8 features"),
        (["--scale", "--batch", "3"], "--scale has models and sizes of its own"),
    ],
)
def test_bad_input_is_one_line(run: Run, args: list[str], message: str) -> None:
    code, out, said = run(*args)
    assert code == 2 and out == "" and message in " ".join(said.split())
