"""The progress bar of a training, with how it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

#: What is shown beside the bar, and how.
SHOWN = (("loss", "loss {:.4g}"), ("l0", "L0 {:.1f}"), ("explained_variance", "EV {:.3f}"), ("dead", "dead {:.1%}"))


@contextmanager
def training_bar(total: int, done: int, show: bool | None) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yields `at(step, measures)`. `show` None: only where standard error is a terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda step, measures: None
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


def words(measures: Mapping[str, float]) -> str:
    """`loss 12.3, L0 32.0, EV 0.912, dead 1.2%`."""
    return ", ".join(form.format(measures[key]) for key, form in SHOWN if key in measures)
