"""Built-in tasks: seeding, equal lengths, filters, spans, splits and messages, with two kinds of tokeniser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import Split
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp import demo
from interp.demo.tokenizer import task_pieces
from interp.errors import TaskError
from interp.tasks import builtin
from interp.tasks import word_lists as w
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task

UNKNOWN_NAMES = {" Mary", " John"}
WHOLE_YEARS = {" 1500", " 1732"}


def byte_level(pieces: list[str], before: Sequence[Any] = ()) -> Any:
    """A tokeniser like GPT-2's, without special tokens around a text, that has these pieces as single tokens.

    before: what splits a text before it does.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=50_000,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(sorted(pieces), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>")


@pytest.fixture(scope="module")
def embedded() -> Any:
    return AutoTokenizer.from_pretrained(demo.path())


@pytest.fixture(scope="module")
def gpt2_like() -> Any:
    return byte_level(sorted({*task_pieces(), *WHOLE_YEARS} - UNKNOWN_NAMES))


@pytest.fixture(params=["embedded", "gpt2_like"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def span_text(tokenizer: Any, pair: Pair, name: str, *, corrupt: bool = False) -> str:
    start, end = pair.spans[name]
    ids = tokenizer(pair.corrupt if corrupt else pair.clean)["input_ids"]
    return str(tokenizer.decode(ids[start:end]))


def test_names_are_the_six_tasks_with_descriptions() -> None:
    assert set(builtin.names()) == {"ioi", "greater-than", "gender", "sva", "induction", "capital"}
    assert all(builtin.describe(name).description for name in builtin.names())


@pytest.mark.parametrize("name", builtin.names())
def test_same_seed_gives_the_same_pairs_and_another_seed_others(name: str, embedded: Any) -> None:
    first = builtin.build(name, embedded, n=30, seed=3)
    assert first == builtin.build(name, embedded, n=30, seed=3)
    assert first != builtin.build(name, embedded, n=30, seed=4)


@pytest.mark.broad
@pytest.mark.parametrize("name", builtin.names())
def test_pairs_are_distinct_equally_long_and_answered_by_single_tokens(name: str, tokenizer: Any) -> None:
    pairs = builtin.build(name, tokenizer, n=120, seed=0)
    assert len({(pair.clean, pair.corrupt) for pair in pairs}) == 120
    for pair in pairs:
        clean, corrupt = (tokenizer(text)["input_ids"] for text in (pair.clean, pair.corrupt))
        assert len(clean) == len(corrupt)
        assert clean != corrupt
        assert not set(pair.answers) & set(pair.wrong)
        for answer in (*pair.answers, *pair.wrong):
            assert len(tokenizer(answer, add_special_tokens=False)["input_ids"]) == 1
        assert max(end for _, end in pair.spans.values()) == len(clean)


@pytest.mark.parametrize("name", [name for name in builtin.names() if name != "greater-than"])
def test_an_answer_follows_its_prompt_as_the_same_token(name: str, tokenizer: Any) -> None:
    for pair in builtin.build(name, tokenizer, n=50, seed=0):
        for prompt, answer in ((pair.clean, pair.answers[0]), (pair.corrupt, pair.wrong[0])):
            expected = [*tokenizer(prompt)["input_ids"], *tokenizer(answer, add_special_tokens=False)["input_ids"]]
            assert tokenizer(prompt + answer)["input_ids"] == expected


@pytest.mark.parametrize("corrupt", ["swap", "third"])
def test_ioi_spans_and_corruption(corrupt: str, tokenizer: Any) -> None:
    orders = set()
    for pair in builtin.build("ioi", tokenizer, n=60, seed=1, corrupt=corrupt):
        receiver, giver = pair.answers[0], pair.wrong[0]
        assert span_text(tokenizer, pair, "IO") == receiver
        assert span_text(tokenizer, pair, "S1") == span_text(tokenizer, pair, "S2") == giver
        actor = span_text(tokenizer, pair, "S2", corrupt=True)
        assert actor == receiver if corrupt == "swap" else actor not in (receiver, giver)
        orders.add(pair.spans["IO"] < pair.spans["S1"])
    assert orders == {True, False}


def test_greater_than_answers_are_the_later_endings(tokenizer: Any) -> None:
    for pair in builtin.build("greater-than", tokenizer, n=60, seed=1):
        start = span_text(tokenizer, pair, "start")
        century, ending = start[:-2], start[-2:]
        assert pair.clean.endswith(century)
        assert set(pair.answers) == {e for e in w.ENDINGS if e > ending}
        assert set(pair.wrong) == {e for e in w.ENDINGS if e <= ending}
        assert span_text(tokenizer, pair, "start", corrupt=True) == century + "01"


@pytest.mark.parametrize("verb", list(w.VERBS))
def test_sva_flips_the_subject_and_keeps_the_attractor(verb: str, tokenizer: Any) -> None:
    plural, singular = w.VERBS[verb]
    attractors_agree = set()
    for pair in builtin.build("sva", tokenizer, n=60, seed=1, verb=verb):
        subject, other = (span_text(tokenizer, pair, "subject", corrupt=side) for side in (False, True))
        attractor = span_text(tokenizer, pair, "attractor")
        assert attractor == span_text(tokenizer, pair, "attractor", corrupt=True)
        assert {subject, other} == {min(subject, other), min(subject, other) + "s"}
        assert pair.answers[0].strip() == (plural if subject.endswith("s") else singular)
        attractors_agree.add(subject.endswith("s") == attractor.endswith("s"))
    assert attractors_agree == {True, False}


@pytest.mark.parametrize("copies", [1, 2])
def test_induction_source_is_what_followed_the_last_word_before(copies: int, tokenizer: Any) -> None:
    for pair in builtin.build("induction", tokenizer, n=60, seed=1, copies=copies, length=8):
        assert pair.spans["last"][1] == len(tokenizer(pair.clean)["input_ids"])
        for text, answer, side in ((pair.clean, pair.answers[0], False), (pair.corrupt, pair.wrong[0], True)):
            words = text.split()
            assert len(set(words)) == 8
            before = [words[i + 1] for i, word in enumerate(words[:-1]) if word == words[-1]]
            assert before == [answer.strip()] * copies
            assert span_text(tokenizer, pair, "source", corrupt=side) == answer


def test_gender_and_capital_answers_fit_their_words(tokenizer: Any) -> None:
    for pair in builtin.build("gender", tokenizer, n=60, seed=1):
        girl = span_text(tokenizer, pair, "name").strip() in w.GIRLS
        assert (pair.answers, pair.wrong) == (((" she",), (" he",)) if girl else ((" he",), (" she",)))
    capitals = dict(w.CAPITALS)
    for pair in builtin.build("capital", tokenizer, n=60, seed=1):
        for side, answer in ((False, pair.answers[0]), (True, pair.wrong[0])):
            assert capitals[span_text(tokenizer, pair, "country", corrupt=side).strip()] == answer.strip()


def test_words_that_are_not_one_token_are_left_out(gpt2_like: Any) -> None:
    for pair in (*builtin.build("ioi", gpt2_like, n=300), *builtin.build("gender", gpt2_like, n=300)):
        assert not any(name in pair.clean + pair.corrupt for name in UNKNOWN_NAMES)
    for pair in builtin.build("greater-than", gpt2_like, n=300):
        assert not any(year in pair.clean for year in WHOLE_YEARS)


@pytest.mark.parametrize("name", builtin.names())
def test_too_few_words_is_a_task_error(name: str) -> None:
    with pytest.raises(TaskError, match=r"0 of \d+ .* at least \d+ are needed; use a tokenizer"):
        builtin.build(name, byte_level([]), n=5)


def digitwise() -> Any:
    """A tokeniser that writes every digit apart, as those of Llama 2, Qwen and Gemma do."""
    return byte_level([piece for piece in task_pieces() if not piece.strip().isdigit()])


def llama_like(pieces: list[str]) -> Any:
    """A tokeniser that puts a space before every text, as Llama 2's does: `4` alone is not the `4` of `174`."""
    words = sorted({"\u2581" + piece.strip() for piece in pieces if piece.strip().isalpha()})
    known = ["<unk>", "<s>", "\u2581", *words, *map(chr, range(33, 127)), "\n"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in dict.fromkeys(known)], unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize("kind", ["digitwise", "llama_like"])
def test_a_tokeniser_of_digits_is_asked_for_the_first_digit_of_the_ending(kind: str) -> None:
    tokenizer = digitwise() if kind == "digitwise" else llama_like(task_pieces())
    pairs = builtin.build("greater-than", tokenizer, n=200, seed=1)
    assert {len(pair.answers) for pair in pairs} == set(range(1, 9))
    for pair in pairs:
        start = span_text(tokenizer, pair, "start")
        year = re.search(r"year (\d\d)(\d)(\d) ", pair.clean)
        assert year and start == year[2] + year[3] and pair.clean.endswith(" " + year[1])
        assert pair.answers == tuple("0123456789"[int(year[2]) + 1 :])
        assert pair.wrong == tuple(
            "0123456789"[: int(year[2])]
        )  # the digit itself may go on to a later or an earlier year
        assert pair.corrupt == pair.clean.replace(year[0], f"year {year[1]}01 ")
        for digit in (*pair.answers, *pair.wrong):
            before = tokenizer(pair.clean)["input_ids"]
            assert tokenizer(pair.clean + digit)["input_ids"][: len(before)] == before
            assert len(tokenizer(pair.clean + digit)["input_ids"]) == len(before) + 1
    for pair, ids in zip(pairs, Task("years", tuple(pairs)).tokenize(tokenizer, len(tokenizer)), strict=True):
        assert [tokenizer.decode([i]) for i in (*ids.answers, *ids.wrong)] == [*pair.answers, *pair.wrong]
        assert tokenizer(pair.clean + pair.answers[0])["input_ids"] == [*ids.clean, ids.answers[0]]


def test_the_form_of_greater_than_is_said_and_whole_endings_come_first(embedded: Any) -> None:
    assert "first digit" in builtin.form_of("greater-than", digitwise())
    assert builtin.form_of("greater-than", embedded) == ""
    # With whole endings for most years, those that are split into digits are left out, whatever digits are.
    centuries = {f" {century}" for century in w.CENTURIES}
    mixed = byte_level([p for p in task_pieces() if not p.isdigit() or p == "01" or p > "40"] + sorted(centuries))
    assert builtin.form_of("greater-than", mixed) == ""
    assert all(len(start) == 2 for pair in builtin.build("greater-than", mixed, n=50) for start in pair.answers)


def test_a_mixed_tokeniser_with_few_endings_is_asked_by_digits_where_these_are_apart() -> None:
    pieces = [piece for piece in task_pieces() if not piece.strip().isdigit()]
    some = byte_level([*pieces, " 17", "42", "43"])
    assert "first digit" in builtin.form_of("greater-than", some)
    starts = [pair.clean for pair in builtin.build("greater-than", some, n=400)]
    assert not any(re.search(r"\d\d4[23] ", clean) for clean in starts)
    assert any(re.search(r"174[0-9] ", clean) for clean in starts)


def test_a_tokeniser_of_three_digits_is_refused_for_years_with_both_counts() -> None:
    pieces = [piece for piece in task_pieces() if not piece.strip().isdigit()]
    threes = [f"{century}{first}" for century in w.CENTURIES for first in range(10)]
    tokenizer = byte_level([*pieces, *w.ENDINGS, *threes], [Split(Regex(r"\d{1,3}"), "isolated")])
    with pytest.raises(TaskError, match=r"0 years are two tokens.* and 0 are written digit by digit"):
        builtin.build("greater-than", tokenizer, n=5)


def test_wrong_names_options_and_counts_are_task_errors(embedded: Any) -> None:
    with pytest.raises(TaskError, match=r"'iou'.*Did you mean ioi.*capital.*sva"):
        builtin.build("iou", embedded)
    with pytest.raises(TaskError, match=r"'corupt'.*Valid: corrupt"):
        builtin.build("ioi", embedded, corupt="swap")
    with pytest.raises(TaskError, match=r"'fourth'.*swap, third"):
        builtin.build("ioi", embedded, corrupt="fourth")
    with pytest.raises(TaskError, match=r"'go'.*be, do, have, past"):
        builtin.build("sva", embedded, verb="go")
    with pytest.raises(TaskError, match=r"'dev'.*all, test, train"):
        builtin.build("ioi", embedded, split="dev")
    with pytest.raises(TaskError, match="n is 0"):
        builtin.build("ioi", embedded, n=0)
    with pytest.raises(TaskError, match="length is 3"):
        builtin.build("induction", embedded, length=3)


def test_more_pairs_than_there_are_is_a_task_error(embedded: Any) -> None:
    with pytest.raises(TaskError, match=r"100000 pairs asked for, only \d+ distinct ones"):
        builtin.build("capital", embedded, n=100_000)


@pytest.mark.parametrize("name", builtin.names())
def test_splits_share_no_combination(name: str) -> None:
    seen = {}
    for split in ("train", "test"):
        source = builtin.drafts(name, None, seed=0, split=split)
        kept = [draft for draft, _ in zip(source, range(3000), strict=False) if draft is not None]
        seen[split] = {combination for draft in kept for combination in draft.combinations}
    assert all(seen.values())
    assert not seen["train"] & seen["test"]
