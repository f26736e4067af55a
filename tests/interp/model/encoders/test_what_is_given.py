"""What an encoder or classifier is given: read as it is meant, or refused in a sentence, never read as something else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from interp.errors import InterpError, LayoutError, TaskError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.tokens import pad
from tests.interp.model.encoders.models import CAUSAL, CLASSES, hooked, known, output, tiny
from tests.interp.model.encoders.own_encoders import Config, InFront
from tests.interp.model.plain import close, state
from tests.interp.model.tiny import ids, randomise
from tests.interp.parts.masks import bytes_with_mask, wordpiece


@pytest.mark.parametrize("tokenizer", [wordpiece, bytes_with_mask])
@torch.no_grad()
def test_a_text_is_read_whole(tokenizer: Any) -> None:
    made = tokenizer()
    model = hooked("roberta-mlm", made)
    text = f"The {made.mask_token} sat"
    whole = made(text)["input_ids"]
    assert whole[-1] == made.sep_token_id
    run = model.run(text)
    assert run.tokens.ids.tolist() == [whole] and torch.equal(run.logits, output(model.hf, torch.tensor([whole])))
    several = model.run([text, "The cat ran on The mat"])
    assert several.tokens.ids[0, len(whole) :].eq(made.pad_token_id).all() and bool(several.tokens.mask[:, 0].all())
    close(several.logits[0, : len(whole)], run.logits[0])


@torch.no_grad()
def test_one_position_is_kept_at_the_mask() -> None:
    model = hooked("bert-mlm", wordpiece())
    texts = ["the [MASK] sat on a mat", "a good [MASK] ran"]
    run, kept = model.run(texts), model.run(texts, logits_to_keep=1)
    assert kept.logits.shape == (2, 1, 64)
    assert torch.equal(kept.logits[:, 0], run.logits[[0, 1], [2, 3]])


@pytest.mark.parametrize("key", ["token_type_ids", "position_ids"])
@torch.no_grad()
def test_what_else_a_tokeniser_returns_is_used_or_refused(key: str) -> None:
    """[CLS] one [SEP] other [SEP]: the second text is of another type."""
    model, tokens = known("bert-next"), ids(2, 9)
    given = {"token_type_ids": (torch.arange(9) > 4).long(), "position_ids": torch.arange(9).flip(0)}[key].expand(2, -1)
    expected = output(model.hf, tokens, **{key: given})
    assert float((expected - output(model.hf, tokens)).abs().max()) > 0.01
    try:
        found = model.run({"input_ids": tokens, key: given}).logits
    except InterpError as error:
        assert key in str(error)
    else:
        close(found, expected)


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_a_causal_classifier_reads_the_last_real_token(name: str) -> None:
    """Whatever stands in the padding: the mask says what is real."""
    model, rows = hooked(name, pad_token_id=5), [[7, 8, 9, 10, 11], [12, 13, 14]]
    try:
        found = model.run(pad(rows, 0, "right")).logits
    except InterpError:
        return
    for i, row in enumerate(rows):
        close(found[i], output(model.hf, torch.tensor([row]))[0])


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_a_causal_classifier_without_padding_token_takes_several_prompts(name: str) -> None:
    """As GPT-2's configuration has none. Prompts one at a time, or a sentence that says what to set."""
    model = hooked(name, pad_token_id=None)
    try:
        found = model.run(ids(2)).logits
    except InterpError as error:
        assert "pad_token_id" in str(error)
    else:
        close(found[1], output(model.hf, ids(2)[1:])[0])


def test_longer_prompts_than_the_context_are_refused() -> None:
    with pytest.raises(TaskError, match="65 tokens; this model's context is 64"):
        known("bert-mlm").run(torch.full((1, 65), 7))


@pytest.mark.parametrize("name", ["roberta-mlm", "mpnet-mlm"])
def test_positions_that_begin_behind_the_padding_id_leave_less_context(name: str) -> None:
    """64 positions, of which the first two are never used: 62 tokens fit."""
    assert known(name).run(torch.full((1, 62), 7)).logits.shape == (1, 62, 64)
    with pytest.raises(TaskError, match="context is 62"):
        known(name).run(torch.full((1, 63), 7))


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes", "gpt2-classes"])
def test_nothing_is_generated(name: str) -> None:
    with pytest.raises(InterpError):
        hooked(name, wordpiece()).generate("the cat", max_new_tokens=2)


@pytest.mark.parametrize("made", ["BertForQuestionAnswering", "BertForPreTraining", "BertForMultipleChoice"])
def test_outputs_that_are_not_known_are_named(made: str) -> None:
    cls = getattr(transformers, made)
    with pytest.raises(LayoutError, match=made):
        HookedModel(cls(transformers.BertConfig(**CLASSES["bert"][1])).eval())


def test_one_number_for_each_position_is_no_number_for_each_class() -> None:
    """ELECTRA's discriminator gives [batch pos]."""
    config = transformers.ElectraConfig(**CLASSES["electra-mlm"][1])
    model = transformers.ElectraForPreTraining(config)
    randomise(model)
    try:
        found = HookedModel(model.eval())
    except InterpError:
        return
    with torch.no_grad():
        assert found.layout.d_vocab == 1 and found.run(ids(2, 9)).logits.shape == (2, 9, 1)


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes", "gpt2-classes"])
def test_state_of_a_model_that_failed_is_as_before(name: str) -> None:
    """An edit that raises leaves no hook behind."""
    model = HookedModel(tiny(name))
    before = state(model.hf)

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.run(ids(), edits=[Edit("mlp_out.0", broken)])
    assert state(model.hf) == before


def test_positions_of_the_stream_are_those_of_the_prompt() -> None:
    """Where a model puts a vector of its own in front it is refused, or that position is no token's."""
    model = InFront(Config())
    randomise(model)
    try:
        found = HookedModel(model.eval())
    except InterpError:
        return
    assert found.run(ids(2, 9), reads=["embed"])["embed"].shape == (2, 9, 32)
