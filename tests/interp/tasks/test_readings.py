"""Tasks whose answer stands at a mask or is a class: what is read, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from interp.errors import InterpError, TaskError
from interp.model.model import HookedModel
from interp.tasks.lengths import of_length
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.model.encoders.models import hooked
from tests.interp.parts.masks import PIECES, bytes_with_mask, wordpiece

LABELS = {0: "negative", 1: "neutral", 2: "positive"}


def masked() -> HookedModel:
    return hooked("bert-mlm", wordpiece())


def classes(name: str = "bert-classes") -> HookedModel:
    return hooked(name, wordpiece(), id2label=LABELS, label2id={v: k for k, v in LABELS.items()})


def read(model: HookedModel, *pairs: Pair, several: bool = False) -> list[TokenPair]:
    return Task("made", pairs).tokenize(model.tokenizer, model.outputs, several=several)


def refused(model: HookedModel, pair: Pair, *said: str, several: bool = False) -> str:
    with pytest.raises(TaskError) as error:
        read(model, pair, several=several)
    for part in ("made pair 1 of 1", *said):
        assert part in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- at a mask


def test_an_answer_stands_in_the_place_of_the_mask() -> None:
    model = masked()
    (pair,) = read(model, Pair("the [MASK] sat .", "a [MASK] sat .", "Cat", ("dog", "mat")))
    assert pair.clean == tuple(PIECES[w] for w in ("[CLS]", "the", "[MASK]", "sat", ".", "[SEP]"))
    assert pair.answers == (PIECES["cat"],) and pair.wrong == (PIECES["dog"], PIECES["mat"])
    assert len(pair.clean) == len(pair.corrupt) and pair.corrupt[-1] == PIECES["[SEP]"]


@pytest.mark.parametrize(
    ("clean", "corrupt", "answer", "token"),
    [
        ("The <mask> sat", "The <mask> ran", "cat", "\u0120cat"),
        ("<mask> sat", "<mask> ran", "cat", "cat"),
        ("The<mask> sat", "The<mask> ran", " cat", "\u0120cat"),
        ("The<mask> sat", "The<mask> ran", "cat", "cat"),
    ],
)
def test_bytes_have_another_token_behind_a_space(clean: str, corrupt: str, answer: str, token: str) -> None:
    """The mask itself takes the space before it, as RoBERTa's does."""
    tokenizer = bytes_with_mask()
    (pair,) = read(hooked("roberta-mlm", tokenizer), Pair(clean, corrupt, answer))
    assert tokenizer.convert_ids_to_tokens(list(pair.answers)) == [token]
    assert pair.clean[0] == tokenizer.bos_token_id and pair.clean[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (Pair("the [MASK] sat .", "a [MASK] sat .", "cats"), ("answer 'cats'", "['cat', '##s']")),
        (Pair("the [MASK] sat .", "a [MASK] sat .", "cat", "playing"), ("wrong 'playing'", "['play', '##ing']")),
        (Pair("the [MASK] sat .", "a [MASK] sat .", "xyz"), ("answer 'xyz'", "not in the tokeniser's vocabulary")),
        (Pair("the [MASK] sat .", "a [MASK] sat .", ""), ("no one token in the place of the mask",)),
        (Pair("the cat sat .", "a [MASK] sat .", "cat"), ("'clean' has no mask", "[MASK]")),
        (Pair("a [MASK] sat .", "the cat sat .", "cat"), ("'corrupt' has no mask", "[MASK]")),
        (Pair("the [MASK] [MASK] .", "a [MASK] sat .", "cat"), ("'clean' has 2 masks",)),
        (Pair("the <mask> sat .", "a <mask> sat .", "cat"), ("'clean' has no mask",)),
        (Pair("the [MASK] sat .", "a [MASK] sat on .", "cat"), ("clean has 6 tokens and corrupt 7",)),
        (Pair("the [MASK] sat .", "The [MASK] SAT .", "cat"), ("the same tokens",)),
        (Pair("the [MASK] sat .", "a [MASK] sat .", ("Cat", "cat")), ("names a token twice",)),
        (Pair("the [MASK] sat .", "a [MASK] sat .", "cat", "Cat"), ("both an answer and wrong",)),
        (Pair("the [MASK] sat .", "a [MASK] sat .", (), answer_ids=64), ("token id 64", "0 to 63")),
    ],
)
def test_what_is_no_answer_at_a_mask_is_refused(pair: Pair, said: Sequence[str]) -> None:
    refused(masked(), pair, *said)


def test_an_answer_that_is_another_token_in_the_other_prompt_is_refused() -> None:
    pair = Pair("<mask> sat", "The <mask>", "cat")
    refused(hooked("roberta-mlm", bytes_with_mask()), pair, "'cat'", "expected the same")


def test_several_tokens_are_refused_at_a_mask_whatever_the_metric() -> None:
    refused(
        masked(), Pair("the [MASK] sat", "a [MASK] sat", "cats"), "no one token in the place of the mask", several=True
    )


