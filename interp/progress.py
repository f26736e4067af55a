"""How far a long loop is: a bar with the time left on a terminal, or whatever the program around it shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int], None]
#: Shows one loop of `total` steps under a title, and is told of every step.
Shown = Callable[[str, int], AbstractContextManager[Advance]]

_around: ContextVar[Shown | None] = ContextVar("interp_progress", default=None)


@contextmanager
def shown_by(show: Shown) -> Iterator[None]:
    """Loops inside are shown by `show(title, total)`: a program that has a display of its own keeps one display."""
    before = _around.set(show)
    try:
        yield
    finally:
        _around.reset(before)


@contextmanager
def progress(title: str, total: int, show: bool | None = None) -> Iterator[Advance]:
    """Yields `advance(steps)`. `show` None: by the program around, else only where standard error is a terminal."""
    around = _around.get()
    if around is not None and show is not False and total > 1:
        with around(title, total) as advance:
            yield advance
        return
    if around is not None or not (sys.stderr.isatty() if show is None else show) or total <= 1:
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)
