"""Mechanisms: planted mixtures are found, one mechanism is left whole, and groups are named by what they share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import interp
from interp.errors import ScoreError
from interp.examples.example_groups import OUTLIER
from interp.examples.mechanisms import Mechanisms, mechanisms
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from tests.interp.examples.score_mixtures import graded, planted, scores_of

TWO = (np.arange(36) % 3 == 0).astype(int)


def task_of(kinds: np.ndarray, seed: int = 0) -> Task:
    """Prompts whose verb tells the kind; nothing else does."""
    names = np.random.default_rng(seed).permutation(len(kinds))
    verbs = ("saw", "met", "knew")
    return Task(
        "made",
        tuple(
            Pair(f"N{i % 7} {verbs[k]} her", f"M{i % 7} {verbs[k]} her", " a")
            for i, k in zip(names, kinds, strict=True)
        ),
    )


def test_a_planted_mixture_of_two_is_found_and_named() -> None:
    found = mechanisms(scores_of(planted(TWO, 0)), task_of(TWO))
    assert found.n == 2 and np.array_equal(found.groups, 1 - TWO)
    taken = next(one for one in found.tried if one.n == 2)
    assert taken.p_separation <= 0.05 / len(found.tried) and taken.p_stability == 1 / 40 and taken.stability > 0.9  # type: ignore[operator]
    assert found.names == ("1: word 'met'", "2: word 'saw'")
    first = found.shared[0]
    assert (first.inside, first.size, first.outside, first.others) == (12, 12, 0, 24) and first.p < 1e-6
    assert (found.own > found.other).all()
    assert {name: len(task) for name, task in found.tasks(task_of(TWO)).items()} == dict(
        zip(found.names, (12, 24), strict=True)
    )


def test_the_answer_does_not_depend_on_the_size_or_the_order_of_the_scores() -> None:
    x, order = planted(TWO, 1), np.random.default_rng(0).permutation(36)
    plain, other = (mechanisms(scores_of(y), draws=99) for y in (x, 1e3 * x[order] * np.linspace(1, 50, 36)[:, None]))
    assert plain.n == other.n == 2
    same = plain.groups[order][:, None] == plain.groups[order]
    assert np.array_equal(same, other.groups[:, None] == other.groups)
    assert str(plain) == str(mechanisms(scores_of(x), draws=99))


@pytest.mark.parametrize("x", [planted(np.zeros(36, dtype=int), 0), graded(36, 0)], ids=["one", "between two"])
def test_one_mechanism_is_not_split(x: np.ndarray) -> None:
    found = mechanisms(scores_of(x), task_of(TWO))
    assert found.n == 1 and not found.groups.any() and found.shared == ()
    assert np.isnan(found.other).all() and "not told apart" in str(found)


def test_groups_that_share_nothing_say_so_and_attributes_name_them() -> None:
    scores = scores_of(planted(TWO, 2))
    plain = mechanisms(scores, task_of(np.zeros(36, dtype=int)), draws=99)
    assert plain.names == ("1: nothing shared", "2: nothing shared")
    named = mechanisms(scores, attributes={"template": ["ab"[k] for k in TWO]}, draws=99)
    assert named.names == ("1: template b", "2: template a")


def test_an_example_like_no_other_is_in_no_group() -> None:
    x = planted(TWO, 3)
    x[5] = -x.sum(0)
    found = mechanisms(scores_of(x), draws=99)
    assert found.groups[5] == OUTLIER and found.n == 2 and np.isnan(found.own[5]) and not np.isnan(found.other[5])
    assert "1 example in no group" in str(found)


def test_it_is_a_table_that_is_a_file(tmp_path: Path) -> None:
    found = mechanisms(scores_of(planted(TWO, 4)), task_of(TWO), draws=99)
    found.save(tmp_path / "m.parquet")
    again = Mechanisms.load(tmp_path / "m.parquet")
    assert str(again) == str(found) and np.array_equal(again.groups, found.groups) and again.tried == found.tried
    rows = found.to_pandas()
    assert list(rows.columns) == ["example", "group", "own_correlation", "nearest_other", "prompt"]
    assert found.places(0) == np.flatnonzero(TWO).tolist()


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (planted(TWO, 0)[:5], {}, "5 examples make no two groups of 3; expected 6 or more"),
        (planted(TWO, 0), {"least": 19}, "36 examples make no two groups of 19"),
        (planted(TWO, 0)[:, :3], {}, "scores of 3 parts"),
        (np.ones((8, 5)), {}, "of all examples together"),
        (np.vstack([planted(TWO, 0), np.zeros((1, 24))]), {}, "example 36 scores all 24 parts alike"),
        (planted(TWO, 0), {"most": 1}, "most=1"),
        (planted(TWO, 0), {"draws": 5}, "draws=5"),
        (planted(TWO, 0), {"chance": 1.0}, "chance=1.0"),
        (planted(TWO, 0), {"seed": -1}, "seed=-1"),
        (planted(TWO, 0), {"task": task_of(TWO).limit(9)}, "task 'made' has 9 pairs, the scores 36"),
        (planted(TWO, 0), {"attributes": {"a": [1]}, "draws": 19}, "attributes['a'] has 1 values"),
        (planted(TWO, 0), {"task": 3}, "task: given int, expected Task"),
    ],
)
def test_bad_input_is_one_sentence(x: np.ndarray, options: dict[str, object], said: str) -> None:
    with pytest.raises(interp.errors.InterpError, match=re.escape(said)) as raised:
        mechanisms(scores_of(x), **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_a_group_that_is_not_there_is_refused() -> None:
    found = mechanisms(scores_of(planted(TWO, 0)), draws=19)
    with pytest.raises(ScoreError, match="group=9: expected 0 to"):
        found.places(9)
