"""Tiny models of the stacks that no library has, and inputs of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from interp.model.model import HookedModel
from tests.interp.model.several.own_stacks import Both, Config
from tests.interp.model.tiny import randomise


def made_of(kind: type) -> Any:
    torch.manual_seed(0)
    sizes = (
        {}
        if issubclass(kind, Both)
        else {"is_encoder_decoder": False, "image_size": 16, "patch_size": 4, "num_channels": 3, "vocab_size": 64}
    )
    model = kind(Config(attn_implementation="eager", **sizes))
    randomise(model)
    return model.eval()


@cache
def hooked_of(kind: type) -> HookedModel:
    return HookedModel(made_of(kind))


def given_of(kind: type, seed: int = 1, n: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 60, (2, n), generator=generator)
    if issubclass(kind, Both):
        return {"input_ids": ids, "decoder_input_ids": torch.randint(3, 60, (2, 5), generator=generator)}
    return {"input_ids": ids, "pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}


def output_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(**inputs).logits
    return logits if logits.ndim == 3 else logits[:, None]
