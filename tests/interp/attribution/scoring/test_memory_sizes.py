"""Sizes of memory as they are written."""

from __future__ import annotations

import pytest

from interp.attribution.batching.batch_sizes import parse_bytes
from interp.errors import MethodError


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512), (512, 512), ("1K", 1024), ("2 MiB", 2 << 20), ("1.5GB", 3 << 29), ("1g", 1 << 30)]
)
def test_sizes_are_read(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1GB", "0", "1PB", "2GiBs"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(MethodError, match="max_memory"):
        parse_bytes(text)
