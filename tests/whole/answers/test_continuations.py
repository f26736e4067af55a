"""Answers of several tokens: the log-probability of the forced continuation, on every engine, against runs of one token each.

The laws: log p(t1 .. tk | prompt) is the sum of log p(tj | prompt t1 .. tj-1), each a metric of one token on a longer prompt,
and no token sees later ones; so the values and scores of the continuation are the sums of theirs, method by method.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import circuits
import interp
from circuits.anatomy.overview import measure_accuracy
from interp.attribution.path_patching import path_patch
from interp.attribution.request import attribute
from interp.errors import MetricError, TaskError
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS
from interp.tasks.pairs.token_pairs import TokenPair, digest
from interp.tasks.task import Task
from tests.circuits.cli.called import Run, run
from tests.interp.attribution.features.given_dictionaries import given
from tests.interp.model.tiny import OWN_ATTENTION, VOCAB, hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

__all__ = ["run"]

#: Answers of one, two and three tokens, so that a batch of one length holds several kinds.
ANSWERS = ((7,), (9, 11), (20, 5, 31), (8, 8), (12,), (40, 41, 42))
LENGTHS = (7, 6, 5, 6, 7, 5)


def continued(prompts: Task, answers: Sequence[tuple[int, ...]] = ANSWERS) -> Task:
    """The prompts of a task with these answers, one for each."""
    pairs = []
    for pair, tokens in zip(prompts.pairs, answers, strict=True):
        assert pair.ids is not None
        clean, corrupt = ((*ids, *tokens[:-1]) for ids in pair.ids.prompts)
        ids = TokenPair(clean, corrupt, tokens[-1:], (), pair.spans, len(tokens) - 1)
        pairs.append(replace(pair, ids=ids))
    return Task("continued", tuple(pairs))


def token_by_token(task: Task) -> list[tuple[int, Task]]:
    """Every token of every answer as a pair of its own, with the pair that it belongs to."""
    found = []
    for i, pair in enumerate(task.pairs):
        assert pair.ids is not None
        clean, corrupt = pair.ids.prompts
        answer = pair.ids.continuation or pair.ids.answers
        for j, token in enumerate(answer):
            ids = TokenPair((*clean, *answer[:j]), (*corrupt, *answer[:j]), (token,), (), pair.spans)
            found.append((i, Task("one", (replace(pair, ids=ids),))))
    return found


@pytest.fixture(scope="module")
def task() -> Task:
    return continued(toy_task(6, lengths=LENGTHS))


def summed(model: Any, task: Task, **options: Any) -> np.ndarray:
    """The sum of the scores of one token each [example part]."""
    rows: dict[int, np.ndarray] = {}
    for i, one in token_by_token(task):
        rows[i] = rows.get(i, 0) + attribute(model, one, metric="log_prob", **options).per_example[0]
    return np.stack([rows[i] for i in range(len(task))])


SOME = ["a1.h0->logits", "embed->m0", "m0->a1.h1<q>", "a0.h2->a1.kv0<k>", "a0.h1->m1", "m1->logits"]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("exact", "heads"), ("exact", "neurons"), ("exact", "qkv"), ("exact", "edges"),
        ("atp", "heads"), ("atp-ig", "blocks"), ("relp", "neurons"), ("relp-ah", "heads"), ("attnlrp", "blocks"),
        ("eap", "edges"), ("relp", "edges"), ("eap-ig", "edges"),
    ],
)  # fmt: skip
def test_scores_are_the_sums_of_those_of_single_tokens(method: str, level: str, direction: str, task: Task) -> None:
    some = {"parts": SOME} if (method, level) == ("exact", "edges") else {}
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        found = attribute(model, task, method=method, level=level, metric="log_prob", direction=direction, **some)
        expected = summed(model, task, method=method, level=level, direction=direction, **some)
    np.testing.assert_allclose(found.per_example, expected, rtol=1e-8, atol=1e-10)
    assert np.abs(found.per_example).max() > 1e-3


@pytest.mark.broad
@pytest.mark.parametrize("method", ["exact", "atp", "relp"])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "cohere", "granite", "qwen3", *OWN_ATTENTION])
def test_scores_are_the_sums_in_every_kind_of_model(name: str, method: str, task: Task) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        found = attribute(model, task, method=method, level="heads", metric="log_prob")
        expected = summed(model, task, method=method, level="heads")
    np.testing.assert_allclose(found.per_example, expected, rtol=1e-7, atol=1e-9)


def slow(logits: torch.Tensor, pair: TokenPair) -> torch.Tensor:
    """Sum of the log-probabilities of the answer's tokens from all logits [pos d_vocab], token by token."""
    answer = pair.continuation or pair.answers
    first = len(pair.prompts[0]) - 1
    return sum((logits[first + j].log_softmax(-1)[token] for j, token in enumerate(answer)), torch.zeros(()))


