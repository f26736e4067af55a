"""What the streams of a run make: counted by hand for a decoder of few tokens beside an encoder of many, and in the memory that is planned."""

from __future__ import annotations

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

import interp
from interp.attribution.request import prepare
from interp.attribution.scoring.run_streams import streams_of
from interp.model.model import HookedModel
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

FRAMES, TOKENS, WIDE, INNER, HEADS = 200, 3, 16, 24, 2


def speech(above: int, below: int) -> tuple[HookedModel, Task]:
    """A tiny Whisper with so many layers of encoder and decoder, and a pair of sounds of `FRAMES` positions."""
    config = WhisperConfig(
        vocab_size=40, d_model=WIDE, encoder_layers=above, decoder_layers=below, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=INNER, decoder_ffn_dim=INNER, num_mel_bins=8, max_source_positions=FRAMES,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = interp.load(WhisperForConditionalGeneration(config).eval())
    clean, corrupt = (
        {"input_features": torch.randn(1, 8, 2 * FRAMES), "decoder_input_ids": torch.tensor([[3, 4, 5]])} for _ in "ab"
    )
    return model, Task("sounds", (interp.InputPair(clean, corrupt, answers=[6], wrong=[7]),))


def test_each_stack_has_its_own_positions() -> None:
    model, task = speech(2, 3)
    above, below = streams_of(model.layout, prepare(model, task, methods=["relp"], level="heads").pairs)
    assert (above.length, above.source, below.length, below.source) == (FRAMES, 0, TOKENS, FRAMES)
    assert above.layers == 2 * FRAMES * (8 * WIDE + 4 * INNER) and above.patterns == 2 * HEADS * FRAMES**2
    # Keys and values of every frame, and patterns over them, besides what its own tokens make.
    assert below.layers == 3 * (TOKENS * (8 * WIDE + 4 * INNER) + 2 * FRAMES * WIDE)
    assert below.patterns == 3 * HEADS * TOKENS * (TOKENS + FRAMES)


def test_a_stack_alone_is_as_long_as_its_prompts() -> None:
    model, task = hooked("gpt2"), toy_task(4)
    pairs = prepare(model, task, methods=["atp"], level="heads").pairs
    (alone,) = streams_of(model.layout, pairs)
    assert (alone.length, alone.source) == (max(len(pair.clean) for pair in pairs), 0)


def test_layers_of_a_decoder_are_planned_by_its_own_tokens() -> None:
    """Ten more layers where there are few tokens need less than one more where there are many."""

    def planned(above: int, below: int) -> int:
        model, task = speech(above, below)
        return prepare(model, task, methods=["relp-ah"], level="heads").memory.per_prompt

    small = planned(2, 2)
    assert 0 < planned(2, 12) - small < planned(3, 2) - small
