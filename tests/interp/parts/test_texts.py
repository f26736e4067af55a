"""Texts as token ids: one BOS, no end, nothing cut; and ids as text, also those that no token has."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.errors import TaskError
from interp.parts.texts import (
    TokenWarning,
    encode,
    encode_document,
    leading_specials,
    n_unknown,
    token_text,
    unknown_id,
)
from interp.parts.tokens import as_tokens
from tests.interp.parts.tokenisers import KNOWN, merged, pieces, words

MARY, GAVE = KNOWN.index("Mary"), KNOWN.index("gave")


def ids(tokenizer: Any, text: str) -> list[int]:
    return encode(tokenizer, text)


@pytest.mark.parametrize("behind", ["", "</s>", "</s> <s>"])
def test_what_stands_behind_a_text_is_no_part_of_a_prompt(behind: str) -> None:
    assert ids(words(behind=behind), "Mary gave") == [0, MARY, GAVE]
    assert ids(words(behind=behind, bos=False), "Mary gave") == [MARY, GAVE]
    assert as_tokens(["Mary gave", "Mary"], words(behind=behind)).last().tolist() == [2, 2]


def test_an_end_that_the_text_writes_itself_is_kept() -> None:
    assert ids(words(behind="</s>"), "Mary gave </s>") == [0, MARY, GAVE, 1]


def test_a_document_ends_as_the_tokeniser_ends_it() -> None:
    assert encode_document(words(behind="</s>"), "Mary gave") == [0, MARY, GAVE, 1]
    assert encode_document(words(behind="</s>"), "<s> Mary gave") == [0, MARY, GAVE, 1]
    assert encode_document(words(), "Mary Mary") == [0, MARY, MARY]


@pytest.mark.parametrize("text", ["<s> Mary gave", "<s>Mary gave", "  <s> Mary gave", "Mary gave"])
def test_there_is_one_bos_whoever_writes_it(text: str) -> None:
    assert ids(words(), text) == ids(words(behind="</s>"), text) == [0, MARY, GAVE]
    assert as_tokens(text, words()).ids.tolist() == [[0, MARY, GAVE]]


def test_without_a_bos_of_the_tokeniser_the_texts_own_is_left_alone() -> None:
    assert ids(words(bos=False), "<s> Mary") == [0, MARY]
    assert ids(words(bos=False), "Mary") == [MARY]


def test_a_bos_given_as_ids_is_left_alone() -> None:
    assert as_tokens([0, 0, MARY], words()).ids.tolist() == [[0, 0, MARY]]


def test_an_unknown_first_word_is_no_bos_although_both_are_one_token() -> None:
    tokenizer = words()
    tokenizer.unk_token = "<s>"
    tokenizer.backend_tokenizer.model.unk_token = "<s>"
    assert ids(tokenizer, "Zebediah gave") == [0, 0, GAVE]


def test_leading_specials_are_counted() -> None:
    assert [leading_specials(words(bos=bos, behind="</s>")) for bos in (True, False)] == [1, 0]


def test_nothing_is_cut_or_padded_whatever_the_file_of_the_tokeniser_says(tmp_path: Path) -> None:
    words().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    found = json.loads(file.read_text())
    found["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    pad = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 2, "pad_type_id": 0, "pad_token": "<unk>"}
    found["padding"] = {"strategy": {"Fixed": 9}, **pad}
    file.write_text(json.dumps(found))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, model_max_length=2)
    assert ids(tokenizer, "Mary gave the book") == ids(words(), "Mary gave the book")


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(TaskError, match="surrogate pair"):
        encode(words(), "the \ud83d dog")


def test_a_tokeniser_of_the_library_tokenizers_is_told_apart() -> None:
    with pytest.raises(TaskError, match=r"a Tokenizer of the library tokenizers; expected .* wrap it"):
        ids(words().backend_tokenizer, "Mary")


# ---------------------------------------------------------------- what the vocabulary lacks


@pytest.mark.parametrize("tokenizer", [words(), words(named=False), pieces(["_He", "_to"])])
def test_the_unknown_token_is_found_also_where_it_has_no_name(tokenizer: Any) -> None:
    text = "He Zebediah"
    assert encode(tokenizer, text, special=False)[-1] == unknown_id(tokenizer)
    assert n_unknown(tokenizer, text, ids(tokenizer, text)) >= 1


def test_a_tokeniser_that_refuses_unknown_words_is_heard() -> None:
    """One without an unknown token, as the library makes it, ends in an error of its own that names no text."""
    inner = Tokenizer(models.WordLevel({"Mary": 0, "gave": 1}))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    assert encode(tokenizer, "Mary gave") == [0, 1] and unknown_id(tokenizer) is None
    with pytest.raises(TaskError, match=r"text 'Mary took': the tokeniser fails: .*UNK"):
        encode(tokenizer, "Mary took")


def test_a_vocabulary_of_letters_has_no_unknown_token_and_one_written_out_is_known() -> None:
    assert n_unknown(words(), "<unk> Mary", ids(words(), "<unk> Mary")) == 0
    assert n_unknown(words(), "<unk> Zebediah", ids(words(), "<unk> Zebediah")) == 1
    assert unknown_id(None) is None and unknown_id(merged(["i|s"])) is None


def test_a_prompt_with_unknown_words_is_run_with_a_warning() -> None:
    with pytest.warns(TokenWarning, match="'Zebediah gave' has words that the tokeniser's vocabulary lacks"):
        assert as_tokens(["Mary", "Zebediah gave"], words()).ids.shape == (2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_tokens("Mary gave", words())


# ---------------------------------------------------------------- ids as text


class Slow:
    """What a slow tokeniser says of ids that it lacks: the unknown token, or an IndexError."""

    unk_token, unk_token_id = "<unk>", 2

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def convert_ids_to_tokens(self, i: int) -> str:
        if i >= len(KNOWN) and self.fails:
            raise IndexError("piece id is out of range.")
        return KNOWN[i] if i < len(KNOWN) else "<unk>"

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(self.convert_ids_to_tokens, ids))


@pytest.mark.parametrize("tokenizer", [words(), Slow(True), Slow(False)])
def test_ids_beyond_the_tokens_are_shown_by_their_number(tokenizer: Any) -> None:
    assert [token_text(tokenizer, i) for i in (MARY, 2, 30, 45, -1)] == ["Mary", "<unk>", "<30>", "<45>", "<-1>"]


@pytest.mark.parametrize("one", [np.int64(MARY), np.uint8(MARY), np.array(MARY), torch.tensor(MARY)])
def test_ids_of_numpy_and_torch_are_ids(one: Any) -> None:
    assert token_text(words(), one) == "Mary"
    assert token_text(None, one) == str(MARY)


@pytest.mark.parametrize(
    "one", [True, np.bool_(True), torch.tensor(True), 3.0, np.float64(3), "3", None, [3], np.array([3])]
)
def test_what_is_no_whole_number_is_no_id(one: Any) -> None:
    with pytest.raises(TaskError, match=r"token id .* expected a whole number"):
        token_text(words(), one)


# ---------------------------------------------------------------- ids as users have them


@pytest.mark.parametrize(
    "given",
    [
        [np.int64(3), np.int64(4)],
        (torch.tensor(3), 4),
        np.array([3, 4], dtype=np.uint16),
        torch.tensor([3, 4], dtype=torch.uint8),
        [np.array([3, 4])],
        [torch.tensor([3, 4])],
        [[np.int64(3), 4]],
    ],
)
def test_whole_numbers_of_every_kind_are_ids(given: Any) -> None:
    found = as_tokens(given, None)
    assert found.ids.tolist() == [[3, 4]] and found.ids.dtype == torch.int64 and not found.padded


@pytest.mark.parametrize(
    "given", [[True, False], [3.0, 4.0], torch.tensor([True]), torch.tensor([1.0]), [[1], [2.5]], []]
)
def test_what_is_no_whole_number_is_no_prompt(given: Any) -> None:
    with pytest.raises(TaskError, match="tokens: given"):
        as_tokens(given, None)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_mask_of_a_tokeniser_is_kept(side: str) -> None:
    tokenizer = words()
    tokenizer.pad_token, tokenizer.padding_side = "<unk>", side
    found = as_tokens(tokenizer(["Mary gave", "Mary"], padding=True), None)
    assert found.mask.sum(-1).tolist() == [3, 2]
    assert found.ids[torch.arange(2), found.last()].tolist() == [GAVE, MARY]
    ragged = as_tokens(tokenizer(["Mary gave", "Mary"]), None)
    assert ragged.mask.tolist() == [[True] * 3, [False, True, True]]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([[1, 1]], "has shape .* expected the same"),
        ([[0, 0, 0]], "no real token"),
        ("yes", "expected one number for each token"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Any, said: str) -> None:
    with pytest.raises(TaskError, match=f"attention_mask.*{said}"):
        as_tokens({"input_ids": [[1, 2, 3]], "attention_mask": mask}, None)
