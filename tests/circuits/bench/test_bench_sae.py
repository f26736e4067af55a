"""`circuits bench --sae`: what it times, divides and writes. No time is compared with any figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from circuits.bench import training_cost
from circuits.bench.training_cost import Training, activations, measured, peer
from interp.dictionaries.training.steps.learner import ARCHITECTURES, make_learner
from interp.dictionaries.training.steps.options import TRANSCODERS
from tests.circuits.cli.called import Run, calling

SMALL = ("--d-in", "12", "--d-sae", "32", "--k", "3", "--batch", "16", "--repeats", "1")


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


def test_tokens_per_second_are_the_batch_over_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """With times that are known: 2 s for ours, 5 s for theirs."""
    monkeypatch.setattr(training_cost, "seconds_of", lambda works, repeats: dict(zip(works, (2.0, 5.0), strict=True)))
    (found,) = measured(["topk"], Training(12, 32, 3, batch=100))
    assert (found.tokens_per_second, found.sae_lens, found.ratio) == (50, 20, 2.5)


@pytest.mark.broad
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in TRANSCODERS])
def test_both_sides_do_the_same_work(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three steps each, the same weights: neither leaves out a part of the step."""
    from sae_lens.training.sae_trainer import SAETrainer

    made: list[SAETrainer] = []
    begin = SAETrainer.__init__

    def seen(self: SAETrainer, *args: object) -> None:
        made.append(self)
        begin(self, *args)

    monkeypatch.setattr(SAETrainer, "__init__", seen)
    batches = activations(Training(12, 32, 3, 64))
    assert len({float(x.sum()) for x in batches}) == len(batches) > 1  # no batch is another again
    options = {"k": 3} if "k" in ARCHITECTURES[architecture] else {}
    own = make_learner(architecture, 12, 12, 32, options, 100, 0, "cpu", torch.float32)
    before = own.state()["weight.W_enc"]
    theirs = peer(own, batches)
    for x in batches:
        own.learn(x)
        theirs()
    assert not torch.equal(own.state()["weight.W_enc"], before)
    for name, p in made[0].sae.named_parameters():
        torch.testing.assert_close(own.state()[f"weight.{name}"], p.detach(), rtol=1e-4, atol=1e-5)


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
