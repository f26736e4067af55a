"""Prompts as chats: the text is the template's own, one BOS, spans move with their tokens, and what cannot be asked is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interp.errors import TaskError
from interp.tasks.find import task
from interp.tasks.lengths import length_of
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.parts.tokenisers import KNOWN, words

#: Ends in a space as others do in a line break: what follows has no space before it.
TEMPLATE = (
    "{{ bos_token }} {% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)
ROLES = ["user", "assistant", "system"]


def asked(template: str | None = TEMPLATE) -> Any:
    """A model's tokeniser of words with a template."""
    tokenizer = words()
    tokenizer.add_tokens(ROLES)
    tokenizer.chat_template = template
    return SimpleNamespace(tokenizer=tokenizer, reads_whole=False)


def written(model: Any, pair: TokenPair) -> str:
    return " ".join(model.tokenizer.convert_ids_to_tokens(list(pair.clean)))


PAIR = Pair("the cat gave", "the dog gave", " Mary", " John", {"animal": (2, 3), "end": (3, 4)})


def test_a_prompt_is_one_message_of_the_user_with_one_bos() -> None:
    model = asked()
    found = task(Task("t", (PAIR,)), model, chat=True)
    (ids,) = found.tokenize(model.tokenizer, 100)
    assert written(model, ids) == "<s> user the cat gave assistant"
    assert found.pairs[0].clean == model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "the cat gave"}], tokenize=False, add_generation_prompt=True
    )
    assert list(ids.clean) == model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "the cat gave"}], add_generation_prompt=True, return_dict=False
    )
    assert (ids.answers, ids.wrong) == ((KNOWN.index("Mary"),), (KNOWN.index("John"),))
    assert found.pairs[0].answers == ("Mary",) and "as chats" in found.source and "leading space" in found.source
    assert {
        name: model.tokenizer.convert_ids_to_tokens(list(ids.clean[a:b])) for name, (a, b) in ids.spans.items()
    } == {
        "animal": ["cat"],
        "end": ["gave"],
    }
    assert length_of(found.pairs[0], model.tokenizer) == ids.length == 6


def test_a_bos_that_the_template_leaves_to_the_tokeniser_is_one_too() -> None:
    model = asked(TEMPLATE.replace("{{ bos_token }} ", ""))
    (ids,) = task(Task("t", (PAIR,)), model, chat=True).tokenize(model.tokenizer, 100)
    assert written(model, ids) == "<s> user the cat gave assistant"


def test_without_chat_nothing_changes() -> None:
    model, given = asked(), Task("t", (PAIR,))
    assert task(given, model) is given


def test_spans_that_the_template_cuts_are_left_out() -> None:
    model = asked(TEMPLATE.replace("m['content']", "m['content'] | upper"))
    found = task(Task("t", (PAIR,)), model, chat=True)
    assert found.pairs[0].spans == {}


@pytest.mark.parametrize("names", [("clean", "corrupt"), ("clean_messages", "corrupt_messages")])
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_files_hold_messages(names: tuple[str, str], ending: str, tmp_path: Path) -> None:
    model, prompts = (
        asked(),
        [
            [{"role": "system", "content": "the sky"}, {"role": "user", "content": text}]
            for text in ("the cat", "the dog")
        ],
    )
    row = dict(zip(names, prompts, strict=True)) | {"answer": "Mary", "wrong": "John"}
    path = tmp_path / f"t.{ending}"
    path.write_text(json.dumps([row] if ending == "json" else row))
    for chat in (False, True):
        found = task(path, model, chat=chat)
        (ids,) = found.tokenize(model.tokenizer, 100)
        assert written(model, ids) == "<s> system the sky user the cat assistant" and "as chats" in found.source
    from interp.tasks.task_files import load_task

    assert load_task(path).tokenize(model.tokenizer, 100) == [ids]  # also where no model was at hand before


