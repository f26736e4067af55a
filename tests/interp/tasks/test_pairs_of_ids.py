"""Pairs of token ids, for models of text that have no tokeniser."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import TaskError
from interp.parts.outputs import AtMask, Classes, NextToken
from interp.tasks.pairs.input_pairs import InputPair
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task

CLEAN, CORRUPT = torch.tensor([[3, 5, 7]]), torch.tensor([[3, 6, 7]])


def read(pair: Pair, outputs: Any = 10) -> TokenPair:
    (found,) = Task("ids", (pair,)).tokenize(None, NextToken(outputs) if isinstance(outputs, int) else outputs)
    return found


@pytest.mark.parametrize(
    "form", [lambda x: x, lambda x: x[0], lambda x: {"input_ids": x, "attention_mask": torch.ones_like(x)}]
)
def test_inputs_of_ids_are_the_prompts_of_a_model_of_text(form: Any) -> None:
    spans = {"middle": (1, 2)}
    pair = InputPair(form(CLEAN), form(CORRUPT), answers=[0, 2], wrong=1, spans=spans)
    assert read(pair) == TokenPair((3, 5, 7), (3, 6, 7), (0, 2), (1,), spans)


def test_classes_are_asked_for_by_name() -> None:
    pair = InputPair(CLEAN, CORRUPT, answers="cat", wrong="dog")
    assert read(pair, Classes(("dog", "cat"))) == TokenPair((3, 5, 7), (3, 6, 7), (1,), (0,))


def test_what_is_no_text_is_refused() -> None:
    ids = {"answers": 0, "wrong": 1}
    two = torch.cat([CLEAN, CORRUPT])
    padded = {"input_ids": CLEAN, "attention_mask": torch.tensor([[0, 1, 1]])}
    for given in (CLEAN.float(), two, {"input_ids": CLEAN, "token_type_ids": CLEAN}, {"pixel_values": CLEAN}, padded):
        with pytest.raises(TaskError, match=r"ids pair 1 of 1: its inputs are no text.*the ids of one text as 'clean'"):
            read(InputPair(given, given, **ids))
    with pytest.raises(TaskError, match="its prompts are ids, and its answers text \\(' a', ' b'\\); expected ids too"):
        read(InputPair(CLEAN, CORRUPT, answers=" a", wrong=" b"))
    with pytest.raises(TaskError, match="clean has 3 tokens and corrupt 2"):
        read(InputPair(CLEAN, CORRUPT[:, 1:], **ids))
    with pytest.raises(TaskError, match="'answer' has token id 10"):
        read(InputPair(CLEAN, CORRUPT, answers=10, wrong=1))
    with pytest.raises(TaskError, match=r"Pair: ids is .*expected"):
        Pair("a", "b", (), (), ids=((3, 5), (3, 6)))  # type: ignore[arg-type]


def test_a_model_may_read_other_tokens_than_it_gives() -> None:
    pair = InputPair(CLEAN, CORRUPT, answers=0)
    assert read(pair, NextToken(1, reads=8)).answers == (0,) and read(pair, AtMask(1, 7, reads=8)).clean == (3, 5, 7)
    for outputs in (NextToken(1), NextToken(1, reads=6), AtMask(1, 7, reads=7)):
        with pytest.raises(TaskError, match="'clean' has token id"):
            read(pair, outputs)
    with pytest.raises(TaskError, match="'answer' has token id 1, but the model's vocabulary is 0 to 0"):
        read(InputPair(CLEAN, CORRUPT, answers=1), NextToken(1, reads=8))


@pytest.mark.parametrize("odd", ["a", 3, None])
def test_what_is_no_pair_makes_no_task(odd: Any) -> None:
    good = Pair("a", "b", " c", " d")
    with pytest.raises(TaskError, match=f"task 'x': a pair is {odd!r}; expected interp.Pair"):
        Task("x", (good, odd))
    with pytest.raises(TaskError, match="pairs is one pair; expected several of them in a tuple"):
        Task("x", good)  # type: ignore[arg-type]