def test_runs_patches_and_gradients_are_those_of_plain_transformers(task: Task) -> None:
    """Attention outputs, patched by a hook in plain transformers one at a time, and gradients by autograd."""
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        found = {m: attribute(model, task, method=m, level="blocks", metric="log_prob") for m in ("exact", "atp")}
        for row, pair in enumerate(task.tokenize(None, VOCAB, several=True)):
            clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])
            seen: dict[str, torch.Tensor] = {}
            block = model.hf.model.layers[1].self_attn
            keep = block.register_forward_hook(lambda m, a, y, seen=seen: seen.update(out=y[0]))
            model.hf(clean)
            keep.remove()
            source = seen["out"].detach()
            look = block.register_forward_hook(lambda m, a, y, seen=seen: seen.update(out=y[0]))
            base = slow(model.hf(corrupt).logits[0], pair)
            look.remove()
            (g,) = torch.autograd.grad(base, seen["out"])
            gradient = float((g * (source - seen["out"])).sum())
            put = block.register_forward_hook(lambda m, a, y, source=source: (source, *y[1:]))
            patched = slow(model.hf(corrupt).logits[0], pair)
            put.remove()
            at = [p.name for p in found["exact"].parts].index("attn_out.1")
            assert found["exact"].per_example[row, at] == pytest.approx(float((patched - base).detach()), rel=1e-8)
            assert found["atp"].per_example[row, at] == pytest.approx(gradient, rel=1e-8)


