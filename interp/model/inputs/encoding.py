"""What an encoder makes of its input, kept so that its decoder can run without it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import TaskError
from interp.model.modules.calling import on_inputs
from interp.model.modules.lock import reserved, running
from interp.parts.named_inputs import Inputs


class _Encoded(Exception):
    """Ends a forward pass where the encoder has returned."""


def encoded(model: Any, given: Inputs) -> Tensor:
    """What the decoder attends to [batch source_pos d_model]: the last stream of the encoder behind its norm; the forward ends there.

    Raises: TaskError for a model without an encoder behind which a decoder attends.
    """
    if not model.layout.crosses:
        raise TaskError(f"{type(model.hf).__name__} has no decoder that attends to an encoder.")
    seen: list[Tensor] = []

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        seen.append(output[0])
        raise _Encoded

    with reserved(model.hf), torch.no_grad(), ExitStack() as hooks:
        hooks.callback(model.hf.get_encoder().register_forward_hook(stop).remove)
        with running(model.hf), suppress(_Encoded):
            model.hf(**on_inputs(model.hf, given.tensors))
    return seen[0]


def with_encoded(inputs: Mapping[str, Any], value: Tensor) -> dict[str, Any]:
    """The arguments of a forward that takes this from its encoder, which is not run."""
    from transformers.modeling_outputs import BaseModelOutput

    return {**inputs, "encoder_outputs": BaseModelOutput(last_hidden_state=value)}
