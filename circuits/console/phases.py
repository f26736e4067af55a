"""What a command says while it works, on standard error: numbered phases with their seconds, and how far long loops are.

On a terminal the phase that runs has a line that moves, with the time left where it can be known, and stays with its
seconds when it is over. In a pipe every phase is one plain line when it begins. Standard output is never touched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from rich.markup import escape

from circuits.console import printing
from interp.formatting.text import visible
from interp.progress import Advance, shown_by

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

#: Seconds between two lines about one loop, where nothing moves.
EVERY: Final = 30.0
#: After so many seconds, and such a part of it, a loop says what all of it will take, where that is at least `LONG` seconds:
#: the first steps of a loop say little of the others.
MEASURED: Final = 1.0
PART: Final = 0.05
LONG: Final = 10.0
#: Below this width the bar leaves its place to the words.
NARROW: Final = 60


class Telling(Protocol):
    """What a command says with: `phase` begins the next of its phases, a call says one line about the one that runs.

    `alone`: the phase has a display of its own. `moves`: whether lines may be written again. `phases`: how many there are, as far as is
    known yet.
    """

    moves: bool
    phases: int

    def __call__(self, message: str) -> None: ...
    def phase(self, what: str, *, alone: bool = False) -> None: ...


@contextmanager
def waiting(quiet: bool) -> Iterator[None]:
    """A word on a terminal while libraries load, which comes before everything that phases could tell of."""
    if quiet or not _moves():
        yield
        return
    with printing.err.status("loading libraries", spinner="line"):
        yield


@contextmanager
def telling(phases: int, quiet: bool) -> Iterator[Telling]:
    """How this command tells of its `phases`; long loops inside are shown by it too."""
    kind = _Silence if quiet else _Live if _moves() else _Lines
    teller = kind(phases)
    with ExitStack() as stack:
        stack.enter_context(shown_by(teller.loop))
        stack.push(lambda *raised: teller.end(raised[0] is None))
        teller.begin()
        yield teller


def rounded(seconds: float) -> str:
    """What is expected, in words: seconds, or from 100 on minutes, to two digits."""
    if seconds < 99.5:
        return f"about {seconds:.2g} s"
    minutes = seconds / 60
    return f"about {minutes:.1f} min" if minutes < 9.95 else f"about {float(f'{minutes:.2g}'):,.0f} min"


def _moves() -> bool:
    """Whether standard error is a terminal on which a line can be written again."""
    return sys.stderr.isatty() and printing.err.is_terminal and not printing.err.is_dumb_terminal


class _Silence:
    """Says nothing."""

    moves = False

    def __init__(self, phases: int) -> None:
        self.phases = phases

    def __call__(self, message: str) -> None:
        pass

    def phase(self, what: str, *, alone: bool = False) -> None:
        pass

    def begin(self) -> None:
        pass

    def end(self, well: bool) -> None:
        pass

    @contextmanager
    def loop(self, title: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None


class _Lines:
    """One plain line per phase, as it begins, after the seconds since the command began; of long loops one now and then."""

    moves = False

    def __init__(self, phases: int) -> None:
        self.phases, self.number, self.what = phases, 0, ""
        self.started = time.monotonic()

    def __call__(self, message: str) -> None:
        if message and message != self.what:
            printing.say(message)

    def phase(self, what: str, *, alone: bool = False) -> None:
        self.number, self.what = self.number + 1, what
        self._tell(what)

    def begin(self) -> None:
        pass

    def end(self, well: bool) -> None:
        if well:
            printing.say(f"done in {self._seconds():.1f} s")

    @contextmanager
    def loop(self, title: str, total: int) -> Iterator[Advance]:
        done, started = 0, time.monotonic()
        last, told = started, False

        def advance(steps: int) -> None:
            nonlocal done, last, told
            done, now = done + steps, time.monotonic()
            if not PART * total <= done < total or now - started < MEASURED:
                return
            whole = (now - started) / done * total
            if not told and whole >= LONG:
                last = now
                self._tell(f"{title}: {rounded(whole)}")
            elif now - last >= EVERY:
                last = now
                self._tell(f"{title}: {done:,} of {total:,}, {rounded(whole - (now - started))} left")
            told = True

        yield advance

    def _tell(self, what: str) -> None:
        printing.say(f"[{self.number}/{self.phases}] {self._seconds():6.1f} s  {what}")

    def _seconds(self) -> float:
        return time.monotonic() - self.started


class _Live:
    """A line that moves while a phase runs, bars with the time left below it, and a line that stays when it is over."""

    moves = True

    def __init__(self, phases: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.spinner import Spinner

        self.phases, self.number, self.what = phases, 0, ""
        self.notes: list[str] = []
        self.alone = False
        self.started = self.since = time.monotonic()
        columns: list[str | ProgressColumn] = [TextColumn("     {task.description}"), MofNCompleteColumn()]
        columns += [BarColumn()] if printing.err.width >= NARROW else []
        self.bars = Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=printing.err)
        # Of plain characters, which every terminal has.
        self.spinner = Spinner("line")
        self.live = self._display()

    def __call__(self, message: str) -> None:
        if message and message != self.what:
            # Below the line of its phase, which is written when that is over.
            self.notes.append(message)
            if self.alone:
                self._tell()

    def phase(self, what: str, *, alone: bool = False) -> None:
        self._stay()
        self.number, self.what, self.since = self.number + 1, what, time.monotonic()
        self.alone = alone
        if alone:
            printing.err.print(self._named(), highlight=False)
        else:
            # A new one: it would take the lines of the last phase for its own, and write over them.
            self.live = self._display()
            self.live.start()

    def begin(self) -> None:
        self.live.start()

    def end(self, well: bool) -> None:
        self._stay("" if well else "stopped after ")

    @contextmanager
    def loop(self, title: str, total: int) -> Iterator[Advance]:
        task = self.bars.add_task(escape(visible(title)), total=total)
        try:
            yield lambda steps: self.bars.advance(task, steps)
        finally:
            self.bars.remove_task(task)

    def _stay(self, how: str = "") -> None:
        """The line of the phase that is over, and what was said in it."""
        self.live.stop()
        if self.number:
            took = f"[dim]{how}{time.monotonic() - self.since:.1f} s[/dim]"
            printing.err.print(f"{self._named()}  {took}", highlight=False)
        self._tell()

    def _tell(self) -> None:
        for note in self.notes:
            printing.say(note)
        self.notes.clear()

    def _display(self) -> Live:
        from rich.live import Live

        return Live(get_renderable=self._moving, console=printing.err, transient=True, refresh_per_second=8)

    def _named(self) -> str:
        return f"{escape(f'[{self.number}/{self.phases}]')} {escape(visible(self.what))}"

    def _moving(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        shown = Text.from_markup(self._named()) if self.number else Text("")
        shown.append(f"  {time.monotonic() - self.since:.0f} s", style="dim")
        shown.no_wrap, shown.overflow = True, "ellipsis"
        self.spinner.update(text=shown)
        return Group(self.spinner, self.bars.get_renderable())
