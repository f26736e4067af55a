"""Words out of tokens, and the heads that follow relations between them: one is planted and must be found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import InterpError, TaskError
from interp.heads import relations
from interp.heads.looking import Look
from interp.heads.relations import HeadRelations, most_looked_at
from interp.heads.words_of_tokens import over_words, tokens_of_words, words_of
from tests.interp.model.encoders.models import hooked
from tests.interp.parts.masks import bytes_with_mask, wordpiece

WORDS = ("the", "cats", "sat", "on", "a", "mat")
RELATIONS = (("det", 0, 1), ("det", 4, 5), ("subj", 5, 2))


def test_rows_of_words_sum_to_one() -> None:
    tokenizer = wordpiece()
    ids = tokenizer.encode(" ".join(WORDS))
    groups, names = words_of(tokenizer, " ".join(WORDS), ids)
    assert names == ("[CLS]", *WORDS, "[SEP]")
    weights = np.random.default_rng(0).dirichlet(np.ones(len(ids)), size=(3, len(ids)))
    found = over_words(weights, groups)
    np.testing.assert_allclose(found.sum(-1), 1)
    for q, asking in enumerate(groups):
        for k, asked in enumerate(groups):
            wanted = [np.mean([sum(head[i, j] for j in asked) for i in asking]) for head in weights]
            np.testing.assert_allclose(found[:, q, k], wanted)
    assert groups[2] == (2, 3)  # cat ##s


def test_given_words_have_their_tokens() -> None:
    tokenizer = wordpiece()
    assert tokens_of_words(tokenizer, WORDS, tokenizer.encode(" ".join(WORDS))) == (
        (1,),
        (2, 3),
        (4,),
        (5,),
        (6,),
        (7,),
    )
    tokenizer = bytes_with_mask()
    ids = tokenizer.encode("The cat sat", add_special_tokens=False)
    assert [t for places in tokens_of_words(tokenizer, ("The", "cat", "sat"), ids) for t in places] == list(
        range(len(ids))
    )


def test_words_that_nobody_knows_are_refused() -> None:
    tokenizer = wordpiece()
    with pytest.raises(TaskError, match="are not those"):
        words_of(tokenizer, "the cat", [5, 5, 5])
    with pytest.raises(TaskError, match="fast tokeniser"):
        words_of(None, "the cat", [5])
    model = hooked("bert", tokenizer)
    with pytest.raises(TaskError, match="expected one text"):
        interp.attention_patterns(model, [1, 5, 2], words=True)


def test_patterns_from_word_to_word() -> None:
    model = hooked("bert", wordpiece())
    found, plain = (interp.attention_patterns(model, "the cats sat", words=words) for words in (True, False))
    assert found.tokens == ("[CLS]", "the", "cats", "sat", "[SEP]")
    assert plain.tokens[2:4] == ("cat", "##s")
    np.testing.assert_allclose(found["a1.h0"][1, 2], plain["a1.h0"][1, 2:4].sum(), rtol=1e-5)
    np.testing.assert_allclose(found["a1.h0"][2, 1], plain["a1.h0"][2:4, 1].mean(), rtol=1e-5)


def planted(monkeypatch: pytest.MonkeyPatch, follow: dict[int, int]) -> None:
    """Heads that look everywhere alike, but for head a1.h2, whose tokens look at those of the word that `follow` names."""

    def looks(watched: Any, prompts: Any, batch_size: Any) -> Iterator[Look]:
        for place, ids in enumerate(prompts):
            weights = torch.full((1, 8, len(ids), len(ids)), 1 / len(ids))
            groups = tokens_of_words(watched.model.tokenizer, WORDS, ids)
            for word, other in follow.items():
                for token in groups[word]:
                    weights[0, 6, token] = 0.01
                    weights[0, 6, token, list(groups[other])] = 0.9 / len(groups[other])
            yield Look((place,), (ids,), weights)

    monkeypatch.setattr(relations, "looks", looks)


@pytest.mark.parametrize("word_level", [True, False])
def test_a_planted_relation_is_found(monkeypatch: pytest.MonkeyPatch, word_level: bool, tmp_path: Path) -> None:
    model = hooked("bert", wordpiece())
    planted(monkeypatch, {0: 1, 4: 5, 2: 5})
    found = interp.head_relations(model, [(WORDS, RELATIONS)] * 6, word_level=word_level)
    det, subj = found.row("det"), found.row("subj")
    assert (det.head, det.direction, det.accuracy, det.chosen, det.n, det.n_chosen) == (
        "a1.h2",
        "to the other",
        1,
        1,
        6,
        6,
    )
    assert (subj.head, subj.direction, subj.accuracy) == ("a1.h2", "from the other", 1)
    assert (det.offset, det.offset_accuracy) == (1, 1)
    assert [row.relation for row in found.rows] == ["det", "subj"]
    found.save(tmp_path / "relations.parquet")
    assert HeadRelations.load(tmp_path / "relations.parquet").rows == found.rows


def test_a_head_is_judged_where_it_was_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right word is random in each text, so that what fits the one half says nothing of the other."""
    model, generator = hooked("bert", wordpiece()), np.random.default_rng(0)
    texts = [(WORDS, [("any", 0, int(generator.integers(1, 6)))]) for _ in range(40)]

    def looks(watched: Any, prompts: Any, batch_size: Any) -> Iterator[Look]:
        for place, ids in enumerate(prompts):
            rows = generator.dirichlet(np.ones(len(ids)), size=(1, 8, len(ids)))
            yield Look((place,), (ids,), torch.tensor(rows))

    monkeypatch.setattr(relations, "looks", looks)
    row = interp.head_relations(model, texts).row("any")
    assert row.n == row.n_chosen == 20
    assert row.chosen is not None and row.accuracy is not None and row.chosen > row.accuracy
    assert row.low is not None and row.high is not None and row.low <= row.accuracy <= row.high


