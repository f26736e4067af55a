"""What differs between two trainings, in words."""

from __future__ import annotations

import pytest

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.checkpoints.identity import check_same


def test_differences_are_short_and_those_of_another_version_come_last() -> None:
    before = {"a": {"sha256": "1f" * 32}, "b": "x" * 100 + ".txt", "dictionaries": {"one": {"k": 1}, "two": {"k": 1}}}
    now = {"a": {"sha256": "2e" * 32}, "b": "x" * 100 + ".md", "aa": 3, "dictionaries": {"two": {"k": 2}, "new": {}}}
    with pytest.raises(DictionaryError) as found:
        check_same(before, now)
    words = str(found.value)
    assert "dictionaries were one, two; now two, new; b was 'xxx" in words and "x.txt', now 'xxx" in words
    assert "x.md'; a.sha256 was '1f1f1f1f1f1f…', now '2e2e2e2e2e2e…' (and 2 more)" in words and len(words) < 400
    with pytest.raises(DictionaryError, match=r"another: b was 1, now 2; aa was not given, now 3\. Give"):
        check_same({"b": 1}, {"b": 2, "aa": 3})
