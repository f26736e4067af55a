"""Small pieces of HTML."""

from __future__ import annotations

from interp.formatting.html import joined, text


def test_joined_pieces_are_escaped_once() -> None:
    assert joined("the model's", "", text("<b>"), "a & b", by=" < ") == (
        "the model&#39;s &lt; <bdi>&lt;b&gt;</bdi> &lt; a &amp; b"
    )
