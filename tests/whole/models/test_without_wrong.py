"""Pairs without wrong tokens: metrics of the answers alone take them from end to end, others refuse them by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.attribution.methods import METHODS
from interp.attribution.request import attribute
from interp.errors import MetricError
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS, Targets
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.circuits.cli.called import Run, run
from tests.interp.model.tiny import VOCAB, hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

__all__ = ["run"]

ALONE = (
    "logit",
    "log_prob",
    "cross_entropy",
    "kl_source",
    "l2_source",
    "kl_base",
    "l2_base",
    "largest_change",
    "projection",
)
COMPARED = tuple(name for name in METRICS if name not in ALONE)


def without(task: Task) -> Task:
    return replace(task, pairs=tuple(replace(p, ids=replace(p.ids, wrong=())) for p in task.pairs))  # type: ignore[type-var]


@pytest.mark.parametrize("metric", COMPARED)
def test_metrics_that_compare_refuse_a_pair_without_wrong_by_its_name(metric: str) -> None:
    task = toy_task(3)
    one = replace(task, pairs=(task.pairs[0], without(task).pairs[1], task.pairs[2]))
    for call in (interp.attribute, interp.attribute_tokens):
        options: Any = {"method": "relp", "level": "heads"} if call is interp.attribute else {}
        with pytest.raises(MetricError, match=f"{metric!r} compares .* and toy pair 2 of 3 has no 'wrong'.*'log_prob'"):
            call(hooked("llama"), one, metric=metric, **options)
    nothing = Targets(torch.ones(1, 4), torch.zeros(1, 4), all_wrong=False)
    with pytest.raises(MetricError, match="has no 'wrong'"):
        METRICS[metric](torch.zeros(1, 4), nothing)


@pytest.mark.parametrize("metric", ALONE)
def test_metrics_of_the_answers_alone_are_the_same_with_and_without(metric: str) -> None:
    method = "exact" if metric in ("largest_change", "kl_base", "l2_base") else "relp"
    with true_float64():
        model, task = hooked("llama", dtype=torch.float64), toy_task(3, lengths=(6, 5))
        found, expected = (
            attribute(model, t, method=method, level="heads", metric=metric) for t in (without(task), task)
        )
    assert np.array_equal(found.per_example, expected.per_example)


def test_a_metric_of_ones_own_needs_wrong_tokens_unless_it_says_otherwise() -> None:
    model, task = hooked("llama"), without(toy_task(2))
    own: Any = ("own", lambda x, t: (x * (t.answers - t.wrong).to(x.dtype)).sum(-1), "logits", "own")
    with pytest.raises(MetricError, match="'own' compares"):
        attribute(model, task, method="relp", level="heads", metric=Metric(*own))
    attribute(model, task, method="relp", level="heads", metric=Metric(*own, needs_wrong=False))


def rows(n: int) -> list[dict[str, str]]:
    task = interp.task("gender", interp.load("demo"), n=n)
    return [{"clean": p.clean, "corrupt": p.corrupt, "answer": p.answers[0]} for p in task.pairs]


def test_a_run_goes_through_without_wrong_and_its_report_names_none(run: Run) -> None:
    Path("t.json").write_text(json.dumps(rows(8)))
    few = ("--task", "t.json", "--n", "2", "--random", "1")
    code, _, err = run("discover", *few, "--out", "r")
    assert code == 2 and "t.json: pair 1" in err.replace("t.json pair", "t.json: pair") and "'log_prob'" in err
    assert not Path("r").exists()
    code, _, err = run("discover", *few, "--out", "r", "--metric", "log_prob")
    assert code == 0, err
    assert "names no wrong answers" in err
    shown = json.loads(Path("r/prompts.json").read_text())
    assert set(shown["accuracy"]) == {"clean"} and shown["prompts"][0]["wrong"] == []
    page = Path("r/report.html").read_text()
    assert "wrong token is" not in page and "wrong: " not in page.split("<main")[-1].split("script")[0]
    code, _, err = run("evaluate", "r", "--random", "1", "--tests", "2", "--json")
    assert code == 0, err
    assert run("evaluate", "r", "--metric", "logit_diff", "--random", "1", "--tests", "2")[0] == 2
    assert run("report", "r")[0] == 0


def test_accuracy_without_wrong_is_that_of_the_most_probable_token() -> None:
    from circuits.anatomy.overview import measure_accuracy

    model, said = hooked("llama"), list[str]()
    task = without(toy_task(4))
    pairs = []
    for i, pair in enumerate(task.pairs):
        assert pair.ids is not None
        top = int(model.run(torch.tensor([pair.ids.clean])).logits[0, -1].argmax())
        pairs.append(
            replace(pair, ids=replace(pair.ids, answers=((top if i else (top + 1) % VOCAB), (top + 2) % VOCAB)))
        )
    assert measure_accuracy(model, Task("t", tuple(pairs)), said.append) == {"clean": 0.75}
    assert any("no wrong answers" in line for line in said)


def test_a_pair_and_a_command_line_pair_may_leave_wrong_out(run: Run) -> None:
    one = rows(1)[0]
    pair = Pair(one["clean"], one["corrupt"], one["answer"])
    assert not pair.has_wrong and "none" in repr(pair) and TokenPair((1, 2), (1, 3), (4,)).wrong == ()
    assert "wrong" not in Task("t", (pair,))._repr_html_().lower().replace("right after", "")
    args = ("--pair", one["clean"], one["corrupt"], "--answer", one["answer"])
    code, _, err = run("discover", *args)
    assert code == 2 and "--pair has no 'wrong'" in err
    code, _, err = run("discover", *args, "--metric", "log_prob", "--n", "2", "--random", "1", "--quiet")
    assert code == 0, err


def test_files_may_give_ids_of_answers_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    base = {"clean": "a", "corrupt": "b"}
    ids = {"clean_ids": [1, 2], "corrupt_ids": [1, 3]}
    cases: list[tuple[dict[str, Any], Any]] = [
        ({**base, "answer_id": 5}, ((), (5,), (), ())),
        ({**base, "answer": " x", "wrong_id": 6}, ((" x",), (), (), (6,))),
        ({**base, "answer_id": 5, "wrong": " y"}, ((), (5,), (" y",), ())),
        ({**base, "answer_id": 5, "wrong_id": 6, "wrong": " y"}, ((), (5,), (" y",), (6,))),
    ]
    for row, expected in cases:
        path.write_text(json.dumps([row]))
        pair = interp.load_task(path).pairs[0]
        assert (pair.answers, pair.answer_ids, pair.wrong, pair.wrong_ids) == expected
    path.write_text(json.dumps([{**base, **ids, "answer_id": 5}]))
    assert interp.load_task(path).pairs[0].ids == TokenPair((1, 2), (1, 3), (5,))
    path.write_text(json.dumps([{**base, **ids, "answer_id": 5, "wrong": " y"}]))
    with pytest.raises(interp.InterpError, match="expected 'answer_id' and 'wrong_id'"):
        interp.load_task(path)


def test_every_method_takes_a_task_without_wrong() -> None:
    model, task = hooked("llama"), without(toy_task(2))
    for name, method in METHODS.items():
        if method.scores("heads") and not method.search:
            attribute(model, task, method=name, level="heads", metric="log_prob")
