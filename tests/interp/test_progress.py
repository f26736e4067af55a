"""Who shows the progress of loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from interp.progress import progress, shown_by


def test_who_shows_loops_is_asked_first_and_not_where_none_is_wanted() -> None:
    seen: list[object] = []

    @contextmanager
    def watch(title: str, total: int) -> Iterator[Callable[[int], None]]:
        seen.append((title, total))
        yield seen.append

    with shown_by(watch):
        with progress("a", 5) as advance:
            advance(2)
        with progress("b", 5, show=False) as advance:
            advance(3)
    with progress("c", 5, show=False) as advance:
        advance(4)
    assert seen == [("a", 5), 2]
