"""Every value that shows itself in a notebook is short, and harmless whatever text it carries."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter

from tests.circuits.display.displayed_runs import MAKERS
from tests.interp.display.displayed import HOSTILE, LARGEST, read


@pytest.fixture(scope="module")
def formatter() -> DisplayFormatter:
    return DisplayFormatter()


@pytest.mark.parametrize("kind", MAKERS)
def test_hostile_text_is_text(kind: str, formatter: DisplayFormatter) -> None:
    plain = read(shown(MAKERS[kind]("plain"), formatter))
    for name in HOSTILE:
        found = read(shown(MAKERS[kind](name), formatter))
        assert found.found == plain.found, name
        assert found.attributes == plain.attributes
        assert not [c for c in "".join(found.text) if c in "\x00\x07\x1b\u202e\u2066\u2028\u2029\ufeff\ud800"]
        inner = read(found.source)
        assert inner.found == read(plain.source).found


def shown(value: Any, formatter: DisplayFormatter) -> str:
    """What a notebook is given of a value."""
    data, _ = formatter.format(value)
    assert set(data) == {"text/plain", "text/html"}
    page = data["text/html"]
    page.encode()
    assert type(page) is str  # a string that escapes what it is put together with would spoil the page around it
    assert page == value._repr_html_() and data["text/plain"] == repr(value)
    assert data["text/plain"].replace("\n", "").isprintable()
    return str(page)


@pytest.mark.parametrize("kind", MAKERS)
def test_values_are_short(kind: str) -> None:
    value = MAKERS[kind]("plain")
    page, printed = value._repr_html_(), repr(value)
    assert len(page) < (2_000_000 if kind == "circuit" else LARGEST)
    assert len(printed) < 3000 and len(str(value)) < 3000
    assert "array(" not in printed and "tensor(" not in printed
