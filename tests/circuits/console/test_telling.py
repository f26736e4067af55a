"""What is said of long loops while they run, in a pipe and on a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from circuits.console import phases as telling_module
from circuits.console import printing
from circuits.console.phases import telling
from interp.progress import progress


@contextmanager
def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[list[float]]:
    """Time that goes on by so many seconds with every look."""
    now = [0.0]

    def look() -> float:
        now[0] += seconds
        return now[0]

    monkeypatch.setattr(telling_module.time, "monotonic", look)
    yield now


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        # One look begins the loop, one belongs to each sheep, one to each line: the first sheep took 6 s of 10 times 6,
        # the fifth is at 36 s, 7.2 s each with 5 left, the ninth at 66 s.
        (6.0, ["about 60 s", "5 of 10, about 36 s left", "9 of 10, about 7.3 s left"]),
        (0.5, []),
    ],
)
def test_a_long_loop_in_a_pipe_says_how_long_it_will_take(
    seconds: float, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(printing, "err", Console(file=heard, width=30))
    with clock(monkeypatch, seconds), telling(1, quiet=False) as say:
        say.phase("counting")
        with progress("sheep", 10) as advance:
            for _ in range(10):
                advance(1)
    lines = heard.getvalue().splitlines()
    assert lines[0].startswith("[1/1]") and lines[0].endswith("counting")
    assert [line.partition("sheep: ")[2] for line in lines[1:-1]] == told


def test_what_is_expected_has_two_digits() -> None:
    said = {10.4: "10 s", 38.7: "39 s", 99.6: "1.7 min", 594: "9.9 min", 754: "13 min", 86400: "1,400 min"}
    assert {seconds: telling_module.rounded(seconds) for seconds in said} == {k: f"about {v}" for k, v in said.items()}


def test_quiet_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with telling(2, quiet=True) as say:
        say.phase("one")
        say("WARNING: nobody hears")
        with progress("loop", 3) as advance:
            advance(3)
    seen = capsys.readouterr()
    assert seen.out == seen.err == ""


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_terminal_lines_move_and_stay(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(printing, "err", Console(file=heard, width=width, force_terminal=True, color_system=None))
    monkeypatch.setattr(telling_module, "_moves", lambda: True)
    with telling(2, quiet=False) as say:
        say.phase("one [bold]phase")
        say("a note")
        with progress("loop", 3) as advance:
            advance(1)
            telling_module.printing.err.print("x")
        say.phase("two")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", heard.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    stayed = [line for line in lines if re.fullmatch(r"\[\d/2\] .*  \d+\.\d s", line)]
    assert [line.rpartition("  ")[0] for line in stayed] == ["[1/2] one [bold]phase", "[2/2] two"]
    assert lines.index(stayed[0]) < lines.index("a note") < lines.index(stayed[1])
    assert all(len(line) <= width for line in lines)


def test_a_dumb_terminal_is_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for term, moves in (("dumb", False), ("xterm", True)):
        monkeypatch.setattr(printing, "err", Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": term}))
        assert telling_module._moves() is moves
