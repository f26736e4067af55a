"""What a probe runs a model on: a few tokens, spread over its vocabulary."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import InterpError, LayoutError
from interp.model.modules.calling import on_ids
from interp.model.modules.linear import embedding_device, vocabulary_size
from interp.model.modules.lock import no_inference_tensors
from interp.parts.outputs import Output, default_output

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


def run_probe(
    model: nn.Module, output: Output | None = None, watching: AbstractContextManager[Any] | None = None
) -> tuple[Tensor, Output]:
    """What comes out for the probe's tokens [1 pos output], and what of the result that is, by default its logits. watching: in force
    while the model runs, not while what is read is taken of its result.

    Raises: LayoutError where the model gives none, whatever its reason.
    """
    ids, name = probe_tokens(model), type(model).__name__
    inputs = on_ids(model, ids)
    try:
        with no_inference_tensors():
            with watching or nullcontext():
                result = model(**inputs)
            output = output or default_output(result, name)
            found = output(result, inputs)
    except (InterpError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise LayoutError(
            f"{name}: a forward pass on {ids.shape[1]} token ids fails ({type(error).__name__}: {reason:.300}); expected a "
            "model that needs nothing but token ids, with a configuration that fits its weights."
        ) from error
    if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[0] != 1:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise LayoutError(
            f"{name}: {output.name} {given} for token ids {tuple(ids.shape)}; expected [batch pos output] or [batch output]."
        )
    return found, output
