"""Answers of several tokens are read as they follow the prompt, where they are asked for; else they are refused by name."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from interp.errors import TaskError
from interp.parts.texts import TokenWarning, encode
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.parts.tokenisers import merged, pieces, words

NAMES = ["_He", "_Tom", "_said", '_"', '"', "_Mary", "Mary", "_John", "John", "_Anna", "An", "na", "_is", "_s", "s"]


def read(tokenizer: Any, clean: str, corrupt: str, answer: Any, wrong: Any = ()) -> tuple[TokenPair, list[str]]:
    """The pair as ids, and what was said about them."""
    task = Task("t", (Pair(clean, corrupt, answer, wrong),))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", TokenWarning)
        found = task.tokenize(tokenizer, 1000, several=True)[0]
    return found, [str(one.message) for one in heard]


def names(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(list(ids)))


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("He said", " Mary is", "▁Mary ▁is"),
        ('He said "', "Mary is", "Mary ▁is"),
        ('He said "', "Anna", "An na"),  # one token alone, two where it is asked for
        ("He said", " Mary is John s", "▁Mary ▁is ▁John ▁s"),
    ],
)
def test_all_tokens_but_the_last_stand_behind_both_prompts(prompt: str, answer: str, expected: str) -> None:
    tokenizer = pieces(NAMES)
    other = prompt.replace("He", "Tom")
    found, said = read(tokenizer, prompt, other, answer, "John")
    assert names(tokenizer, found.continuation) == expected and not said
    assert found.forced == len(expected.split()) - 1 and found.wrong == ()
    assert list(found.clean) + list(found.answers) == encode(tokenizer, prompt + answer)
    assert list(found.corrupt) + list(found.answers) == encode(tokenizer, other + answer)
    assert found.prompts == (tuple(encode(tokenizer, prompt)), tuple(encode(tokenizer, other)))


def test_answers_of_one_token_are_read_as_ever() -> None:
    tokenizer = pieces(NAMES)
    task = Task("t", (Pair("He said", "Tom said", (" Mary", " Anna"), " John"),))
    assert task.tokenize(tokenizer, 1000, several=True) == task.tokenize(tokenizer, 1000)


def test_a_wrong_answer_of_several_tokens_is_left_out_where_none_is_read() -> None:
    tokenizer = pieces(NAMES)
    found, _ = read(tokenizer, "He said", "Tom said", " Mary", " John is")
    assert (found.wrong, found.forced, names(tokenizer, found.answers)) == ((), 0, "▁Mary")


def test_a_space_at_the_end_of_a_prompt_joins_and_a_word_stays_one_of_its_own() -> None:
    joined = merged(["i|s", "p|a", " |pa", "t|o", " |to"])
    found, said = read(joined, "it is ", "at is ", "pato")
    assert names(joined, found.continuation) == "pa to" and "would join the end of the prompt" in said[0]
    apart = pieces(NAMES)
    found, said = read(apart, "He said", "Tom said", "Mary is")
    assert names(apart, found.continuation) == "▁Mary ▁is" and "a word of its own" in said[0]


def test_what_cannot_be_one_continuation_is_refused() -> None:
    tokenizer = pieces(NAMES)
    with pytest.raises(TaskError, match=r"2 answers, one of them of 2 tokens; expected one answer"):
        read(tokenizer, "He said", "Tom said", (" Mary", " John is"))
    with pytest.raises(TaskError, match=r"' Mary is' is both an answer and wrong"):
        read(tokenizer, "He said", "Tom said", " Mary is", " Mary is")
    with pytest.raises(TaskError, match=r"is the token '▁An' 'na'|is the token .* behind the clean prompt and"):
        read(tokenizer, 'He said "', "He said s", "Anna")
    with pytest.raises(TaskError, match=r"as a whole: it becomes .*<unk>"):
        read(words(), "the cat", "the dog", "gave qwerty")
    span = Pair("He said", "Tom said", " Mary is", spans={"end": (2, 4)})
    with pytest.raises(TaskError, match=r"span 'end' is \[2, 4\), outside the prompt of 3 tokens"):
        Task("t", (span,)).tokenize(tokenizer, 1000, several=True)


@pytest.mark.parametrize(("answer", "wrong"), [(" Mary is", " John"), (" Mary", " John is"), (" Mary is", ())])
def test_where_one_token_is_needed_the_refusal_names_the_metrics(answer: str, wrong: Any) -> None:
    task = Task("t", (Pair("He said", "Tom said", answer, wrong),))
    with pytest.raises(TaskError, match=r"is 2 tokens .*; expected one \(mind the leading space\)\. .*'log_prob'"):
        task.tokenize(pieces(NAMES), 1000)


def test_ids_of_several_tokens_are_refused_where_one_is_needed() -> None:
    pair = Pair("", "", (), ids=TokenPair((1, 5, 6), (1, 4, 6), (7,), (), {}, 1))
    with pytest.raises(TaskError, match=r"the answer is 2 tokens; expected one.*'log_prob'"):
        Task("t", (pair,)).tokenize(None, 1000)