@pytest.mark.parametrize("method", ["exact", "relp"])
def test_positions_are_those_of_the_prompt_and_the_answer_is_the_rest(method: str) -> None:
    alike = continued(toy_task(3, lengths=(5,)), ANSWERS[:3])
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        options: dict[str, Any] = {"method": method, "level": "heads", "metric": "log_prob"}
        found = {mode: attribute(model, alike, positions=mode, **options) for mode in ("each", "end", "spans", "all")}
        assert tuple(found["each"].positions()) == (0, 1, 2, 3, 4, "rest")
        assert tuple(found["end"].positions()) == ("rest", -5, -4, -3, -2, -1)
        rows = {mode: {p.name: x for p, x in zip(s.parts, s.per_example.T, strict=True)} for mode, s in found.items()}
        expected: dict[str, np.ndarray] = {}
        for i, one in token_by_token(alike):
            scores = attribute(model, one, positions="each", **options)
            for part, value in zip(scores.parts, scores.per_example[0], strict=True):
                position = part.position if isinstance(part.position, int) and part.position < 5 else "rest"
                name = replace(part, position=position).name
                expected.setdefault(name, np.zeros(3))[i] += value
    if method == "relp":  # patches of several positions at once do not add up
        for name, row in rows["all"].items():
            together = sum(rows["each"][n] for n in rows["each"] if n.partition("@")[0] == name)
            np.testing.assert_allclose(together, row, rtol=1e-8, atol=1e-12)
    else:
        expected = {name: row for name, row in expected.items() if not name.endswith("rest")}
    assert len(expected) > 10
    for name, row in expected.items():
        np.testing.assert_allclose(rows["each"][name], row, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("ablation", ["counterfactual", "resample", "mean", "zero"])
def test_evaluations_run_the_continuation_too(ablation: str, task: Task) -> None:
    """The full circuit is the model, the empty one has everything ablated; and under counterfactual ablation sums hold."""
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        for level in ("heads", "edges"):
            scores = attribute(model, task, method="relp", level=level, metric="log_prob", ablation=ablation)
            circuit = circuits.discover(scores, n=5)
            found = circuits.evaluate(
                model, task, circuit, scores=scores, n_random=1, metric="log_prob", ablation=ablation, held_out=False
            )
            expected = [slow(model.run(torch.tensor([p.clean])).logits[0], p) for p in tokens_of(task)]
            assert found.full == pytest.approx(float(torch.stack(expected).mean()), rel=1e-8)
            if ablation != "counterfactual":
                continue
            rows = [0.0] * len(task)
            for i, one in token_by_token(task):
                rows[i] += circuits.evaluate(
                    model, one, circuit, scores=scores, n_random=1, metric="log_prob", ablation=ablation, held_out=False
                ).circuit
            assert found.circuit == pytest.approx(np.mean(rows), rel=1e-8)


def tokens_of(task: Task) -> list[TokenPair]:
    return task.tokenize(None, VOCAB, several=True)


@pytest.mark.parametrize("method", ["gradient-x-input", "relp", "integrated-gradients", "deeplift", "feature-ablation"])
def test_tokens_are_scored_by_all_tokens_of_the_answer(method: str, task: Task) -> None:
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        options: dict[str, Any] = {"method": method, "metric": "log_prob", "baseline": None}
        found = interp.attribute_tokens(model, task, **options)
        rows = [np.zeros(len(values)) for values in found.values]
        values = [0.0] * len(task)
        for i, one in token_by_token(task):
            own = interp.attribute_tokens(model, one, **options)
            rows[i][: len(own.values[0])] += own.values[0]
            values[i] += own.clean_metric[0]
    np.testing.assert_allclose(found.clean_metric, values, rtol=1e-9)
    for row, expected in zip(found.values, rows, strict=True):
        np.testing.assert_allclose(row, expected, rtol=1e-3 if method == "deeplift" else 1e-8, atol=1e-9)
    if method == "deeplift":
        np.testing.assert_allclose(found.delta, 0, atol=1e-6)


def test_deeplift_and_paths_are_the_sums_too(task: Task) -> None:
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        found = attribute(model, task, method="deeplift", level="heads", metric="log_prob").per_example
        np.testing.assert_allclose(found, summed(model, task, method="deeplift", level="heads"), rtol=2e-3, atol=1e-5)
        ends: dict[str, Any] = {"senders": ["a0.h0"], "receivers": ["a1.h1<q>", "logits"], "metric": "log_prob"}
        paths = path_patch(model, task, **ends).per_example
        expected = np.zeros_like(paths)
        for i, one in token_by_token(task):
            expected[i] += path_patch(model, one, **ends).per_example[0]
    np.testing.assert_allclose(paths, expected, rtol=1e-8)
    assert np.abs(paths).max() > 1e-3


@pytest.mark.parametrize("metric", [name for name in METRICS if not METRICS[name].several])
def test_other_metrics_refuse_and_name_one_that_takes_it(metric: str, task: Task) -> None:
    with pytest.raises((TaskError, MetricError), match="'log_prob'"):
        attribute(hooked("llama"), task, method="exact", level="heads", metric=metric)


def test_a_metric_of_ones_own_says_that_it_takes_several(task: Task) -> None:
    seen = []

    def first(logits: torch.Tensor, targets: Any) -> torch.Tensor:
        seen.append((logits.ndim, targets.forced is not None))
        return -METRICS["cross_entropy"].function(logits, targets)

    model, own = hooked("llama"), Metric("own", first, "nats", "own", needs_wrong=False, several=True)
    found = attribute(model, task, method="atp", level="heads", metric=own)
    expected = attribute(model, task, method="atp", level="heads", metric="log_prob")
    assert np.array_equal(found.per_example, expected.per_example)
    assert {(2, False), (3, True)} >= set(seen)
    with pytest.raises(MetricError, match="several=True"):
        Metric("own", first, "nats", "own", vocabulary="answers", several=True)


def test_pairs_of_one_prompt_stay_in_one_half_whatever_their_answers(task: Task) -> None:
    prompt, other = task.pairs[2], task.pairs[1]
    longer = continued(Task("t", (prompt, other)), ((20, 6), (9, 11)))
    twice = Task("t", (prompt, *longer.pairs))
    tokens = tokens_of(twice)
    assert len(twice.repeats(tokens)) == 1
    assert len(set(digest(tokens))) == 3
    first = TokenPair((5, 6, 7), (4, 6, 7), (8,), ())
    assert digest([first]) != digest([replace(first, forced=1)])


@pytest.mark.parametrize(
    "broken",
    [
        {"corrupt": (4, 6, 9)}, {"forced": 3}, {"wrong": (9,)}, {"answers": (8, 9)}, {"forced": -1}, {"forced": 0.5},
    ],
)  # fmt: skip
def test_ids_of_a_continuation_are_checked(broken: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match="forced"):
        TokenPair(**{"clean": (5, 6, 7), "corrupt": (4, 6, 7), "answers": (8,), "wrong": (), "forced": 1} | broken)


def test_features_are_patched_behind_the_continuation_too(task: Task) -> None:
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        dictionaries = {own.target: own for own in given(model).values() if own.target.kind != "mlp_out"}
        options: dict[str, Any] = {"level": "features", "metric": "log_prob", "dictionaries": dictionaries}
        for method in ("relp", "exact"):
            found = attribute(model, task, method=method, **options)
            rows: dict[tuple[int, str], float] = {}
            for i, one in token_by_token(task):
                scores = attribute(model, one, method=method, **options)
                for part, value in zip(scores.parts, scores.per_example[0], strict=True):
                    rows[i, part.name] = rows.get((i, part.name), 0.0) + value
            for i, row in enumerate(found.per_example):
                expected = [rows.get((i, part.name), 0.0) for part in found.parts]
                np.testing.assert_allclose(row, expected, rtol=1e-7, atol=1e-9)
        circuit = circuits.discover(found, n=4)
        judged = circuits.evaluate(
            model, task, circuit, scores=found, n_random=1, metric="log_prob", dictionaries=dictionaries
        )
        full = [slow(model.run(torch.tensor([p.clean])).logits[0], p) for p in tokens_of(task)]
    assert judged.full == pytest.approx(float(torch.stack(full).mean()), rel=1e-7)
    assert np.abs(found.per_example).max() > 1e-3


def test_accuracy_is_that_of_all_tokens() -> None:
    """Answers that the model itself goes on with are right; with any one of their tokens changed they are not."""
    model, prompts, said = hooked("llama"), toy_task(4, lengths=(5,)), list[str]()
    answers = []
    for i, pair in enumerate(prompts.pairs):
        assert pair.ids is not None
        ids = list(pair.ids.clean)
        for _ in range(3):
            ids.append(int(model.run(torch.tensor([ids])).logits[0, -1].argmax()))
        best = ids[-3:]
        if i:
            best[i - 1] = (best[i - 1] + 1) % VOCAB
        answers.append(tuple(best))
    assert measure_accuracy(model, continued(prompts, answers), said.append, several=True) == {"clean": 0.25}
    assert "several tokens" in said[0]


def test_a_run_of_answers_of_several_tokens_goes_through(run: Run) -> None:
    task = interp.task("ioi", interp.load("demo"), n=8)
    rows = [{"clean": p.clean, "corrupt": p.corrupt, "wrong": f"{p.wrong[0]} and"} for p in task.pairs]
    for i, (row, p) in enumerate(zip(rows, task.pairs, strict=True)):
        row["answer"] = f"{p.answers[0]} and{p.wrong[0]}" if i % 2 else f"{p.answers[0]} and"
    Path("t.json").write_text(json.dumps(rows))
    few = ("--task", "t.json", "--n", "2", "--random", "1", "--method", "relp")
    code, _, err = run("discover", *few, "--out", "r")
    assert code == 2 and "is 2 tokens" in err and "'log_prob'" in err and not Path("r").exists()
    code, _, err = run("discover", *few, "--out", "r", "--metric", "log_prob")
    assert code == 0, err
    shown = json.loads(Path("r/prompts.json").read_text())
    assert (
        shown["prompts"][0]["answers"] == [rows[0]["answer"]]
        and shown["prompts"][0]["clean_tokens"][-1] == task.pairs[0].answers[0]
    )
    assert rows[0]["answer"].strip() in Path("r/report.html").read_text()
    code, _, err = run("evaluate", "r", "--random", "1", "--tests", "2", "--json")
    assert code == 0, err
    assert run("evaluate", "r", "--metric", "logit_diff", "--random", "1", "--tests", "2")[0] == 2