def test_nothing_is_offered_that_is_refused_too() -> None:
    said = refused(masked(), Pair("the [MASK] sat", "a [MASK] sat", "cats"), several=True)
    assert "log_prob" not in said


@pytest.mark.parametrize("ids", [(1, 5, 7, 2), (1, 4, 4, 2)], ids=["none", "two"])
def test_ids_without_one_mask_are_refused(ids: tuple[int, ...]) -> None:
    """Else the answer is read at the last token, [SEP], for all pairs of the batch."""
    pair = Pair("", "", (), ids=TokenPair(ids, (1, 6, 4, 2), (7,), (8,)))
    refused(masked(), pair, "mask")


def test_ids_with_an_answer_of_several_tokens_are_refused_at_a_mask() -> None:
    pair = Pair("", "", (), ids=TokenPair((1, 4, 7, 2), (1, 4, 8, 2), (7,), (), {}, 1))
    refused(masked(), pair, "continues none", several=True)


def test_masks_at_two_places_are_refused() -> None:
    refused(masked(), Pair("the [MASK] sat .", "[MASK] cat sat .", "cat"), "mask")


def test_a_masked_model_without_tokeniser_is_no_model_of_next_tokens() -> None:
    """It looks both ways, so its outputs are not what follows a prompt: a sentence that asks for the tokeniser."""
    model = hooked("bert-mlm")
    pair = Pair("", "", (), ids=TokenPair((1, 5, 4, 2), (1, 6, 4, 2), (7,), (8,)))
    with pytest.raises(InterpError):
        read(model, pair)


def test_an_embedding_has_no_answers_that_are_words() -> None:
    model = hooked("bert", wordpiece())
    with pytest.raises(InterpError):
        read(model, Pair("the [MASK] sat .", "a [MASK] sat .", "cat", "dog"))


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("name", ["bert-classes", "gpt2-classes"])
def test_classes_by_name_and_by_id(name: str) -> None:
    model = classes(name)
    texts = ("the film was good", "the film was bad")
    (named,) = read(model, Pair(*texts, "positive", ("negative", "neutral")))
    (by_id,) = read(model, Pair(*texts, (), answer_ids=2, wrong_ids=(0, 1)))
    assert named.answers == by_id.answers == (2,) and named.wrong == by_id.wrong == (0, 1)
    assert named.clean == by_id.clean and named.clean == tuple(model.tokenizer(texts[0])["input_ids"])
    assert [model.output_text(i) for i in range(3)] == list(LABELS.values())


@pytest.mark.parametrize(
    "name",
    [
        "bert-classes",
        "gpt2-classes",
    ],
)
def test_a_text_is_the_same_in_a_task_and_in_a_run(name: str) -> None:
    model = classes(name)
    (pair,) = read(model, Pair("the film was good", "the film was bad", "positive"))
    assert model.tokenize("the film was good").ids[0].tolist() == list(pair.clean)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"answers": "postive"}, ("unknown class 'postive'", "Did you mean positive")),
        ({"answers": "Positive"}, ("unknown class 'Positive'", "Valid: negative, neutral, positive")),
        ({"answers": "2"}, ("unknown class '2'",)),
        ({"answers": (), "answer_ids": 3}, ("class 3", "classes 0 to 2")),
        ({"answers": (), "answer_ids": -1}, ("class -1", "classes 0 to 2")),
        ({"answers": "positive", "wrong": "positive"}, ("both an answer and wrong",)),
        ({"answers": ("positive", "positive")}, ("names a class twice",)),
    ],
)
def test_what_is_no_class_is_refused(answer: dict[str, Any], said: Sequence[str]) -> None:
    refused(classes(), Pair("the film was good", "the film was bad", **answer), *said)


@pytest.mark.parametrize("answer", [{"wrong": "positive"}, {"answers": ("positive", "positive")}])
def test_messages_name_classes_as_classes(answer: dict[str, Any]) -> None:
    pair = Pair("the film was good", "the film was bad", **{"answers": "positive", **answer})
    assert "[SEP]" not in refused(classes(), pair)


def test_classes_of_one_name_go_by_number() -> None:
    model = hooked("bert-classes", wordpiece(), id2label={0: "a", 1: "a", 2: "b"}, label2id={"a": 0, "b": 2})
    assert [model.output_text(i) for i in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("number", [3, -1])
def test_a_class_that_the_model_has_not_has_no_name(number: int) -> None:
    with pytest.raises(InterpError):
        classes().output_text(number)


def test_labels_of_tokens_have_their_names() -> None:
    model = hooked("bert-tokens", wordpiece(), id2label=LABELS, label2id={v: k for k, v in LABELS.items()})
    assert [model.output_text(i) for i in range(3)] == list(LABELS.values())


def test_lengths_count_what_the_tokeniser_puts_behind_a_text() -> None:
    task = Task("made", (Pair("the [MASK] sat .", "a [MASK] sat .", "cat"),))
    assert len(of_length(task, wordpiece(), 6, whole=True)) == 1
