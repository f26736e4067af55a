"""The embedded model: it does the tasks on held-out combinations, better than shortcuts, and is small and plain."""

from __future__ import annotations

import re
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp import demo
from interp.demo import corpus, quality
from interp.demo import tokenizer as tokens
from interp.tasks import builtin
from interp.tasks import word_lists as w


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(demo.path()).train(False)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(demo.path())


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return tokens.sample(seed=5, count=20_000)


@pytest.mark.parametrize("task", builtin.names())
def test_accuracy_on_held_out_combinations(task: str, model: Any, tokenizer: Any) -> None:
    result = quality.measure(model, tokenizer, task, n=300, seed=7)
    assert result.pairs == 300
    assert result.clean >= 0.95
    assert result.corrupt is None or result.corrupt >= 0.95
    assert result.top1 >= 0.9
    assert result.shortcut_accuracy <= 0.75, f"{result.shortcut} reaches {result.shortcut_accuracy}"


@pytest.mark.parametrize("verb", list(w.VERBS))
def test_every_verb_agrees(verb: str, model: Any, tokenizer: Any) -> None:
    assert quality.measure(model, tokenizer, "sva", n=150, seed=7, verb=verb).accuracy >= 0.95


def test_training_text_holds_no_test_combination(sentences: list[str]) -> None:
    name = "|".join((*w.GIRLS, *w.BOYS))
    couples = [couple for sentence in sentences for couple in re.findall(rf" ({name}) and ({name})\b", sentence)]
    assert len(couples) > 1000
    assert not any(builtin.held_out("ioi", tuple(sorted(couple))) for couple in couples)
    for sentence in sentences:
        for noun, _, attractor in re.findall(rf"the (\w+) ({'|'.join(w.PREPOSITIONS)}) the (\w+)", sentence.lower()):
            assert not builtin.held_out("sva", (singular(noun), singular(attractor)))


def singular(noun: str) -> str:
    return next((one for one, many in w.NOUNS if noun in (one, many)), noun)


def test_test_pairs_do_not_begin_any_training_sentence(sentences: list[str], tokenizer: Any) -> None:
    for task in builtin.names():
        prompts = {p for pair in builtin.build(task, tokenizer, n=300) for p in (pair.clean, pair.corrupt)}
        lengths = {len(prompt) for prompt in prompts}
        assert not prompts & {sentence[:length] for sentence in sentences for length in lengths}


def test_every_word_and_fact_is_in_the_training_text(sentences: list[str]) -> None:
    joined = " ".join(sentences)
    words = set(re.findall(r"[A-Za-z]+|\d\d", joined))
    assert {piece.strip() for piece in tokens.task_pieces()} <= words
    for country, city in w.CAPITALS:
        assert re.search(rf"\b{country}\b[^.]*\b{city}\b", joined), country


def test_every_task_word_is_one_token(tokenizer: Any) -> None:
    assert tokens.split_pieces(tokenizer) == []


def test_tokeniser_round_trips_any_text_and_begins_with_bos(tokenizer: Any) -> None:
    strange = "Ünïcode, 日本語 and\n\ttabs: 12345!"
    ids = tokenizer(strange)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == strange
    assert tokenizer.pad_token_id not in (None, tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_folder_is_small_and_plain() -> None:
    names = {file.name for file in demo.path().iterdir()}
    wanted = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names == wanted
    assert sum(file.stat().st_size for file in demo.path().iterdir()) <= 10_000_000


def test_model_is_deep_gpt2_with_matching_vocabulary(model: Any, tokenizer: Any) -> None:
    assert model.config.model_type == "gpt2"
    assert model.config.n_layer >= 4
    assert model.config.vocab_size == len(tokenizer)


def test_text_is_seeded() -> None:
    first, second, other = (corpus.Writer(seed) for seed in (1, 1, 2))
    written = [first.document(3), first.sequence(30)]
    assert written == [second.document(3), second.sequence(30)]
    assert written != [other.document(3), other.sequence(30)]


def test_shortcuts_never_reach_the_model() -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo.path())
    for task in builtin.names():
        name, reached = quality.best_shortcut(task, builtin.build(task, tokenizer, n=300, seed=11))
        assert 0 <= reached <= 0.75, (task, name)
