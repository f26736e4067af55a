"""Tasks of encoder-decoders: what the encoder reads, what the decoder has been given, and the token behind it; in Python and in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.errors import TaskError
from interp.parts.named_inputs import Example
from interp.tasks.pairs.input_pairs import InputPair
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from interp.tasks.task_files import load_task
from tests.interp.model.several.made import BART, CLIP, WHISPER, given, known
from tests.interp.model.several.speaking import speaking


def _tokens(*pairs: Pair) -> list[TokenPair]:
    model = speaking()
    return Task("words", pairs).tokenize(model.tokenizer, model.outputs)


def _ids(prompt: Any) -> dict[str, list[int]]:
    assert isinstance(prompt, Example)
    return {name: x.tolist() for name, x in prompt.tensors.items()}


def test_a_pair_is_two_sources_and_what_the_decoder_has_been_given() -> None:
    (pair,) = _tokens(Pair("the cat is red", "the dog is red", "katze", "hund", decoder="der"))
    assert _ids(pair.clean) == {"input_ids": [7, 5, 8, 3, 1], "decoder_input_ids": [0, 13]}
    assert _ids(pair.corrupt) == {"input_ids": [7, 6, 8, 3, 1], "decoder_input_ids": [0, 13]}
    assert (pair.answers, pair.wrong, pair.length, pair.longest) == ((11,), (12,), 2, 5)
    assert (pair.of_stack("encoder").length, pair.of_stack("").length) == (5, 2)
    (pair,) = _tokens(Pair("the cat", "the dog", "katze", "hund", decoder=("der", "ein")))
    assert _ids(pair.clean)["decoder_input_ids"] == [0, 13] and _ids(pair.corrupt)["decoder_input_ids"] == [0, 15]
    (pair,) = _tokens(Pair("the cat", "the dog", "katze", "hund"))
    assert _ids(pair.clean)["decoder_input_ids"] == [0]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (Pair("the cat", "the dog is", "katze", "hund", decoder="der"), "inputs of one shape"),
        (Pair("the cat", "the dog", "katze", "hund", decoder=("der", "der der")), "inputs of one shape"),
        (Pair("the cat", "the dog", "katze hund", "hund", decoder="der"), "2 tokens"),
        (Pair("the cat", "the dog", "bird", "hund", decoder="der"), "not in the tokeniser's vocabulary"),
        (Pair("the cat", "the dog", "katze", "katze", decoder="der"), "both an answer and wrong"),
    ],
)
def test_pairs_that_cannot_be_patched_are_refused(pair: Pair, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        _tokens(pair)


@pytest.mark.parametrize("decoder", [3, ("der",), ("der", 5), ("a", "b", "c")])
def test_a_decoder_is_one_text_or_two(decoder: Any) -> None:
    with pytest.raises(TaskError, match="decoder"):
        Pair("the cat", "the dog", "katze", "hund", decoder=decoder)


def test_files_have_columns_for_it(tmp_path: Path) -> None:
    rows = [
        {"clean": "the cat is red", "corrupt": "the dog is red", "answer": "katze", "wrong": "hund", "decoder": "der"},
        {"clean": "the cat", "corrupt": "the dog", "answer": "katze", "wrong": "hund", "clean_decoder": "der", "corrupt_decoder": "ein"},
        {"clean": "the dog", "corrupt": "the cat", "answer": "hund", "wrong": "katze"},
    ]  # fmt: skip
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = ("clean", "corrupt", "answer", "wrong", "decoder", "clean_decoder", "corrupt_decoder")
    table = [",".join(columns), *(",".join(row.get(column, "") for column in columns) for row in rows)]
    (tmp_path / "words.csv").write_text("\n".join(table))
    for name in ("words.jsonl", "words.csv"):
        found = load_task(tmp_path / name)
        assert [pair.decoder for pair in found.pairs] == [("der", "der"), ("der", "ein"), None], name
        first, second, third = (_ids(pair.clean)["decoder_input_ids"] for pair in _tokens(*found.pairs))
        assert (first, second, third) == ([0, 13], [0, 13], [0])


def test_both_of_the_columns_are_needed(tmp_path: Path) -> None:
    row = {"clean": "the cat", "corrupt": "the dog", "answer": "katze", "wrong": "hund", "clean_decoder": "der"}
    (tmp_path / "words.jsonl").write_text(json.dumps(row))
    with pytest.raises(TaskError, match="decoder"):
        load_task(tmp_path / "words.jsonl")


def test_sounds_are_pairs_of_inputs() -> None:
    clean, corrupt = ({key: x[:1] for key, x in given(WHISPER, seed=seed).items()} for seed in (1, 2))
    corrupt["decoder_input_ids"] = clean["decoder_input_ids"]
    model = known(WHISPER)
    (pair,) = Task("sounds", (InputPair(clean, corrupt, [5], [6]),)).tokenize(None, model.outputs)
    assert (pair.answers, pair.wrong, pair.length, pair.longest) == ((5,), (6,), 5, 16)
    assert isinstance(pair.clean, Example) and torch.equal(
        pair.clean.tensors["input_features"], clean["input_features"][0]
    )
    with pytest.raises(TaskError):
        Task("sounds", (Pair("a.wav", "b.wav", "katze", "hund"),)).tokenize(None, model.outputs)


def test_several_examples_are_no_pair() -> None:
    model = known(BART)
    with pytest.raises(TaskError, match=r"one|axis"):
        Task("words", (InputPair(given(BART), given(BART, seed=2), [5], [6]),)).tokenize(None, model.outputs)


def test_an_image_and_a_text_are_one_pair() -> None:
    model = known(CLIP)
    pair = InputPair(given(CLIP, seed=1), given(CLIP, seed=2), "similarity")
    (found,) = Task("alike", (pair,)).tokenize(None, model.outputs)
    assert found.answers == (0,) and found.longest == 17
    assert (found.of_stack("vision").length, found.of_stack("text").length) == (17, 6)
    with pytest.raises(TaskError, match="similarity"):
        Task("alike", (InputPair(given(CLIP), given(CLIP, seed=2), "red"),)).tokenize(None, model.outputs)