@pytest.mark.parametrize(
    ("clean", "corrupt", "said"),
    [
        ([{"role": "user", "content": "a"}], "text", "one of 'clean' and 'corrupt' is a list of messages"),
        ([{"role": "user"}], [{"role": "user", "content": "a"}], "has the message"),
        ([{"role": "user", "content": ["a"]}], [{"role": "user", "content": "a"}], "has the message"),
        (["hello"], [{"role": "user", "content": "a"}], "is a list of messages"),
        ([], [{"role": "user", "content": "a"}], "missing|expected a list of messages"),
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": "a"}], "the same text"),
    ],
)
def test_rows_that_are_no_chats_are_refused_by_their_place(clean: Any, corrupt: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"clean": clean, "corrupt": corrupt, "answer": "Mary"}))
    with pytest.raises(TaskError, match=rf"t\.jsonl line 1.*({said})"):
        task(path, asked())


def test_what_cannot_be_a_chat_is_refused_with_its_reason() -> None:
    tool = Pair("a", "b", "Mary", messages=((("tool", "the cat"),), (("user", "the dog"),)))
    with pytest.raises(TaskError, match=r"t pair 1 of 1: .*refuses the messages: .*no tools here"):
        task(Task("t", (tool,)), asked())
    with pytest.raises(TaskError, match="has no chat template"):
        task(Task("t", (PAIR,)), asked(None), chat=True)
    with pytest.raises(TaskError, match="refuses the messages"):
        task(Task("t", (PAIR,)), asked("{% for"), chat=True)
    with pytest.raises(TaskError, match="expected text"):
        task(Task("t", (PAIR,)), asked("{{ '' }}"), chat=True)
    given = Pair("", "", (), ids=TokenPair((1, 2), (1, 3), (4,)))
    with pytest.raises(TaskError, match="token ids"):
        task(Task("t", (given,)), asked(), chat=True)
    with pytest.raises(TaskError, match="length=9 with chat=True"):
        task("ioi", asked(), chat=True, length=9)


def test_length_counts_the_tokens_of_the_chat() -> None:
    model = asked()
    longer = Pair("the cat and the book gave", "the dog and the book gave", " Mary", " John")
    found = task(Task("t", (PAIR, longer)), model, chat=True, length=6)
    assert len(found) == 1 and found.pairs[0].answers == ("Mary",)


@pytest.mark.parametrize(("between", "space"), [(" ", True), ("", False), ("\n", False)])
def test_answers_have_the_space_that_the_template_writes_before_them(between: str, space: bool) -> None:
    """As Llama 2 and Vicuna write it: no space where the model begins, and one before what it says."""
    template = (
        "{{ bos_token }} {% for m in messages %}{% if m['role'] == 'user' %}user {{ m['content'] }} assistant"
        "{% else %}" + between + "{{ m['content'] }}{% endif %}{% endfor %}"
    )
    found = task(Task("t", (PAIR, Pair("the cat gave", "the dog gave", "Mary", "John"))), asked(template), chat=True)
    assert [(p.answers, p.wrong) for p in found.pairs] == [
        ((" Mary",), (" John",)) if space else (("Mary",), ("John",))
    ] * 2


def test_a_pair_in_memory_takes_messages_as_files_have_them() -> None:
    chats = [[{"role": "user", "content": text}] for text in ("the cat gave", "the dog gave")]
    pair = Pair("", "", "Mary", "John", messages=chats)  # type: ignore[arg-type]
    assert pair.messages == ((("user", "the cat gave"),), (("user", "the dog gave"),))
    for given in (chats[:1], "x", {"user": "x"}, 3):
        with pytest.raises(TaskError, match=r"messages is .* expected two chats"):
            Pair("", "", "Mary", "John", messages=given)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"clean of messages is .* expected a list of messages"):
        Pair("", "", "Mary", "John", messages=("the cat", "the dog"))  # type: ignore[arg-type]
