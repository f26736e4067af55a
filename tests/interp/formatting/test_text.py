"""Text from outside, made visible."""

from __future__ import annotations

from interp.formatting.text import token, visible


def test_visible_text() -> None:
    assert visible("a\u202eb\x00\ud800") == "a⟨U+202E⟩b⟨U+0000⟩⟨U+D800⟩"
    assert token(" the") == "·the" and token("\n") == "↵" and token("") == "⟨empty⟩" and token("·") == "⟨U+00B7⟩"
    assert token("x" * 100).endswith("… (20 more characters)")
    assert visible("\u0308a") == "◌\u0308a"
