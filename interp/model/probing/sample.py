"""What a probe runs a model on: a few tokens, spread over its vocabulary."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import InterpError, LayoutError
from interp.model.modules.calling import on_ids
from interp.model.modules.linear import embedding_device, vocabulary_size
from interp.model.modules.lock import no_inference_tensors

PROBE_LENGTH: Final = 4


def setting(model: Any, name: str, default: Any = None) -> Any:
    """A value of the configuration, or of the part of it that is about text; `default` where neither has it (or None)."""
    own = getattr(model.config, name, None)
    if own is None and getattr(model.config, "text_config", None) is not None:
        own = getattr(model.config.text_config, name, None)
    return default if own is None else own


def probe_length(model: Any) -> int:
    """How many tokens a probe runs: a few, within the model's context."""
    limit = setting(model, "max_position_embeddings")
    return min(PROBE_LENGTH, limit) if isinstance(limit, int) and limit > 0 else PROBE_LENGTH


def probe_tokens(model: Any) -> Tensor:
    """Ids spread over the vocabulary, distinct where it is large enough: a batch of one."""
    most = vocabulary_size(model) - 1
    ids = torch.linspace(min(1, most), max(0, most - 1), probe_length(model), dtype=torch.float32).long()
    return ids[None].to(embedding_device(model))


def run_probe(model: nn.Module) -> Tensor:
    """The logits [1 pos d_vocab] of the probe's tokens. Raises: LayoutError where the model gives none, whatever its reason."""
    ids, name = probe_tokens(model), type(model).__name__
    try:
        with no_inference_tensors():
            result = model(**on_ids(model, ids))
            logits = getattr(result, "logits", None)
    except (InterpError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise LayoutError(
            f"{name}: a forward pass on {ids.shape[1]} token ids fails ({type(error).__name__}: {reason:.300}); expected a "
            "decoder that needs nothing but token ids, with a configuration that fits its weights."
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != ids.shape:
        found = (
            f"logits {tuple(logits.shape)}"
            if isinstance(logits, Tensor)
            else f"a {type(result).__name__} without logits"
        )
        raise LayoutError(
            f"{name}: its forward gives {found} for token ids {tuple(ids.shape)}; expected .logits [batch pos d_vocab]."
        )
    return logits
