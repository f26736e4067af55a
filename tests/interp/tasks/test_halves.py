"""A split of pairs: the same prompts are never in both halves, and pairs that are all different are split as ever."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from interp.errors import TaskError
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task


def _pair(number: int, answer: str = " a") -> Pair:
    return Pair(f"clean {number}", f"corrupt {number}", (answer,), (" b",))


def _task(*numbers: int) -> Task:
    return Task("mine", tuple(map(_pair, numbers)))


@pytest.mark.parametrize("n", [2, 3, 5, 8, 41, 100])
@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.9, 1.0])
def test_different_pairs_are_shuffled_one_by_one_and_cut(n: int, fraction: float) -> None:
    """The halves of a task without repeats are part of every run that was made: each index shuffled, the first share taken."""
    for seed in range(5):
        order = list(range(n))
        random.Random(seed).shuffle(order)
        cut = min(max(1, round(fraction * n)), n - 1)
        halves = _task(*range(n)).split(seed, fraction)
        assert [[p.clean for p in half.pairs] for half in halves] == [
            [f"clean {i}" for i in sorted(part)] for part in (order[:cut], order[cut:])
        ]


@pytest.mark.parametrize("seed", range(40))
def test_the_same_prompts_are_never_in_both_halves(seed: int) -> None:
    rng = random.Random(seed)
    numbers = [rng.randrange(12) for _ in range(30)]
    assert len(set(numbers)) > 1
    first, second = _task(*numbers).split(seed)
    assert first.pairs and second.pairs
    assert not {p.clean for p in first.pairs} & {p.clean for p in second.pairs}
    assert Counter(p.clean for p in (*first.pairs, *second.pairs)) == Counter(f"clean {i}" for i in numbers)


def test_every_pair_twice_gives_halves_of_equal_size() -> None:
    for seed in range(10):
        first, second = _task(*range(10), *range(10)).split(seed)
        assert len(first) == len(second) == 10


def test_the_same_prompts_with_other_answers_stay_together() -> None:
    """Their runs are the same: what was learnt from one is known of the other."""
    pairs = (_pair(0), _pair(1), _pair(2), _pair(0, " c"), _pair(3))
    for seed in range(20):
        halves = Task("mine", pairs).split(seed)
        assert sorted(sum(p.clean == "clean 0" for p in half.pairs) for half in halves) == [0, 2]


def test_the_same_token_ids_are_the_same_pair_however_they_are_written() -> None:
    pairs = tuple(Pair(text, "other", (" a",), (" b",)) for text in ("One", "one", "two", "three"))
    tokens = [TokenPair((i,), (9,), (7,), (8,)) for i in (1, 1, 2, 3)]
    for seed in range(20):
        halves = Task("mine", pairs).split(seed, tokens=tokens)
        assert sorted(sum(p.clean.lower() == "one" for p in half.pairs) for half in halves) == [0, 2]
    assert Task("mine", pairs).repeats(tokens) == [("mine pair 2 of 4", "mine pair 1 of 4")]
    assert Task("mine", pairs).repeats() == []


def test_ids_of_a_pair_tell_it_where_they_are_given() -> None:
    ids = [TokenPair((i,), (9,), (7,), (8,)) for i in (1, 1, 2)]
    pairs = tuple(Pair("", "", (), (), ids=one) for one in ids)
    assert Task("mine", pairs).repeats() == [("mine pair 2 of 3", "mine pair 1 of 3")]


def test_pairs_that_are_all_the_same_have_no_halves() -> None:
    with pytest.raises(TaskError, match="5 pairs of the same prompts; two different ones"):
        _task(*[0] * 5).split()
    with pytest.raises(TaskError, match="has one pair"):
        _task(0).split()
