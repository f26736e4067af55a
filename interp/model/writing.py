"""What a decoder behind an encoder writes, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.model.edits import Edit
from interp.parts.named_inputs import DECODER, Inputs
from interp.precision import wide


def end_ids(model: Any) -> frozenset[int]:
    """The tokens that end a text, from the generation config, the model's config or the tokeniser."""
    for owner in (getattr(model.hf, "generation_config", None), model.hf.config, model.tokenizer):
        found = getattr(owner, "eos_token_id", None)
        if found is not None:
            return frozenset(found if isinstance(found, (list, tuple)) else [found])
    return frozenset()


def written(
    model: Any,
    given: Inputs,
    max_new_tokens: int,
    choose: Callable[[Tensor], Tensor],
    *,
    edits: Sequence[Edit] = (),
    encoded: Tensor | None = None,
) -> list[list[int]]:
    """What the decoder writes behind what it has been given, for each example, up to its end, which is no part of it.

    choose: logits [batch d_vocab], on the CPU in float32 or better, -> tokens [batch]. encoded: what it attends to [batch source_pos d_model], in
    the place of what the encoder makes. Cost: one run over all that was written for each new token.
    """
    ids, ends = given.tensors[DECODER], end_ids(model)
    start, open_ = ids.shape[1], torch.ones(len(ids), dtype=torch.bool)
    lengths = torch.zeros(len(ids), dtype=torch.long)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            so_far = Inputs({**given.tensors, DECODER: ids}, given.main)
            logits = model.run(so_far, edits=edits, encoded=encoded, logits_to_keep=1).logits[:, -1]
        new = choose(wide(logits.cpu()))
        open_ &= torch.tensor([int(token) not in ends for token in new])
        if not bool(open_.any()):
            break
        lengths += open_
        ids = torch.cat([ids, new[:, None].to(ids)], dim=1)
    return [row[start : start + n].tolist() for row, n in zip(ids, lengths.tolist(), strict=True)]
