"""The estimate of memory, and batches that fit what is allowed."""

from __future__ import annotations

import pytest

from interp.attribution import attribute, prepare
from interp.attribution.memory import parse_bytes
from interp.errors import MethodError
from tests.tiny import hooked, toy_task


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512), (512, 512), ("1K", 1024), ("2 MiB", 2 << 20), ("1.5GB", 3 << 29), ("1g", 1 << 30)]
)
def test_sizes_are_read(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1GB", "0", "1PB", "2GiBs"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(MethodError, match="max_memory"):
        parse_bytes(text)


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_batches_fit_what_is_allowed(level: str) -> None:
    model, task = hooked("llama"), toy_task(12)
    free = prepare(model, task, methods=["atp"], level=level).memory
    one = free.fixed + free.per_prompt
    for batch in (1, 3, 11):
        limit = free.fixed + batch * free.per_prompt
        found = prepare(model, task, methods=["atp"], level=level, max_memory=limit).memory
        assert found.batch_size == batch and found.total <= limit
    with pytest.raises(MethodError, match="Allow more"):
        prepare(model, task, methods=["atp"], level=level, max_memory=one - 1)
    with pytest.raises(MethodError, match="Allow more"):
        prepare(model, task, methods=["atp"], level=level, max_memory=one, batch_size=2)


def test_more_parts_and_more_examples_need_more() -> None:
    model = hooked("gpt2")
    few, many = (prepare(model, toy_task(n), methods=["eap"], level="edges").memory for n in (2, 8))
    two = prepare(model, toy_task(2), methods=["eap", "relp"], level="edges").memory
    assert few.fixed < many.fixed and few.fixed < two.fixed and few.per_prompt == many.per_prompt == two.per_prompt


def test_a_limit_changes_no_score() -> None:
    model, task = hooked("gpt2"), toy_task(6)
    free = prepare(model, task, methods=["eap"], level="edges").memory
    limit = free.fixed + 2 * free.per_prompt
    wide, narrow = (attribute(model, task, method="eap", level="edges", max_memory=m) for m in (None, limit))
    assert abs(wide.per_example - narrow.per_example).max() <= 1e-5 * abs(wide.per_example).max()
