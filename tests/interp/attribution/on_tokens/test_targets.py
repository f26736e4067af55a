"""Targets of one token and of several: the sum of log-probabilities in one pass, each token alone, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import MethodError, TaskError
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


@pytest.fixture(scope="module")
def stories(assets: Path) -> Any:
    return interp.load(assets / "models" / "stories260K")


PAIRS = interp.Task(
    "own",
    (
        interp.Pair(
            "Once upon a time, there was a little girl named", "Once upon a time, there was a little boy named", ("x",)
        ),
        interp.Pair("One day, a girl and Mom went to the", "One day, a boy and Mom went to the", ("x",)),
    ),
)
TARGET = " Lily. She"


def behind(model: Any, text: str, target: str) -> list[int]:
    """The tokens of a target behind a text, as both are cut together."""
    both, before = (model.tokenizer.encode(t, add_special_tokens=False) for t in (text + target, text))
    assert both[: len(before)] == before
    found: list[int] = both[len(before) :]
    return found


def log_probs(model: Any, text: str, target: str) -> list[float]:
    """The log-probability of each token of a target behind a text, token by token, in a run of its own for each."""
    ids = model.tokenize(text).ids[0].tolist()
    found = []
    for token in behind(model, text, target):
        logits = model.hf(input_ids=torch.tensor([ids])).logits[0, -1]
        found.append(float(torch.log_softmax(logits.float(), -1)[token]))
        ids.append(token)
    return found


def test_a_target_of_several_tokens_is_the_sum_of_its_log_probabilities(stories: Any) -> None:
    sides = [[stories.tokenize(side).ids[0].tolist() for side in (p.clean, p.corrupt)] for p in PAIRS.pairs]
    changed = [[int(a == b) for a, b in zip(*both, strict=True)] for both in sides]
    found = interp.attribute_tokens(
        stories, PAIRS, target=TARGET, method="feature-ablation", per_token=True, features=changed
    )
    assert len(set(found.target)) == 1 and len(found.target[0]) > 1 and found.metric == "log_prob"
    for i, pair in enumerate(PAIRS.pairs):
        each = log_probs(stories, pair.clean, TARGET)
        assert found.clean_metric[i] == pytest.approx(sum(each), abs=1e-4)
        assert len(found.places[i]) == len(sides[i][0]) and len(found.values[i]) == 2
        # All that differs is one group, so that replacing it is the corrupt prompt with the same target behind it.
        other = log_probs(stories, pair.corrupt, TARGET)
        own = found.places[i][changed[i].index(0)]
        assert found.values[i][own] == pytest.approx(sum(each) - sum(other), abs=1e-3)
        alone = [row[own] for row in found.per_token[i]]
        assert alone == pytest.approx([a - b for a, b in zip(each, other, strict=True)], abs=1e-3)


@pytest.mark.parametrize("method", ("integrated-gradients", "relp-ah", "shapley", "deeplift"))
def test_tokens_of_a_target_add_up_to_it(stories: Any, method: str) -> None:
    baseline = None if method == "relp-ah" else "corrupt"
    found = interp.attribute_tokens(stories, PAIRS, target=TARGET, method=method, per_token=True, baseline=baseline)
    for whole, each in zip(found.values, found.per_token, strict=True):
        assert np.allclose(np.sum(each, 0), whole, atol=1e-3)
    if found.delta is not None:
        assert max(map(abs, found.delta)) < 1e-2


def test_targets_of_several_lengths_and_one_for_each_pair(stories: Any) -> None:
    targets = [" Lily", " park to play"]
    found = interp.attribute_tokens(
        stories, PAIRS, target=targets, method="feature-ablation", per_token=True, batch_size=8
    )
    for i, pair in enumerate(PAIRS.pairs):
        each = log_probs(stories, pair.clean, targets[i])
        assert len(found.per_token[i]) == len(each) and found.clean_metric[i] == pytest.approx(sum(each), abs=1e-4)


def test_ids_take_a_target_of_one_token_by_its_number() -> None:
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2)
    found = interp.attribute_tokens(model, task, target=7, method="feature-ablation")
    for value, pair in zip(found.clean_metric, task.pairs, strict=True):
        logits = model.hf(input_ids=torch.tensor([pair.ids.clean])).logits[0, -1]
        assert value == pytest.approx(float(torch.log_softmax(logits, -1)[7]), abs=1e-6)
    with pytest.raises(TaskError, match="token id 99, but the model's vocabulary is 0 to 63"):
        interp.attribute_tokens(model, task, target=99)


def test_the_tokens_of_a_target_are_never_replaced(stories: Any) -> None:
    """With the zero baseline too: the ends of the path are the prompt and zeros, each with the target as it is."""
    found = interp.attribute_tokens(
        stories, PAIRS.limit(1), target=TARGET, method="shapley", baseline="zero", samples=4
    )
    assert max(map(abs, found.delta)) < 1e-3
    ids = stories.tokenize(PAIRS.pairs[0].clean).ids[0].tolist()
    forced = behind(stories, PAIRS.pairs[0].clean, TARGET)

    def silenced(x: Any) -> Any:
        return torch.cat([torch.zeros_like(x[:, : len(ids)]), x[:, len(ids) :]], 1)

    run = stories.run(torch.tensor([ids + forced[:-1]]), edits=[interp.Edit("embed", silenced)])
    found_there = torch.log_softmax(run.logits[0], -1)
    base = sum(float(found_there[len(ids) - 1 + k, token]) for k, token in enumerate(forced))
    assert found.clean_metric[0] - found.totals[0] == pytest.approx(base, abs=1e-3)


def test_targets_that_are_none_are_refused(stories: Any) -> None:
    for target, said in (
        ("", "own pair 1 of 2: target is empty"),
        ([" Lily"], "target: 1 given for 2 pairs"),
        ([" Lily", 3.5], "target 3.5: expected a whole number"),
    ):
        with pytest.raises(TaskError, match=said):
            interp.attribute_tokens(stories, PAIRS, target=target)
    with pytest.raises(MethodError, match="metric 'log_prob'"):
        interp.attribute_tokens(stories, PAIRS, target=" Lily", metric="logit", per_token=True)
    with pytest.raises(TaskError, match="one answer of several tokens"):
        interp.attribute_tokens(stories, PAIRS, target=TARGET, metric="logit")
