"""The training itself: batches from the buffer to every learner, measures to the log, checkpoints between steps.

On the CPU it is deterministic for a given number of threads: two runs end with the same bits, and so does one that was killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.training.checkpoints import checkpoint
from interp.dictionaries.training.data.buffer import Buffer
from interp.dictionaries.training.data.chunks import Chunk, Source
from interp.dictionaries.training.loop.interrupt import waiting_interrupt
from interp.dictionaries.training.loop.measures import held_out_measures
from interp.dictionaries.training.loop.settings import Wanted
from interp.dictionaries.training.loop.status import Say, training_bar
from interp.dictionaries.training.steps.learner import Learner

#: Points of the log in a run, and of how many of them one is measured on held-out text too.
LOGGED: Final = 200
HELD_OUT_EVERY: Final = 8
#: Tokens that the learners see before the first step.
SAMPLE: Final = 1 << 15
#: Without `checkpoint_every`: seconds between checkpoints, and the largest share of the time that writing them may take.
SECONDS: Final = 30.0
SHARE: Final = 0.05

#: What a checkpoint says beside its tensors.
KEPT: Final = ("identity", "environment", "source", "seconds", "log")

Log = dict[str, list[dict[str, float]]]


@dataclass
class Training:
    """One run while it lasts. `identity`: what a resumed run must have in common with it."""

    wanted: Sequence[Wanted]
    learners: Sequence[Learner]
    source: Source
    buffer: Buffer
    held_out: Chunk | None
    steps: int
    identity: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    out: Path | None = None
    checkpoint_every: int | None = None
    step: int = 0
    seconds: float = 0.0
    log: Log = field(default_factory=dict)

    def run(self, show: bool | None, say: Say | None = None) -> None:
        """Train to the end; show, say: as `training_bar` takes them. Raises: KeyboardInterrupt between two steps, after a checkpoint."""
        clock = _Clock(self.seconds)
        with training_bar(self.steps, self.step, show, say) as at, waiting_interrupt() as asked:
            while self.step < self.steps:
                measures = self._one_step()
                at(self.step, measures)
                self.seconds = clock.now()
                stop = asked() and self.step < self.steps
                if self.out is not None and (stop or self._is_due(clock)):
                    clock.writing(self._write)
                if stop:
                    raise KeyboardInterrupt

    def prepare(self) -> None:
        """Fill the buffer, and show the learners a sample of it."""
        sample = self.buffer.sample(SAMPLE)
        for one, learner in zip(self.wanted, self.learners, strict=True):
            learner.prepare(sample[one.site], sample[one.target])

    def _one_step(self) -> dict[str, float]:
        """Every learner's step on one batch; measures of the first one where they were logged."""
        batch = self.buffer.next()
        self.step += 1
        every = max(1, self.steps // LOGGED)
        logged = self.step % every == 0 or self.step in (1, self.steps)
        measured = self.step % (every * HELD_OUT_EVERY) == 0 or self.step in (1, self.steps)
        shown: dict[str, float] = {}
        for one, learner in zip(self.wanted, self.learners, strict=True):
            found = learner.learn(batch[one.site], batch[one.target])
            if logged:
                row = {"step": self.step, "tokens": self.step * self.buffer.batch, **found.numbers()}
                row |= self._held_out(one, learner) if measured else {}
                self.log.setdefault(one.name, []).append(row)
                shown = shown or row
        return shown

    def _held_out(self, one: Wanted, learner: Learner) -> dict[str, float]:
        if self.held_out is None:
            return {}
        d = learner.dictionary(one.site, one.target, {})
        return held_out_measures(d, self.held_out[one.site], self.held_out[one.target])

    def dictionaries(self, details: Mapping[str, Any]) -> list[Dictionary]:
        """What was learnt, each with `details` and its own settings."""
        return [
            learner.dictionary(one.site, one.target, {**details, "name": one.name, "training": one.plain()})
            for one, learner in zip(self.wanted, self.learners, strict=True)
        ]

    # ------------------------------------------------------------ checkpoints

    def _is_due(self, clock: _Clock) -> bool:
        if self.step >= self.steps:
            return False
        return clock.is_due() if self.checkpoint_every is None else self.step % self.checkpoint_every == 0

    def _write(self) -> None:
        values = self.identity, self.environment, self.source.state(), self.seconds, self.log
        state = dict(zip(KEPT, values, strict=True))
        files: dict[str, dict[str, Tensor]] = {"buffer": self.buffer.state()}
        files |= {f"learner-{i}": learner.state() for i, learner in enumerate(self.learners)}
        if self.out is not None:
            checkpoint.write(self.out, self.step, state, files)

    def load(self, state: Mapping[str, Any], files: Mapping[str, dict[str, Tensor]]) -> None:
        """Go on from a checkpoint whose identity has been compared."""
        self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]
        self.source.load(state["source"])
        self.buffer.load(files["buffer"], self.learners[0].device)
        for i, learner in enumerate(self.learners):
            learner.load(files[f"learner-{i}"])


class _Clock:
    """Seconds of work, with those before a resume; when the next checkpoint is due."""

    def __init__(self, before: float) -> None:
        self.start = time.perf_counter() - before
        self.last, self.cost = time.perf_counter(), 0.0

    def now(self) -> float:
        return time.perf_counter() - self.start

    def is_due(self) -> bool:
        return time.perf_counter() - self.last >= max(SECONDS, self.cost / SHARE)

    def writing(self, write: Any) -> None:
        """Write a checkpoint and remember how long it took."""
        started = time.perf_counter()
        write()
        self.last = time.perf_counter()
        self.cost = self.last - started
