"""The generic functions that show a value know no class, and say so of one that nobody shows."""

from __future__ import annotations

import pytest

from interp.formatting.showing import card, figure, page


class Unknown:
    """A class that no display room shows."""


@pytest.mark.parametrize("generic", [card, figure, page], ids=lambda f: f.__name__)
def test_a_class_that_nobody_shows_is_named(generic: object) -> None:
    with pytest.raises(TypeError, match="Unknown has no "):
        generic(Unknown())  # type: ignore[operator]


def test_what_is_registered_is_shown_with_its_options() -> None:
    class Shown:
        """A class of this test."""

    card.register(Shown, lambda value, said="": f"<b>{said}</b>")
    assert card(Shown(), said="x") == "<b>x</b>"
