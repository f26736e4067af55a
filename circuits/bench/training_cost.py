"""What a step of training a dictionary costs: ours and that of sae-lens' own trainer, on the same data with the same settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from circuits.bench.workload import seconds_of
from interp.dictionaries.training.steps.learner import Learner, make_learner
from interp.dictionaries.training.steps.options import ARCHITECTURES, TRANSCODERS

#: A step more or less changes no schedule: what is measured is a step in the middle of a training.
STEPS = 10_000
#: Batches that come in turn, so that no step sees the one before again.
BATCHES = 4


@dataclass(frozen=True)
class Training:
    """What is trained: widths, features, active features per token where an architecture sets them, tokens per step, rounds."""

    d_in: int = 768
    d_sae: int = 6144
    k: int = 32
    batch: int = 4096
    repeats: int = 7


@dataclass(frozen=True)
class Throughput:
    """Tokens per second of one architecture, by medians of rounds that take turns; None where sae-lens does not train it."""

    architecture: str
    tokens_per_second: float
    sae_lens: float | None
    ratio: float | None


def measured(architectures: Sequence[str], size: Training) -> Iterator[Throughput]:
    """One after the other: a step of ours and one of sae-lens' in turns, on the same batches. No feature is dead yet."""
    batches = activations(size)
    for name in architectures:
        options = {"k": size.k} if "k" in ARCHITECTURES[name] else {}
        own = make_learner(name, size.d_in, size.d_in, size.d_sae, options, STEPS, 0, "cpu", torch.float32)
        works: dict[str, Callable[[], Any]] = {"own": _learning(own, batches)}
        if name not in TRANSCODERS:
            works["peer"] = peer(own, batches)
        medians = seconds_of(works, size.repeats)
        speeds = {key: size.batch / seconds for key, seconds in medians.items()}
        theirs = speeds.get("peer")
        yield Throughput(name, speeds["own"], theirs, None if theirs is None else speeds["own"] / theirs)


def activations(size: Training) -> list[Tensor]:
    """`BATCHES` batches [token d_in] that no model made: each token k of 2 d_in fixed directions, and noise."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * size.d_in, size.d_in, generator=generator) / size.d_in**0.5
    found = []
    for _ in range(BATCHES):
        which = torch.rand(size.batch, len(directions), generator=generator).topk(min(size.k, len(directions))).indices
        sizes = torch.zeros(size.batch, len(directions)).scatter_(1, which, 1.0)
        sizes *= torch.rand(sizes.shape, generator=generator) * 4
        found.append(sizes @ directions + 0.1 * torch.randn(size.batch, size.d_in, generator=generator))
    return found


def _learning(own: Learner, batches: Sequence[Tensor]) -> Callable[[], None]:
    turn = cycle(batches)

    def step() -> None:
        x = next(turn)
        own.learn(x, x)

    return step


def peer(own: Learner, batches: Sequence[Tensor]) -> Callable[[], None]:
    """A step of sae-lens' `SAETrainer` with the settings and the start of `own`."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    from interp.dictionaries.training.steps.peer import build

    config = SAETrainerConfig(
        total_training_samples=own.plan.steps * len(batches[0]),
        train_batch_size_samples=len(batches[0]),
        lr=own.plan["lr"],
        lr_end=own.plan["lr_end"],
    )
    trainer, turn = SAETrainer(config, build(own.plan), iter(())), cycle(batches)

    def step() -> None:
        trainer.step(next(turn))
        trainer.n_training_steps += 1

    return step
