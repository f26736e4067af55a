"""The token of an answer is the one that follows its prompt: with every kind of tokeniser, for every answer, behind both prompts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from interp.errors import TaskError
from interp.parts.texts import TokenWarning, encode
from interp.tasks.builtin import build
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.parts.tokenisers import SPACE, merged, pieces, words

NAMES = [
    "_He",
    "_Tom",
    "_said",
    '_"',
    '"',
    "_(",
    "(",
    "_:",
    ":",
    "_is",
    "_Mary",
    "Mary",
    "_John",
    "John",
    "_s",
    "s",
    "_dog",
    "_17",
    "17",
    "_32",
    "32",
]


def read(tokenizer: Any, clean: str, corrupt: str, answer: Any, wrong: Any) -> tuple[TokenPair, list[str]]:
    """The pair as ids, and what was said about them."""
    task = Task("t", (Pair(clean, corrupt, answer, wrong),))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = task.tokenize(tokenizer, 1000)[0]
    assert all(issubclass(one.category, TokenWarning) for one in heard)
    return found, [str(one.message) for one in heard]


def names(tokenizer: Any, found: TokenPair) -> tuple[str, str]:
    a, b = tokenizer.convert_ids_to_tokens([found.answers[0], found.wrong[0]])
    return a.replace(SPACE, "_"), b.replace(SPACE, "_")


@pytest.mark.parametrize("end", ['"', " (", ":", "("])
def test_behind_a_quote_the_answer_has_no_space(end: str) -> None:
    tokenizer = pieces(NAMES)
    found, said = read(tokenizer, "He said" + end, "Tom said" + end, "Mary", "John")
    assert names(tokenizer, found) == ("Mary", "John")
    assert encode(tokenizer, "He said" + end + "Mary") == [*found.clean, *found.answers]
    assert (
        len(said) == 1
        and "answer 'Mary' is the token 'Mary' behind the prompt" in said[0]
        and f"'{SPACE}Mary'" in said[0]
    )


def test_an_answer_with_its_space_follows_without_a_doubt() -> None:
    tokenizer = pieces(NAMES)
    found, said = read(tokenizer, "He said", "Tom said", " Mary", " John")
    assert (names(tokenizer, found), said) == (("_Mary", "_John"), [])


def test_a_word_right_behind_a_word_stays_a_word_of_its_own_and_both_tokens_are_named() -> None:
    tokenizer = pieces(NAMES)
    found, said = read(tokenizer, "He said", "Tom said", "Mary", "John")
    assert names(tokenizer, found) == ("_Mary", "_John")
    assert (
        len(said) == 1
        and f"a word of its own, '{SPACE}Mary'" in said[0]
        and "'Mary'" in said[0]
        and "The same holds 1 times more" in said[0]
    )


def test_numbers_right_behind_numbers_go_on() -> None:
    tokenizer = pieces(NAMES)
    found, said = read(tokenizer, "He said 17", "Tom said 17", "32", "17")
    assert names(tokenizer, found) == ("32", "17") and said


def test_an_answer_that_is_two_tokens_there_is_refused() -> None:
    tokenizer = pieces([*NAMES, "_Anna", "An", "na"])
    with pytest.raises(
        TaskError, match=r"answer 'Anna' is no one token behind the prompt: .*'An' 'na'.* Alone it is '.Anna'"
    ):
        read(tokenizer, 'He said "', 'Tom said "', "Anna", "John")
    with pytest.raises(TaskError, match=r"t pair 1 of 1: wrong 'Anna' is no one token"):
        read(tokenizer, 'He said "', 'Tom said "', "Mary", "Anna")


def test_prompts_that_end_otherwise_cannot_share_an_answer() -> None:
    with pytest.raises(TaskError, match=r"is the token 'Mary' behind the clean prompt and .* behind the corrupt one"):
        read(pieces(NAMES), 'He said"', "He said s", "Mary", "John")


def test_every_answer_of_every_pair_is_read_there_and_the_doubt_is_said_once() -> None:
    tokenizer = pieces(NAMES)
    pair = Pair('He said "', 'Tom said "', ("Mary", "s"), ("John",))
    with pytest.warns(TokenWarning) as heard:
        found = Task("t", (pair, pair)).tokenize(tokenizer, 1000)
    tokens = [tokenizer.convert_ids_to_tokens([*p.answers, *p.wrong]) for p in found]
    assert tokens == [["Mary", "s", "John"]] * 2 and len(heard) == 1 and "5 times more" in str(heard[0].message)


# ---------------------------------------------------------------- merges over the boundary


def test_a_space_at_the_end_of_a_prompt_joins_the_answer() -> None:
    tokenizer = merged(["i|s", "p|a", " |pa", "t|o", " |to"])
    found, said = read(tokenizer, "it is ", "at is ", "pa", "to")
    assert names(tokenizer, found) == ("pa", "to")
    assert len(said) == 1 and "would join the end of the prompt: ' ' with it is ' pa'" in said[0]
    assert read(tokenizer, "it is", "at is", " pa", " to")[1] == []


def test_the_halves_of_a_number_are_asked_for_on_purpose() -> None:
    tokenizer = merged(["1|7", "3|2", "0|0", "17|00"])
    assert tokenizer.encode("in 1700", add_special_tokens=False)[-1] == tokenizer.convert_tokens_to_ids("1700")
    found, said = read(tokenizer, "in 17", "on 17", "00", "32")
    assert (names(tokenizer, found), said) == (("00", "32"), [])


def test_where_no_number_is_written_in_these_halves_it_is_said() -> None:
    """Groups of three digits: behind `17` there is never a token `32`, as 1732 is `173` and `2`."""
    tokenizer = merged(["1|7", "17|3", "17|0", "3|2", "0|0"])
    found, said = read(tokenizer, "in 17", "on 17", "00", "32")
    assert names(tokenizer, found) == ("00", "32") and len(said) == 1
    assert "would join the end of the prompt: '17' with it is '170' '0'" in said[0] and "1 times more" in said[0]


@pytest.mark.parametrize("end", ['"', "", " (", " 17"])
@pytest.mark.parametrize("answer", [" Mary", "Mary", "32"])
def test_the_end_of_a_long_prompt_decides_as_the_whole_does(end: str, answer: str) -> None:
    tokenizer = pieces(NAMES)
    long = " ".join(["said Tom"] * 30) + end
    far, _ = read(tokenizer, "He " + long, "Tom " + long, answer, " John")
    near, _ = read(tokenizer, "He" + end, "Tom" + end, answer, " John")
    assert far.answers == near.answers


# ---------------------------------------------------------------- words, unknown words, letters of one kind


def test_words_between_spaces_need_no_space() -> None:
    found, said = read(words(), "Mary gave the book to", "John gave the book to", "Tom", " Anna")
    assert (names(words(), found), said) == (("Tom", "Anna"), [])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("answer", "wrong"), [("Zebediah", "Anna"), ("Tom", "Zebediah"), (("Tom", "Zebediah"), "Anna")]
)
def test_an_answer_that_the_vocabulary_lacks_is_refused(answer: Any, wrong: Any, named: bool) -> None:
    with pytest.raises(
        TaskError, match=r"t pair 1 of 1: .* 'Zebediah' is not in the tokeniser's vocabulary: .*'<unk>'"
    ):
        read(words(named=named), "Mary gave to", "John gave to", answer, wrong)


def test_unknown_words_of_prompts_are_counted() -> None:
    _, said = read(words(), "Mary gave Zebediah to", "John gave Zebediah to", "Tom", "Anna")
    assert (
        len(said) == 1
        and "1 of 5 tokens of 'clean' stand for what the vocabulary lacks. The same holds 1 times more." in said[0]
    )


@pytest.mark.parametrize("answer", ["", " ", "\n"])
def test_an_answer_without_tokens_is_refused(answer: str) -> None:
    with pytest.raises(TaskError, match=r"t pair 1 of 1: answer .* has no tokens"):
        read(words(), "Mary gave to", "John gave to", (answer,), "Anna")


def test_special_tokens_written_out_are_answers() -> None:
    found, said = read(words(behind="</s>"), "Mary gave to", "John gave to", "</s>", "<unk>")
    assert (found.answers, found.wrong, said) == ((1,), (2,), [])
    assert found.clean[-1] != 1


@pytest.mark.parametrize(
    ("tokenizer", "clean", "corrupt"),
    [
        (words(lower=True), "Mary gave to", "mary gave to"),
        (words(), "Zebediah gave to", "Ebenezer gave to"),
        (words(), "Mary  gave", "Mary gave"),
    ],
)
def test_texts_that_are_the_same_tokens_are_refused(tokenizer: Any, clean: str, corrupt: str) -> None:
    with pytest.raises(
        TaskError, match=r"t pair 1 of 1: 'clean' and 'corrupt' are other texts and the same tokens .* do not differ"
    ):
        read(tokenizer, clean, corrupt, "tom", "anna")


def test_answers_that_are_the_same_token_are_refused() -> None:
    with pytest.raises(TaskError, match=r"'tom'\] is both an answer and wrong"):
        read(words(lower=True), "Mary gave to", "John gave to", "Tom", "tom")
    with pytest.raises(TaskError, match="'answer' names a token twice"):
        read(words(lower=True), "Mary gave to", "John gave to", ("Tom", "tom"), "anna")


def test_built_in_tasks_are_not_written_of_words_that_the_vocabulary_lacks() -> None:
    with pytest.raises(TaskError, match=r"task 'ioi': 0 of \d+ places are one token each"):
        build("ioi", words())


# ---------------------------------------------------------------- pairs as users write them


def test_one_answer_is_one_text_not_its_letters() -> None:
    pair = Pair("Mary gave to", "John gave to", " Tom", " Anna")  # type: ignore[arg-type]
    assert (pair.answers, pair.wrong) == ((" Tom",), (" Anna",))


def test_a_pair_without_a_corrupt_prompt_says_what_to_do() -> None:
    with pytest.raises(
        TaskError, match=r"corrupt is None; expected text. .* zero and mean ablation, give the clean prompt again"
    ):
        Pair("Mary gave to", None, ("Tom",), ("Anna",))  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="clean is 3; expected text"):
        Pair(3, "Mary", ("Tom",), ("Anna",))  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"answer 5; expected text. Token ids go into answer_ids"):
        read(words(), "Mary gave to", "John gave to", (5,), "Anna")


@pytest.mark.parametrize("wrap", [np.array, torch.tensor, list, lambda ids: [np.int64(i) for i in ids]])
def test_ids_of_numpy_and_torch_make_the_same_pair(wrap: Any) -> None:
    own = TokenPair((1, 2, 3), (1, 2, 4), (5,), (6,))
    assert TokenPair(wrap([1, 2, 3]), wrap([1, 2, 4]), wrap([5]), np.int64(6)) == own
    pair = Pair("", "", (), (), answer_ids=wrap([5]), wrong_ids=np.int64(6))  # type: ignore[arg-type]
    assert (pair.answer_ids, pair.wrong_ids) == ((5,), (6,))
    with pytest.raises(TaskError, match=r"token ids clean 2.5: expected a whole number"):
        TokenPair((1, 2.5), (1, 2), (5,), (6,))  # type: ignore[arg-type]


def test_a_task_is_split_by_a_seed_of_numpy() -> None:
    task = Task("t", tuple(Pair(f"a {i}", f"b {i}", ("x",), ("y",)) for i in range(6)))
    assert [half.pairs for half in task.split(np.int64(3))] == [half.pairs for half in task.split(3)]  # type: ignore[arg-type]
