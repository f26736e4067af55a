"""What standard output and standard error do with characters that their encoding lacks."""

from __future__ import annotations

import io
import sys
import unicodedata

import pytest

from circuits.console.streams import PLAIN, Readable

TEXT = "−0.3 … a→b · “q” ≥ 1 ⟨U+202E⟩ é 中 \U0001f600"


def _stream(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "shift_jis", "koi8-r"])
def test_what_an_encoding_lacks_is_written_in_ascii(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = _stream(encoding), _stream(encoding, "backslashreplace")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    found = Readable()
    for stream in (out, err):
        stream.write(TEXT)
        seen = _written(stream)
        assert "\\U0001f600" in seen and "?" not in seen
        for c in TEXT:
            try:
                c.encode(encoding)
            except UnicodeEncodeError:
                assert c not in seen
            else:
                assert c in seen
    assert encoding.replace("-", "") in found.told().replace("-", "").replace("iso8859_1", "latin1")


def test_numbers_keep_their_sign_and_arrows_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _stream("cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    Readable()
    out.write("−0.31 a0.h1→m2 ≥")
    assert _written(out) == "-0.31 a0.h1->m2 >="


def test_a_stream_of_utf8_is_written_as_it_is_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _stream("utf-8", "surrogateescape")
    monkeypatch.setattr(sys, "stdout", out)
    found = Readable()
    out.write(TEXT)
    assert _written(out) == TEXT and found.told() == "" and out.errors == "surrogateescape"


def test_what_is_in_ascii_already_needs_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _stream("cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    found = Readable()
    out.write("plain words")
    assert found.told() == ""


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_streams_that_cannot_be_told_are_left_alone(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    assert Readable().told() == ""


def test_replacements_are_ascii_for_what_is_not() -> None:
    assert all(len(c) == 1 and ord(c) > 127 and unicodedata.name(c) for c in PLAIN)
    assert all(text.isascii() for text in PLAIN.values())
