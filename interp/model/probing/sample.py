"""What a probe runs a model on: a few tokens, spread over its vocabulary, or an image or sound of random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import InterpError, LayoutError
from interp.model.modules.calling import needed_inputs, on_inputs, takes
from interp.model.modules.linear import embedding_device, vocabularies
from interp.model.modules.lock import no_inference_tensors
from interp.parts.forms import Form, form_of
from interp.parts.named_inputs import ANY_SIZE, DECODER, TEXT
from interp.parts.outputs import Output, default_output

#: Odd, so that what fills a text up to a multiple of a window shows.
PROBE_LENGTH: Final = 5
#: Frames of sound, and the most patches along a side of an image whose size is free.
_FRAMES: Final = 6
_PATCHES: Final = 16


def setting(model: Any, name: str, default: Any = None) -> Any:
    """A value of the configuration, or of the part of it that is about text; `default` where neither has it (or None), and for nets without one."""
    config = getattr(model, "config", None)
    own = getattr(config, name, None)
    if own is None:
        own = getattr(getattr(config, "text_config", None), name, None)
    return default if own is None else own


def probe_length(model: Any) -> int:
    """How many tokens a probe runs: a few, within the model's context."""
    limit = setting(model, "max_position_embeddings")
    return min(PROBE_LENGTH, limit) if isinstance(limit, int) and limit > 0 else PROBE_LENGTH


def probe_lengths(model: Any) -> dict[str, int]:
    """How many ids a probe gives each input of ids that the model needs: of an encoder one more than of its decoder, so that positions of
    the two are not taken for each other."""
    needed, n = needed_inputs(model), probe_length(model)
    return {name: n + (name == TEXT and DECODER in needed) for name in needed if name in (TEXT, DECODER)}


def decoder_length(model: Any) -> int | None:
    """How many ids a probe gives a decoder beside an encoder; None for a model without one."""
    return probe_lengths(model).get(DECODER)


def _probe_tokens(model: Any, n: int, vocabulary: int) -> Tensor:
    """`n` ids spread over the vocabulary, distinct where it is large enough: a batch of one."""
    most = vocabulary - 1
    ids = torch.linspace(min(1, most), max(0, most - 1), n, dtype=torch.float32).long()
    return ids[None].to(embedding_device(model))


def probe_inputs(model: Any) -> dict[str, Tensor]:
    """What a forward cannot do without, by name, a batch of one: tokens, or N(0, 1) in the form that the configuration tells.

    Raises: LayoutError for a model whose configuration does not tell it.
    """
    ids = probe_ids(model)
    return {name: ids[name] if name in ids else _random(model, name) for name in needed_inputs(model)}


def probe_ids(model: Any) -> dict[str, Tensor]:
    """Of what a forward cannot do without what are token ids, by name, a batch of one."""
    lengths = probe_lengths(model)
    return {name: _probe_tokens(model, lengths[name], n) for name, n in vocabularies(model).items()}


def _random(model: Any, name: str) -> Tensor:
    """N(0, 1) in the form of an input that is no text. Raises: LayoutError where the configuration does not tell it."""
    form = form_of(model.config, name)
    if form is None:
        raise LayoutError(
            f"{type(model).__name__}: its main input is {name}, whose size its configuration does not tell; expected token ids, pixel_values "
            "(image_size), input_values or input_features of a spectrogram or of sound; or give one: inputs=."
        )
    shape = _shape(form, free=not takes(model, ANY_SIZE))
    x = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return x.to(embedding_device(model), model.dtype)


def _shape(form: Form, *, free: bool) -> list[int]:
    """The sizes of a probe's input behind the batch: as configured, and few where any number may be. free: images may be of any size."""
    sizes = [(form.samples(_FRAMES) if n is None else n) for n in form.sizes]
    if free and "column" in form.axes and form.patch is not None:
        sizes[1:] = [min(n, _PATCHES * size) for n, size in zip(sizes[1:], form.patch, strict=True)]
    return sizes


def run_probe(
    model: nn.Module,
    output: Output | None = None,
    watching: AbstractContextManager[Any] | None = None,
    given: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Output]:
    """What comes out for the probe's inputs [1 pos output], and what of the result that is, by default its logits. watching: in force
    while the model runs, not while what is read is taken of its result. given: the inputs, by default those of `probe_inputs`.

    Raises: LayoutError where the model gives none, whatever its reason.
    """
    given, name = given or probe_inputs(model), type(model).__name__
    inputs = on_inputs(model, given)
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
            f"{name}: a forward pass on {_shown(given)} fails ({type(error).__name__}: {reason:.300}); expected a "
            f"model that needs nothing but {_named(given)}, with a configuration that fits its weights."
        ) from error
    read = given.get(DECODER, given.get(TEXT) if len(given) == 1 else None)
    odd = (
        read is not None and isinstance(found, Tensor) and found.ndim == 3 and found.shape[1] not in (1, read.shape[1])
    )
    if odd or not isinstance(found, Tensor) or found.ndim != 3 or found.shape[0] != 1:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        shapes = ", ".join(str(tuple(x.shape)) for x in given.values())
        raise LayoutError(
            f"{name}: {output.name} {shape} for {_named(given)} {shapes}; expected [batch pos output] or [batch output]."
        )
    return found, output


def _named(given: Mapping[str, Tensor]) -> str:
    """What a probe gives a model, in words."""
    return " and ".join("token ids" if name == TEXT else name for name in given)


def _shown(given: Mapping[str, Tensor]) -> str:
    """The same with its size."""
    sizes = (f"{x.shape[1]} token ids" if name == TEXT else f"{name} {list(x.shape)}" for name, x in given.items())
    return " and ".join(sizes)