def test_a_head_that_looks_at_no_other_word_is_never_right() -> None:
    """The first word of a causal model sees itself alone."""
    weights = torch.eye(3)[None].double().numpy()
    assert most_looked_at(weights, ((0,), (1,), (2,)), True).tolist() == [[-1, -1, -1]]


def test_relations_of_a_model_as_transformers_has_it() -> None:
    """Counted by hand on the attentions of the model itself."""
    model = hooked("bert", wordpiece())
    found = interp.head_relations(model, [(WORDS, RELATIONS), (WORDS[:3], RELATIONS[:1])], held_out=0.5)
    ids = model.tokenize(" ".join(WORDS)).ids
    with torch.no_grad():
        rows = torch.cat(model.hf(ids, output_attentions=True).attentions, 1)[0].numpy()
    for head in range(8):
        to = rows[head, 1, 2:8]
        summed = np.array([to[0] + to[1], *to[2:]])  # from "the" to the words behind it, cat ##s together
        assert found.hits[0, 0, head, 0] - _second(rows[head]) == int(summed.argmax() == 0)


def _second(rows: np.ndarray) -> int:
    """Whether "a" looks most at "mat"."""
    row = rows[6]
    words = [row[1], row[2] + row[3], row[4], row[5], -1.0, row[7]]
    return int(np.argmax(words) == 5)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([(WORDS, RELATIONS)], "two or more"),
        ("text", "two or more"),
        ([(WORDS, [("det", 0, 9)])] * 2, "places of 0 to 5"),
        ([(WORDS, [("det", 1, 1)])] * 2, "two places"),
        ([(WORDS, ["det"])] * 2, "name, word, other"),
        ([(("a", ""), [])] * 2, "not empty"),
        ([3, 4], "words and relations"),
        ([(WORDS, [])] * 2, "no text has a relation"),
    ],
)
def test_annotations_that_say_nothing(given: Any, why: str) -> None:
    with pytest.raises(InterpError, match=why):
        interp.head_relations(hooked("bert", wordpiece()), given)


def test_shares_that_are_none() -> None:
    with pytest.raises(InterpError, match="held_out=1"):
        interp.head_relations(hooked("bert", wordpiece()), [(WORDS, RELATIONS)] * 2, held_out=1)
