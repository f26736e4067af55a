"""Circuits of tasks judged on each other's pairs, beside what `resplit` and `evaluate` give of the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuits
import interp
from circuits.comparison.transfers import Transfer
from interp.errors import InterpError


@pytest.fixture(scope="module")
def model() -> Any:
    return interp.load("demo")


@pytest.fixture(scope="module")
def found(model: Any) -> Transfer:
    tasks = {"names": interp.task("ioi", model, n=12), "verbs": interp.task("sva", model, n=12)}
    return circuits.transfer(model, tasks, method="exact", n=6, n_random=5)


def test_each_does_for_its_own_and_not_for_the_other(found: Transfer) -> None:
    f = found.faithfulness
    assert f[0, 0] > 0.8 and f[1, 1] > 0.7 and abs(f[0, 1]) < 0.2 and abs(f[1, 0]) < 0.2
    assert found.held_out and found.n_pairs == (6, 6) and [len(p) for p in found.parts] == [6, 6]
    assert np.array_equal(np.diag(found.jaccard), [1, 1]) and found.jaccard[0, 1] == found.jaccard[1, 0] < 1
    assert found.own > 0.75 > 0.2 > abs(found.others) and "names" in str(found)


def test_the_cells_are_what_evaluate_gives(found: Transfer, model: Any) -> None:
    first, second = (interp.task(name, model, n=12).split(seed=0) for name in ("ioi", "sva"))
    circuit = circuits.discover(interp.attribute(model, first[0], method="exact", level="heads"), n=6)
    assert tuple(part.name for part in circuit.parts) == found.parts[0]
    for j, (_, judged) in enumerate((first, second)):
        own = circuits.evaluate(model, judged, circuit, n_random=5, sizes=[6], other_ablation="none")
        assert found.faithfulness[0, j] == pytest.approx(own.faithfulness.value)
        assert (found.low[0, j], found.high[0, j]) == pytest.approx((own.faithfulness.low, own.faithfulness.high))
        assert found.random[0, j] == pytest.approx(np.median(own.curve[0].random))


def test_it_is_a_table_that_is_a_file(found: Transfer, tmp_path: Path) -> None:
    found.save(tmp_path / "t.parquet")
    again = Transfer.load(tmp_path / "t.parquet")
    assert str(again) == str(found) and np.array_equal(again.faithfulness, found.faithfulness)
    rows = found.to_pandas()
    assert rows[["circuit", "task"]].values.tolist() == [
        ["names", "names"],
        ["names", "verbs"],
        ["verbs", "names"],
        ["verbs", "verbs"],
    ]


@pytest.mark.parametrize(
    ("tasks", "options", "said"),
    [
        ("ioi", {}, "transfer of one task"),
        (["ioi"], {}, "transfer of 1 task"),
        (["ioi", "ioi"], {}, "have one name"),
        (["ioi", 3], {}, "tasks: given int, expected a list of Task"),
        (["ioi", "svb"], {}, "unknown task 'svb'"),
        (["ioi", "sva"], {"level": "qkv"}, "level 'qkv' is a map"),
        (["ioi", "sva"], {"method": "relpp"}, "relpp"),
        (["ioi", "sva"], {"n": 0}, "n=0"),
        (["ioi", "sva"], {"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input_is_one_sentence(tasks: Any, options: dict[str, Any], said: str, model: Any) -> None:
    with pytest.raises(InterpError, match=re.escape(said)) as raised:
        circuits.transfer(model, tasks, **{"method": "relp", **options})
    assert "\n" not in str(raised.value)


def test_two_tasks_in_one_are_two_mechanisms_whose_circuits_do_not_transfer(model: Any) -> None:
    first, second = interp.task("ioi", model, n=16), interp.task("sva", model, n=16)
    both = interp.Task("both", (*first.pairs, *second.pairs))
    scores = interp.attribute(model, both, method="exact", level="heads")
    groups = interp.mechanisms(scores, both)
    assert groups.n == 2 and groups.groups.tolist() == [0] * 16 + [1] * 16
    alone = interp.mechanisms(interp.attribute(model, first, method="exact", level="heads"), first)
    assert alone.n == 1
    found = circuits.transfer(model, groups.tasks(both), method="exact", n=6, n_random=2)
    assert found.names == groups.names and found.own > 0.7 and abs(found.others) < 0.2
