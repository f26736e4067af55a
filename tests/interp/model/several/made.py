"""Tiny random models with several stacks, eager attention, and what they read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch
import transformers as hf
from torch import Tensor

from interp.model.model import HookedModel
from tests.interp.model.discovery.others import _BERT, _SEQ2SEQ, _VISION, MADE
from tests.interp.model.tiny import VOCAB, randomise


def _image_to_text() -> Any:
    below = hf.GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, add_cross_attention=True, is_decoder=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        hf.ViTConfig(**_VISION), below, decoder_start_token_id=1, pad_token_id=0
    )
    return hf.VisionEncoderDecoderModel(config)


def _siglip() -> Any:
    text = {**_BERT, "max_position_embeddings": 16, "projection_size": 48, "bos_token_id": 1, "eos_token_id": 2}
    return hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config={**_VISION, "hidden_size": 48}))


_MORE: Final[dict[str, Callable[[], Any]]] = {
    "mBART": lambda: hf.MBartForConditionalGeneration(hf.MBartConfig(**_SEQ2SEQ)),
    "Pegasus": lambda: hf.PegasusForConditionalGeneration(hf.PegasusConfig(**_SEQ2SEQ)),
    "M2M100": lambda: hf.M2M100ForConditionalGeneration(hf.M2M100Config(**_SEQ2SEQ)),
    "Blenderbot": lambda: hf.BlenderbotForConditionalGeneration(hf.BlenderbotConfig(**_SEQ2SEQ)),
    "ViT-GPT2": _image_to_text,
    "SigLIP": _siglip,
}
T5, T5_GATED, BART, MARIAN, WHISPER, CLIP = (
    "T5ForConditionalGeneration", "T5-gated", "BartForConditionalGeneration", "MarianMTModel",
    "WhisperForConditionalGeneration", "CLIPModel",
)  # fmt: skip
TOWERS: Final = (CLIP, "SigLIP")
PAIRS: Final = (
    T5,
    T5_GATED,
    BART,
    MARIAN,
    WHISPER,
    *(name for name in _MORE if name not in TOWERS),
)
NAMES: Final = (*PAIRS, *TOWERS)
#: The norms of these act on the sums.
AROUND: Final = (BART, MARIAN)
#: Their stacks, in the order in which they run.
STACKS: Final = dict.fromkeys(PAIRS, ("encoder:", "")) | dict.fromkeys(TOWERS, ("vision:", "text:"))


def made(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A random model, every weight of some size; of towers logits that are not larger than the sum of their parts."""
    torch.manual_seed(0)
    model = (MADE | _MORE)[name]().eval()
    randomise(model)
    model.set_attn_implementation("eager")
    if name in TOWERS:
        with torch.no_grad():
            model.logit_scale.fill_(1.0)
    return model.to(dtype)


@cache
def known(name: str) -> HookedModel:
    """One for all tests that leave it as it is."""
    return HookedModel(made(name), name=name)


def ids(batch: int, n: int, seed: int) -> Tensor:
    """Ids that are no special tokens."""
    return torch.randint(4, VOCAB - 1, (batch, n), generator=torch.Generator().manual_seed(seed))


def given(name: str, batch: int = 2, seed: int = 1, n: int = 6, below: int = 5) -> dict[str, Tensor]:
    """Random inputs; of towers one example, which is one pair, and the text ends with the highest id, which CLIP reads."""
    generator = torch.Generator().manual_seed(seed)
    if name == WHISPER:
        source = {"input_features": torch.randn(batch, 8, 32, generator=generator)}
    elif name == "ViT-GPT2":
        source = {"pixel_values": torch.randn(batch, 3, 16, 16, generator=generator)}
    elif name in TOWERS:
        text = ids(1, n, seed)
        text[:, -1] = VOCAB - 1
        return {"pixel_values": torch.randn(1, 3, 16, 16, generator=generator), "input_ids": text}
    else:
        source = {"input_ids": ids(batch, n, seed)}
    return {**source, "decoder_input_ids": ids(batch, below, seed + 100)}


def output(model: Any, inputs: dict[str, Tensor], **more: Any) -> Tensor:
    """What a model returns, called by hand: logits [batch pos d], or how alike image and text are [1 1 1]."""
    with torch.no_grad():
        if hasattr(model, "logit_scale"):
            return model(**inputs, **more).logits_per_image[:, None]  # type: ignore[no-any-return]
        return model(**inputs, use_cache=False, **more).logits  # type: ignore[no-any-return]
