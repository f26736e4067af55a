"""The tokeniser of a GGUF file cuts text as the one that was put in, or is refused with what it does otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

import interp
from interp.errors import LoadError
from tests.interp.model.loading.in_gguf.gguf_writing import write
from tests.interp.model.tiny import tiny

pytest.importorskip("gguf", reason="the package gguf is not installed (pip install relevance-circuits[gguf])")
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello", "1 2", "12 3", "Ġ 1", "Ã ©"]
CONTROL = ["<|end|>", "<|start|>"]
TOKENS = [*CONTROL, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]
TEXTS = ["hello hello", " 123 12", "hell<|end|>o\n\n 1", "é 日本 🙂", "", "it's  we'll\t12.5"]


def tokenizer(*, digits: bool) -> Tokenizer:
    """The same built by hand."""
    found = Tokenizer(models.BPE({t: i for i, t in enumerate(TOKENS)}, [tuple(m.split(" ")) for m in MERGES]))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level]) if digits else level
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    return found


def file(folder: Path, rows: int = len(TOKENS), **changed: Any) -> Path:
    keys: dict[str, Any] = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": TOKENS,
        "merges": MERGES,
        "token_type": [3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)),
        "eos_token_id": 0,
        "bos_token_id": 1,
    }
    named = {f"tokenizer__ggml__{key}": value for key, value in {**keys, **changed}.items()}
    write(folder / "m.gguf", "llama", tiny("llama", vocab_size=rows), **named)
    return folder / "m.gguf"


@pytest.mark.parametrize("pre", ["gpt-2", "smollm"])
def test_ids_are_those_of_the_tokeniser_put_in(pre: str, tmp_path: Path) -> None:
    found, own = interp.load(file(tmp_path, pre=pre)).tokenizer, tokenizer(digits=pre == "smollm")
    for text in TEXTS:
        assert found(text)["input_ids"] == own.encode(text).ids, text
        assert found.decode(found(text)["input_ids"], skip_special_tokens=False) == text
    assert len(found(" 123")["input_ids"]) == (4 if pre == "smollm" else 2)
    assert (found.bos_token_id, found.eos_token_id) == (1, 0)


def test_characters_are_composed_where_the_published_one_does(tmp_path: Path) -> None:
    apart = "e\u0301"
    assert interp.load(file(tmp_path, pre="qwen2")).tokenizer(apart)["input_ids"] == [TOKENS.index("Ã©")]
    assert len(interp.load(file(tmp_path, pre="gpt-2")).tokenizer(apart)["input_ids"]) == 3


def test_bos_where_the_file_says_so(tmp_path: Path) -> None:
    model = interp.load(file(tmp_path, add_bos_token=True))
    assert model.tokenize("hello").ids[0].tolist() == [1, TOKENS.index("hello")]


def test_text_that_a_tokeniser_reads_into_a_prompt(tmp_path: Path) -> None:
    assert interp.load(file(tmp_path)).tokenize(" hello").ids.tolist() == [[TOKENS.index("Ġhello")]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pre": "jais-9"}, "cuts text as 'jais-9', which is none of gpt-2"),
        ({"pre": None}, "cuts text as None"),
        ({"pre": "default"}, "cuts text as 'default'"),
        ({"model": "rwkv"}, "rwkv"),
        ({"add_space_prefix": True}, "puts no space in front of the first word"),
        ({"rows": 60}, "tokens, the embedding 60 rows"),
        ({"eos_token_id": 10**6}, "cannot be built"),
        ({"tokens": TOKENS[:-1]}, "cannot be built|out of"),
    ],
)
def test_what_is_not_built_right_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = file(tmp_path, **changed)
    with pytest.raises(LoadError, match=said):
        interp.load(path)
    assert "tokenizer" in _message(path)


def _message(path: Path) -> str:
    try:
        interp.load(path)
    except LoadError as error:
        return str(error).replace("tokeniser", "tokenizer")
    return ""


def test_sentence_pieces_without_their_space(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab"]
    keys = {
        "scores": [0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0],
        "token_type": [2, 3, 3, 1, 1, 1, 1, 1],
        "merges": None,
        "pre": None,
    }
    spm = {"model": "llama", "tokens": tokens, "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, **keys}
    model = interp.load(file(tmp_path, 8, **spm))
    assert model.tokenize("ab").ids.tolist() == [[1, 7]]  # a file that says nothing has BOS and a space
    with pytest.raises(LoadError, match="puts a space in front of the first word"):
        interp.load(file(tmp_path, 8, **spm, add_space_prefix=False))
    with pytest.raises(LoadError, match="puts a space"):
        interp.load(file(tmp_path, 8, **spm, add_space_prefix=False, add_bos_token=False))


def test_another_tokeniser_may_be_given(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer(digits=False))
    assert interp.load(file(tmp_path, pre="jais-9"), tokenizer=own).tokenizer is own


def test_none_where_the_file_has_none(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", tiny("llama"))
    assert interp.load(tmp_path / "m.gguf").tokenizer is None


def test_files_beside_it_change_nothing(tmp_path: Path) -> None:
    path = file(tmp_path)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True, "bos_token": "hello"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer(digits=True).save(str(tmp_path / "tokenizer.json"))
    found = interp.load(path).tokenizer
    assert found(" 123")["input_ids"] == tokenizer(digits=False).encode(" 123").ids and found.bos_token_id == 1
