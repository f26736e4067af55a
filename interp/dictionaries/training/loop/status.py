"""How a training stands: a progress bar on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

Say = Callable[[str], None]

#: What is shown beside the bar, and how.
SHOWN = (("loss", "loss {:.4g}"), ("l0", "L0 {:.1f}"), ("explained_variance", "EV {:.3f}"), ("dead", "dead {:.1%}"))
#: Seconds between two lines.
EVERY: Final = 30.0


@contextmanager
def training_bar(
    total: int, done: int, show: bool | None, say: Say | None = None
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yields `at(step, measures)`. `show` None: only where standard error is a terminal. Without a bar `say` is told lines."""
    if not (sys.stderr.isatty() if show is None else show):
        yield (lambda step, measures: None) if say is None else _Lines(total, say).at
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)

        def at(step: int, measures: Mapping[str, float]) -> None:
            bar.update(task, completed=step, description=words(measures) if measures else None)

        yield at


class _Lines:
    """Says where the training is, with what was measured last."""

    def __init__(self, total: int, say: Say) -> None:
        self.total, self.say = total, say
        self.last = time.monotonic()
        self.measured: tuple[int, Mapping[str, float]] = (0, {})

    def at(self, step: int, measures: Mapping[str, float]) -> None:
        if measures:
            self.measured = step, measures
        if time.monotonic() - self.last < EVERY or step == self.total:
            return
        self.last = time.monotonic()
        when, found = self.measured
        earlier = f" (at step {when:,})" if found and when != step else ""
        self.say(f"step {step:,} of {self.total:,}" + (f": {words(found)}{earlier}" if found else ""))


def words(measures: Mapping[str, float]) -> str:
    """`loss 12.3, L0 32.0, EV 0.912, dead 1.2%`."""
    return ", ".join(form.format(measures[key]) for key, form in SHOWN if key in measures)
