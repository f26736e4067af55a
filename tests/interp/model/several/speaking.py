"""An encoder-decoder of text with a tokeniser of a few words."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from interp.model.model import HookedModel
from tests.interp.model.tiny import randomise

WORDS: Final = (
    "<pad>", "</s>", "<unk>", "red", "blue", "cat", "dog", "the", "is", "rot", "blau", "katze", "hund", "der", "ist", "ein",
)  # fmt: skip


def tokenizer() -> Any:
    """Words by themselves; a text ends with </s>."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def t5() -> Any:
    """Its decoder starts with the id of padding."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    randomise(model)
    model.set_attn_implementation("eager")
    return model


@cache
def speaking() -> HookedModel:
    return HookedModel(t5(), tokenizer(), name="words")
