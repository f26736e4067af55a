"""`circuits bench --sae`: what it times and divides. No time is compared with any figure."""

from __future__ import annotations

import pytest
import torch

from circuits.bench import training_cost
from circuits.bench.training_cost import Training, activations, measured, peer
from interp.dictionaries.training.steps.learner import ARCHITECTURES, make_learner
from interp.dictionaries.training.steps.options import TRANSCODERS

SMALL = ("--d-in", "12", "--d-sae", "32", "--k", "3", "--batch", "16", "--repeats", "1")


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
