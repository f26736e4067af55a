"""Prompts of one length: generated, or kept of a file, and never without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import interp
from interp.errors import TaskError
from interp.tasks.find import alike
from interp.tasks.lengths import length_of
from interp.tasks.task import Task


@pytest.fixture(scope="module")
def demo() -> Any:
    return interp.load("demo")


def lengths(task: Task, model: Any) -> list[int]:
    return [pair.length for pair in task.tokenize(model.tokenizer, model.layout.d_vocab)]


def test_a_generated_task_gives_as_many_prompts_of_the_length_that_is_asked_for(demo: Any) -> None:
    plain = interp.task("ioi", demo, n=40)
    assert len(set(lengths(plain, demo))) > 1
    for length in set(lengths(plain, demo)):
        task = interp.task("ioi", demo, n=15, length=length)
        assert lengths(task, demo) == [length] * 15
        assert len({(p.clean, p.corrupt) for p in task.pairs}) == 15
        assert f"{length} tokens" in task.source
        assert [p for p in plain.pairs if length_of(p, demo.tokenizer) == length][:15] == list(task.pairs)[
            : lengths(plain, demo).count(length)
        ]


def test_the_commonest_length_is_that_of_most_and_keeps_the_number_of_pairs(demo: Any) -> None:
    found = lengths(interp.task("ioi", demo, n=60), demo)
    most = max(set(found), key=found.count)
    task = interp.task("ioi", demo, n=60, length="commonest")
    assert lengths(task, demo) == [most] * 60
    assert "commonest" in task.source
    same = interp.task("induction", demo, n=5, length=6)
    assert all(len(set(pair.clean.split())) == 6 for pair in same.pairs)  # the option of this task: words


def test_a_task_of_one_length_is_the_same_with_or_without_it(demo: Any) -> None:
    plain = interp.task(
        "ioi", demo, n=20, length=interp.task("ioi", demo, n=1).tokenize(demo.tokenizer, 10**6)[0].length
    )
    assert interp.task(plain, demo, length="commonest") == plain
    assert alike(plain, demo) == (plain, "")


def test_lengths_that_no_prompt_has_are_refused(demo: Any) -> None:
    for wrong, match in ((0, "length=0"), (-3, "length=-3"), ("longest", "'longest'"), (3, "of 3 tokens")):
        with pytest.raises(TaskError, match=match):
            interp.task("ioi", demo, n=2, length=wrong)
    pair = interp.task("ioi", demo, n=1)
    with pytest.raises(TaskError, match="has so many tokens; there are pairs of"):
        interp.task(pair, demo, length=3)


@pytest.fixture
def mixed(demo: Any, tmp_path: Path) -> Path:
    """A file of pairs of several lengths."""
    rows = [
        {"clean": p.clean, "corrupt": p.corrupt, "answer": p.answers[0], "wrong": p.wrong[0]}
        for p in interp.task("ioi", demo, n=30).pairs
    ]
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_of_a_file_the_pairs_of_a_length_are_kept_in_order_and_named_by_their_lines(demo: Any, mixed: Path) -> None:
    whole = interp.task(mixed, demo)
    found = lengths(whole, demo)
    most = max(sorted(set(found)), key=found.count)
    kept = interp.task(mixed, demo, length="commonest")
    assert kept.pairs == tuple(p for p, length in zip(whole.pairs, found, strict=True) if length == most)
    assert [p.where for p in kept.pairs] == [f"mixed.jsonl line {i}" for i, n in enumerate(found, 1) if n == most]
    assert f"{len(kept)} of 30 pairs" in kept.source
    assert interp.task(mixed, demo, n=3, length=most).pairs == kept.pairs[:3]
