"""What an encoder makes of its input, kept so that its decoder can run without it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import TaskError
from interp.model.modules.calling import on_inputs
from interp.model.modules.lock import reserved, running
from interp.model.modules.tensors import close
from interp.parts.named_inputs import Inputs

#: What a forward raises that needs its encoder.
_REFUSED: Final = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, NotImplementedError)


class _Encoded(Exception):
    """Ends a forward pass where the encoder has returned."""


def encoded(model: Any, given: Inputs) -> Tensor:
    """What the decoder attends to [batch source_pos d_model]: the last stream of the encoder behind its norm; the forward ends there.

    Raises: TaskError for a model without an encoder behind which a decoder attends, or whose decoder does not run on that alone.
    """
    if not model.layout.crosses:
        raise TaskError(f"{type(model.hf).__name__} has no decoder that attends to an encoder.")
    if not model.encoded_width:
        raise TaskError(
            f"{type(model.hf).__name__} was tried, and does not run on what its encoder gives (encoder_outputs=) as it does with its encoder."
        )
    return _encoded(model, given)


def encoded_width(model: Any) -> int | None:
    """How many numbers an encoder gives for each position; None where a forward on these alone fails, or gives something else than one with
    the encoder: tried on the probe's inputs."""
    given = Inputs(dict(model.probed), "")
    with reserved(model.hf), torch.no_grad():
        try:
            value, inputs = _encoded(model, given), on_inputs(model.hf, given.tensors)
            with running(model.hf):
                both, alone = (
                    model.layout.output(model.hf(**own), own) for own in (inputs, with_encoded(inputs, value))
                )
        except _REFUSED:
            return None
    return value.shape[-1] if value.ndim == 3 and close(both, alone) else None


def _encoded(model: Any, given: Inputs) -> Tensor:
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
