"""Two texts as one input: the types of their tokens reach the model, in runs, tasks and files, and scores are those of plain hooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import InterpError, MethodError, TaskError
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from interp.tasks.task_files import load_task
from tests.interp.model.encoders.models import hooked
from tests.interp.model.tiny import hooked as decoder
from tests.interp.parts.masks import wordpiece

PAIRS = (
    Pair("the cat sat on a mat", "the cat sat on a mat", (), second=("a good cat ran", "a bad dog ran"), answer_ids=0, wrong_ids=1),
    Pair("a dog ran", "a cat ran", (), second="the film was bad on the mat", answer_ids=1, wrong_ids=0),
)  # fmt: skip


def _model() -> Any:
    return hooked("bert-next", _typed())


def _typed() -> Any:
    """A tokeniser that gives the types, as BERT's does."""
    made = wordpiece()
    made.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return made


def _in_front() -> Any:
    """A classifier with norms in front that tells types of tokens apart."""
    return hooked("gpt2-classes", _typed(), type_vocab_size=2)


def _plain(model: Any, first: str, second: str) -> Tensor:
    """The logits of the plain model on what its tokeniser makes of both texts [output]."""
    given = model.tokenizer(first, second, return_tensors="pt")
    assert bool(given["token_type_ids"].any())
    with torch.no_grad():
        found: Tensor = model.hf(**given).logits[0]
    return found


def _sides(pair: Pair) -> list[tuple[str, str]]:
    assert pair.second is not None
    return list(zip((pair.clean, pair.corrupt), pair.second, strict=True))


@torch.no_grad()
def test_a_run_on_what_a_tokeniser_returns_is_the_plain_call() -> None:
    model = _model()
    given = model.tokenizer("the cat sat", "a dog ran on", return_tensors="pt")
    run = model.run(dict(given))
    assert torch.equal(run.logits[:, 0], model.hf(**given).logits)
    assert run.tokens.types is not None and torch.equal(run.tokens.types, given["token_type_ids"])
    several = model.tokenizer(["the cat", "a dog ran"], ["a mat", "the film"], padding=True, return_tensors="pt")
    assert torch.allclose(model.run(dict(several)).logits[:, 0], model.hf(**several).logits, atol=1e-6)


@torch.no_grad()
def test_types_that_are_all_of_the_first_text_change_nothing() -> None:
    """A decoder would take them for tokens."""
    ids = torch.tensor([[2, 3, 4]])
    for model in (decoder("gpt2"), _model()):
        assert torch.equal(model.run(torch.stack([ids, 0 * ids], -1)).logits, model.run(ids).logits)
    with pytest.raises(TaskError, match="tells no types of tokens apart"):
        decoder("gpt2").run(torch.stack([ids, 0 * ids + 1], -1))


def test_metrics_and_exact_scores_are_those_of_plain_calls() -> None:
    model, task = _model(), Task("pairs", PAIRS)
    scores = interp.attribute(model, task, method="exact", level="blocks", direction="noise")
    for i, (pair, pairs) in enumerate(zip(PAIRS, task.tokenize(model.tokenizer, model.outputs), strict=True)):
        (right,), (wrong,) = pairs.answers, pairs.wrong
        clean, corrupt = (_plain(model, *texts) for texts in _sides(pair))
        base = float(clean[right] - clean[wrong])
        for node, value in zip(scores.parts, scores.per_example[i], strict=True):
            if node.layer is None:
                continue
            block = model.hf.bert.encoder.layer[node.layer]
            module = block.attention.output.dense if node.kind == "attn_out" else block.output.dense
            patched = _patched(model, module, *_sides(pair))
            assert float(patched[right] - patched[wrong]) - base == pytest.approx(float(value), abs=1e-5)
        assert float((clean - corrupt).abs().max()) > 1e-3


def _patched(model: Any, module: Any, clean: tuple[str, str], corrupt: tuple[str, str]) -> Tensor:
    """The plain model on the clean texts, with what a module makes of the corrupt ones in place of its output."""
    seen: list[Tensor] = []
    with module.register_forward_hook(lambda m, args, y: seen.append(y)):
        _plain(model, *corrupt)
    with module.register_forward_hook(lambda m, args, y: seen[0]):
        return _plain(model, *clean)


def test_tokens_are_attributed_and_the_rest_goes_as_with_one_text() -> None:
    model, task = _model(), Task("pairs", PAIRS)
    found = interp.attribute_tokens(model, task, method="integrated-gradients", steps=64)
    assert found.delta is not None and max(map(abs, found.delta)) < 1e-3
    assert found.tokens[0][0] == "[CLS]" and found.tokens[0].count("[SEP]") == 2
    scores = interp.attribute(model, task, method="relp", level="heads", positions="end")
    assert np.isfinite(scores.mean).all()


