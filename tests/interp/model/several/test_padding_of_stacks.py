"""Padding: what stands behind or before a text, and is hidden, changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.interp.model.plain import close
from tests.interp.model.several.made import BART, MARIAN, T5, given, known


def _padded(x: Tensor, more: int, left: bool = False) -> tuple[Tensor, Tensor]:
    """Ids with other ids beside them, which a mask hides."""
    beside = torch.full((len(x), more), 7)
    ids = torch.cat([beside, x] if left else [x, beside], 1)
    shown = torch.cat([torch.zeros_like(beside), torch.ones_like(x)] if left else [torch.ones_like(x), 0 * beside], 1)
    return ids, shown


@pytest.mark.parametrize("name", [T5, BART, MARIAN])
@torch.no_grad()
def test_a_padded_encoder_is_the_unpadded_one(name: str) -> None:
    model, inputs = known(name), given(name)
    kinds = ["encoder:resid_post", "cross_z", "z", "resid_final", "encoder:pattern.0", "cross_pattern.0"]
    alone = model.run(inputs, reads=kinds)
    ids, shown = _padded(inputs["input_ids"], 3)
    run = model.run({**inputs, "input_ids": ids, "attention_mask": shown}, reads=kinds)
    close(run.logits, alone.logits, 1e-5)
    for layer in range(2):
        close(run[f"encoder:resid_post.{layer}"][:, :6], alone[f"encoder:resid_post.{layer}"])
        close(run[f"cross_z.{layer}"], alone[f"cross_z.{layer}"])
    assert not bool(run["encoder:pattern.0"][..., 6:].any()) and not bool(run["cross_pattern.0"][..., 6:].any())
    seen = model.run({**inputs, "input_ids": ids}).logits
    assert float((seen - alone.logits).abs().max()) > 1e-2, "what is not hidden is seen"


@torch.no_grad()
def test_t5_is_padded_on_either_side_of_either_stack() -> None:
    """Its positions are relative."""
    model, inputs = known(T5), given(T5)
    alone = model.run(inputs).logits
    for left in (False, True):
        ids, shown = _padded(inputs["input_ids"], 2, left)
        close(model.run({**inputs, "input_ids": ids, "attention_mask": shown}).logits, alone)
        below, own = _padded(inputs["decoder_input_ids"], 2, left)
        both = {"input_ids": ids, "attention_mask": shown, "decoder_input_ids": below, "decoder_attention_mask": own}
        logits = model.run(both).logits
        close(logits[:, 2:] if left else logits[:, :5], alone)


@torch.no_grad()
def test_padding_behind_the_decoder_changes_nothing() -> None:
    model, inputs = known(BART), given(BART)
    ids, shown = _padded(inputs["decoder_input_ids"], 2)
    run = model.run({**inputs, "decoder_input_ids": ids, "decoder_attention_mask": shown})
    close(run.logits[:, :5], model.run(inputs).logits)


@torch.no_grad()
def test_a_batch_is_its_examples() -> None:
    for name in (T5, BART):
        model, inputs = known(name), given(name, batch=3)
        whole = model.run(inputs, reads=["encoder:z.1", "cross_out.0"])
        for i in range(3):
            one = model.run({key: x[i : i + 1] for key, x in inputs.items()}, reads=["encoder:z.1", "cross_out.0"])
            close(one.logits[0], whole.logits[i])
            for site in ("encoder:z.1", "cross_out.0"):
                close(one[site][0], whole[site][i])
