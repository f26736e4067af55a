"""Inputs of models that read several things: what the encoder of an encoder-decoder reads and what its decoder has been given, or
what two towers compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.model.inputs.input_files import input_of
from interp.model.modules.calling import main_input, needed_inputs
from interp.parts.named_inputs import DECODER, TEXT
from interp.parts.texts import encode_document, encode_target, pad_id
from interp.parts.tokens import pad


def named_sources(
    model: Any, source: Any, decoder: str | None = None, text: str | Sequence[str] | None = None
) -> dict[str, Any]:
    """What a model reads, by the names of its inputs, batch first.

    source: what it reads first: text, several texts, a file, a tensor, or a mapping of names to tensors. decoder: what the decoder has been
    given behind its start. text: of two towers what is compared with the source.

    Raises: TaskError for what this model does not read.
    """
    needed = needed_inputs(model.hf)
    if decoder is not None and DECODER not in needed:
        raise TaskError(f"decoder={decoder!r:.60}: {type(model.hf).__name__} has no decoder behind an encoder.")
    if text is not None and (TEXT not in needed or len(needed) < 2 or DECODER in needed):
        raise TaskError(f"text={text!r:.60}: {type(model.hf).__name__} compares nothing with a text.")
    first = next((name for name in needed if name not in (DECODER, *((TEXT,) if text is not None else ()))), TEXT)
    found = _first(model, source, first)
    if text is not None:
        found |= _texts(model, [text] if isinstance(text, str) else list(text))
    if DECODER in needed and DECODER not in found:
        ids = decoder_ids(model, decoder or "")
        batch = len(next(iter(found.values())))
        found[DECODER] = torch.tensor([ids] * batch)
    return found


def _first(model: Any, source: Any, name: str) -> dict[str, Any]:
    """What is read first, by name."""
    source = input_of(model, source) if isinstance(source, Path) else source
    if isinstance(source, Mapping):
        return dict(source)
    texts = [source] if isinstance(source, str) else list(source) if isinstance(source, (list, tuple)) else []
    if texts and all(isinstance(text, str) for text in texts):
        if name != TEXT:
            raise TaskError(f"given text ({texts[0]!r:.60}); {type(model.hf).__name__} reads {name} first.")
        return _texts(model, texts)
    return {name: source if isinstance(source, Tensor) else torch.as_tensor(source)}


def _texts(model: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Ids of texts, as the tokeniser ends them, padded on the right, with a mask where there is padding."""
    rows = [encode_document(model.tokenizer, text) for text in texts]
    tokens = pad(rows, pad_id(model.tokenizer), "right")
    return {TEXT: tokens.ids} | ({"attention_mask": tokens.mask.long()} if tokens.padded else {})


def decoder_ids(model: Any, text: str) -> list[int]:
    """The ids that a decoder is given: its start, and a text behind that. Raises: TaskError where no start is known."""
    written = encode_target(model.tokenizer, text) if text else []
    start = decoder_start(model)
    return written if start and written[: len(start)] == start else [*start, *written]


def decoder_start(model: Any) -> list[int]:
    """The ids that stand before everything that a decoder writes: the tokeniser's own where it has some (the language and the task of
    Whisper), else the configured one. Raises: TaskError where there is none."""
    owners = (getattr(model.hf, "generation_config", None), model.hf.config)
    start = next((i for own in owners if (i := getattr(own, "decoder_start_token_id", None)) is not None), None)
    before = getattr(model.tokenizer, "prefix_tokens", None)
    if isinstance(before, list) and before and before[0] == start:
        return [int(i) for i in before]
    if start is None:
        raise TaskError(
            f"{type(model.hf).__name__} names no decoder_start_token_id; give {DECODER} beside {main_input(model.hf)}."
        )
    return [int(start)]