def test_pairs_of_the_same_texts_are_in_the_same_half() -> None:
    pairs = [Pair("a", "a", ("x",), second=(f"b{i % 2}", "c")) for i in range(8)]
    first, second = Task("t", tuple(pairs)).split()
    assert not {p.second for p in first.pairs} & {p.second for p in second.pairs}


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_files_have_the_second_texts_in_columns_of_their_own(ending: str, tmp_path: Path) -> None:
    row = {
        "clean": "the cat sat",
        "corrupt": "the cat sat",
        "clean_second": "a dog",
        "corrupt_second": "[a mat",
        "answer_id": "1",
        "wrong_id": "0",
    }
    file = tmp_path / f"nli{ending}"
    table = "\n".join([",".join(row), ",".join(row.values())])
    file.write_text(table if ending == ".csv" else json.dumps({**row, "answer_id": 1, "wrong_id": 0}))
    (pair,) = load_task(file).pairs
    assert pair.second == ("a dog", "[a mat") and pair.answer_ids == (1,)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "texts of other lengths": (
        lambda: _read(Pair("the cat sat", "the cat", (), second=("a dog", "a dog ran"), answer_ids=0)),
        r"clean have 5 \+ 3 tokens and those of corrupt 4 \+ 4",
    ),
    "the same tokens": (
        lambda: _read(Pair("the cat", "The cat", (), second="a dog", answer_ids=0)),
        "nothing to patch",
    ),
    "a model that answers at its mask": (
        lambda: _read(Pair("the [MASK]", "a [MASK]", "cat", second="a dog"), hooked("bert-mlm", wordpiece())),
        "answers no question about two",
    ),
    "a tokeniser with nothing between texts": (
        lambda: _read(Pair("Cat", "cat", (), second="a", answer_ids=0), hooked("bert-next", _joined())),
        "puts nothing between them",
    ),
    "a tokeniser without types": (
        lambda: _read(Pair("the cat", "a cat", (), second="a", answer_ids=0), hooked("bert-next", wordpiece())),
        "tells 2 types of tokens apart, and its tokeniser gives none",
    ),
    "no tokeniser": (
        lambda: _read(Pair("the cat", "a cat", (), second="a", answer_ids=0), hooked("bert-next")),
        "no tokeniser",
    ),
    "more types than there are": (
        lambda: _model().run({"input_ids": torch.tensor([[2, 3]]), "token_type_ids": torch.tensor([[0, 2]])}),
        "tells 2 types of tokens apart",
    ),
    "types for a model without": (
        lambda: decoder("gpt2").run({"input_ids": torch.tensor([[2, 3]]), "token_type_ids": torch.tensor([[0, 1]])}),
        "given token_type_ids",
    ),
    "types of another length": (
        lambda: _model().run({"input_ids": torch.tensor([[2, 3]]), "token_type_ids": torch.tensor([[0, 1, 1]])}),
        r"token_type_ids has shape \[1, 3\]",
    ),
    "edges around sums": (
        lambda: interp.attribute(_model(), Task("t", PAIRS), method="relp", level="edges", allow_unsupported=True),
        "act on the sums",
    ),
    "positions apart from types": (
        lambda: interp.attribute(_in_front(), Task("t", PAIRS), method="eap", level="edges", split_positions=True),
        "what is no single text has no token embedding apart",
    ),
    "no text": (lambda: Pair("a", "b", "c", second=("a", 3)), "second is"),  # type: ignore[arg-type]
    "with a chat": (lambda: Pair("a", "b", "c", second="a", messages=((), ())), "second belongs to two texts"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_right_is_refused(what: str) -> None:
    call, said = REFUSED[what]
    with pytest.raises((TaskError, MethodError, InterpError), match=said):
        call()


def test_types_are_a_part_of_what_the_embedding_writes() -> None:
    """At the end of the edge the first MLP alone reads the other prompt's embedding, types and all."""
    model, task = _in_front(), Task("pairs", PAIRS)
    scores = interp.attribute(model, task, method="exact", level="edges", direction="noise")
    place = next(i for i, edge in enumerate(scores.edges) if edge.name == "embed->m0")
    for i, (pair, pairs) in enumerate(zip(PAIRS, task.tokenize(model.tokenizer, model.outputs), strict=True)):
        (clean, embeds), (_, other) = (_first(model, *side) for side in _sides(pair))
        hook = model.hf.transformer.h[0].ln_2.register_forward_pre_hook(
            lambda m, a, change=other - embeds: (a[0] + change, *a[1:])
        )
        moved, _ = _first(model, *_sides(pair)[0])
        hook.remove()
        change = (moved - clean)[pairs.answers[0]] - (moved - clean)[pairs.wrong[0]]
        assert scores.per_example[i, place] == pytest.approx(float(change), abs=1e-5)
    assert np.abs(scores.per_example[:, place]).min() > 1e-3


def _first(model: Any, first: str, second: str) -> tuple[Tensor, Tensor]:
    """The logits of the plain model [output], and what enters its first block."""
    seen: list[Tensor] = []
    hook = model.hf.transformer.h[0].register_forward_pre_hook(lambda m, a: seen.append(a[0]))
    found = _plain(model, first, second)
    hook.remove()
    return found, seen[0]


def test_one_second_text_alone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("clean,corrupt,answer,clean_second\na,b,c,d\n")
    with pytest.raises(
        TaskError,
        match="line 2: 'clean_second' given; expected 'clean_second' and 'corrupt_second', or 'second' for both",
    ):
        load_task(file)


def _read(pair: Pair, model: Any = None) -> Any:
    model = model or _model()
    return Task("t", (pair,)).tokenize(model.tokenizer, model.outputs)


def _joined() -> Any:
    from tokenizers import processors

    made = wordpiece()
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[]
    )
    return made
