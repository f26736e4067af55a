"""What a run is given, checked, and as which arguments the model's forward takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import InterpError, TaskError
from interp.model.inputs.input_files import input_of
from interp.model.inputs.sources import named_sources
from interp.model.modules.calling import main_input, n_token_types, needed_inputs, on_ids, on_inputs, takes
from interp.model.modules.linear import vocabulary_size
from interp.model.modules.lock import reserved, settled
from interp.model.modules.repeats import alike
from interp.parts.forms import form_of
from interp.parts.named_inputs import DECODER, TEXT, Accepted, Example, Inputs, as_inputs
from interp.parts.tokens import Tokens

TokensLike = str | Sequence[str] | Sequence[int] | Tensor | Tokens
#: Text, or what a model takes that reads none: a mapping of names to tensors, as a processor returns it, or its main input alone.
InputsLike = TokensLike | Inputs | Mapping[str, Any]

#: What tokenisers return besides ids and mask that says nothing to a model.
_SAID: Final = ("special_tokens_mask", "offset_mapping", "length", "overflow_to_sample_mapping", "overflowing_tokens", "num_truncated_tokens",
    "labels")  # fmt: skip


def accepted(model: Any) -> Accepted:
    """What the forward of a model accepts that does not read text alone."""
    hf, ids = model.hf, model.vocabularies
    factor = getattr(getattr(model.processor, "image_processor", model.processor), "rescale_factor", None)
    forms = {name: form_of(model.config, name) for name in needed_inputs(hf) if name not in ids}
    names = frozenset(inspect.signature(hf.forward).parameters)
    known = {"factor": float(factor)} if isinstance(factor, (int, float)) else {}
    return Accepted(type(hf).__name__, main_input(hf), ids, forms, names, **known)


def taken(model: Any, given: InputsLike) -> Tokens | Inputs:
    """What a run is given, where its model is. Raises: TaskError for text to a model that takes none, and the other way round."""
    if model.takes_text:
        _check_text(model, given)
        return model.tokenize(given).to(model.device)  # type: ignore[no-any-return]
    if isinstance(given, str) and DECODER in needed_inputs(model.hf):
        return sourced(model, given)
    return as_inputs(given, accepted(model)).to(model.device, model.dtype)


def sourced(model: Any, source: Any, decoder: str | None = None, text: str | Sequence[str] | None = None) -> Inputs:
    """Checked inputs of an encoder-decoder, or of two towers, from what each reads (see `interp.model.inputs.sources`)."""
    return as_inputs(named_sources(model, source, decoder, text), accepted(model)).to(model.device, model.dtype)


def probe_of(model: Any, given: Any, ids: Callable[[Any], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inputs of one example that a user gives to find a layout on. ids: makes the token ids of a decoder beside them. Raises: TaskError."""
    if model.takes_text:
        raise TaskError(
            f"inputs: {type(model.hf).__name__} takes text, and is tried on tokens of its own. Leave them out."
        )
    needed = accepted(model)
    if DECODER in needed.needed and TEXT not in needed.needed:
        given = given if isinstance(given, Mapping) else {needed.main: given}
        each = ids(model.hf)[DECODER]
        given = {**given, DECODER: each.expand(len(given.get(needed.main, each)), -1)}
    found = as_inputs(given, needed).to(model.device, model.dtype)
    if len(needed.needed) == 1:
        return {name: x[:1] if x.ndim else x for name, x in found.tensors.items()}
    return {name: found.tensors[name][:1] for name in needed.needed}


def example_of(model: Any, given: Any, decoder: str | None = None) -> Example:
    """One checked example of inputs that are no text alone, for a task: of a file, or each tensor with a batch axis of one, or, of a main input
    alone, without. decoder: what a decoder behind an encoder has been given. Raises: TaskError for several, and where each position has an
    output of its own, so that none is the answer."""
    hf, name = model.hf, type(model.hf).__name__
    decodes = DECODER in needed_inputs(hf)
    if model.layout.readout == "each" and not decodes:
        raise TaskError(
            f"{name}: its output ({model.layout.output.name}) is one for each position; a task needs one for the whole input. Load it with "
            "output= that makes one of them (interp.Output)."
        )
    given = input_of(model, given) if isinstance(given, Path) else given
    if isinstance(given, Tensor) and given.ndim == model.example_axes:
        given = given[None]
    found = sourced(model, given, decoder) if decodes else taken(model, given)
    if isinstance(found, Tokens) or len(found) != 1:
        raise TaskError(f"{len(found.ids if isinstance(found, Tokens) else found)} examples given; expected one.")
    lengths = {stack.name: model.n_positions(found, stack.name) for stack in model.layout.stacks}
    inside = {key: x[0] if x.ndim else x for key, x in found.to("cpu").tensors.items()}
    return Example(inside, found.main, model.n_positions(found), lengths)


def _check_text(model: Any, given: Any) -> None:
    """Raises: TaskError for inputs by name that a run on token ids would leave out."""
    named = given.tensors if isinstance(given, (Inputs, Example)) else given if isinstance(given, Mapping) else {}
    known = (TEXT, "attention_mask", *(["token_type_ids"] * bool(n_token_types(model.hf))), *_SAID)
    left = [name for name in named if name not in known]
    left = [name for name in left if name != "token_type_ids" or bool(torch.as_tensor(named[name]).any())]
    if left or (isinstance(given, (Inputs, Example)) and given.main != TEXT):
        raise TaskError(
            f"given {', '.join(left or named)}; a run of {type(model.hf).__name__} takes text, or {TEXT} and attention_mask. "
            "Leave the rest out, or call the model itself."
        )


def arguments(model: Any, given: Tokens | Inputs, logits_to_keep: int) -> dict[str, Any]:
    """The model's keyword arguments; without padding exactly those of a plain call."""
    if isinstance(given, Inputs):
        model.check_shape(given)
        return on_inputs(model.hf, given.tensors)
    hf, causal = model.hf, model.layout.causal
    _check_ids(hf, given.ids)
    model.check_length(given.ids.shape[1])
    inputs = on_ids(hf, _padded_as_configured(model, given))
    if given.types is not None and bool(given.types.any()):
        _check_types(hf, given.types)
        inputs["token_type_ids"] = given.types
    if given.padded:
        _check_padding(model, given)  # runs the model where it was not tried yet
        inputs["attention_mask"] = given.mask.long()
        if causal and "position_ids" in inspect.signature(hf.forward).parameters:
            inputs["position_ids"] = given.position_ids()
    if logits_to_keep and causal and takes(hf, "logits_to_keep"):
        inputs |= _kept(model, logits_to_keep)
    return inputs


def _kept(model: Any, n: int) -> dict[str, Any]:
    """How a model is told to compute the logits of the last n positions only. Classes of transformers whose layers share keys and values then
    drop the other positions in these layers too, if n is a number, and not if the positions are told; of others' nothing is known."""
    if not model.layout.sharing:
        return {"logits_to_keep": n}
    if not type(model.hf).__module__.startswith("transformers."):
        return {}
    return {"logits_to_keep": torch.arange(-n, 0, device=model.device)}


def _padded_as_configured(model: Any, given: Tokens) -> Tensor:
    """The ids; where a model finds the last token by the id of padding in its configuration, with that id in the padding.

    Raises: TaskError where it would find another token.
    """
    if model.layout.readout != "last":
        return given.ids
    pad = getattr(model.hf.config, "pad_token_id", None)
    if pad is None and len(given.ids) > 1:
        raise TaskError(
            f"{len(given.ids)} prompts: {type(model.hf).__name__} finds the last token of each by the padding, and its configuration names none: "
            "set model.hf.config.pad_token_id, or give one prompt at a time."
        )
    ids = given.ids if pad is None else given.ids.masked_fill(~given.mask, pad)
    if pad is not None and bool((ids.gather(1, given.last()[:, None]) == pad).any()):
        raise TaskError(
            f"a prompt ends with token {pad}, which is padding to {type(model.hf).__name__}, so it would read another one."
        )
    return ids


def _check_padding(model: Any, given: Tokens) -> None:
    """Raises: TaskError where a model cannot run padded prompts, or not those padded on this side, which is tried once."""
    if not takes(model.hf, "attention_mask"):
        raise TaskError(
            f"prompts of several lengths, padded: the forward of {type(model.hf).__name__} takes no attention_mask. Give prompts of "
            "one length at a time."
        )
    if not model.layout.causal and not bool(given.mask[:, 0].all()):
        raise TaskError(
            "prompts padded on the left: this model looks at whole texts and counts positions from the first token. Pad on the "
            "right, or give the texts, which are padded so."
        )
    sides = {"left": given.mask[:, 0], "right": given.mask[:, -1]}
    for side in [side for side, there in sides.items() if side not in model.padded_on and not bool(there.all())]:
        model.padded_on.add(side)
        if not _passes_over(model, side):
            model.padded_on.discard(side)
            raise TaskError(
                f"prompts of several lengths, padded on the {side}: {type(model.hf).__name__} gives other numbers beside padding than without (it does "
                "not use its mask, or counts positions from the padding). Give prompts of one length at a time."
            )


def _passes_over(model: Any, side: str) -> bool:
    """Whether what a model gives on a few tokens is the same with padding on this side. Where it cannot be tried, runs say why."""
    ids = model.probed[TEXT]
    pad = torch.full_like(ids[:, :1], getattr(model.config, "pad_token_id", None) or 0)
    beside = torch.cat([pad, ids] if side == "left" else [ids, pad], dim=1)
    mask = torch.ones_like(beside, dtype=torch.bool)
    mask[:, 0 if side == "left" else -1] = False
    try:
        each = [
            arguments(model, given, 0)
            for given in (Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), Tokens(beside, mask))
        ]
        with reserved(model.hf), settled(model.device), torch.no_grad():
            alone, padded = (model.layout.output(model.hf(**inputs), inputs) for inputs in each)
    except TaskError:
        return True
    if padded.shape[1] == beside.shape[1]:
        padded = padded[:, 1:] if side == "left" else padded[:, :-1]
    return alike(padded, alone)


def _check_types(hf: Any, types: Tensor) -> None:
    """Raises: TaskError for types of segments that a model does not tell apart."""
    n = n_token_types(hf)
    if int(types.min()) < 0 or int(types.max()) >= max(1, n):
        raise TaskError(
            f"token_type_ids from {int(types.min())} to {int(types.max())} given; {type(hf).__name__} tells "
            f"{n or 'no'} types of tokens apart. Leave them out."
        )


def _check_ids(hf: Any, ids: Tensor) -> None:
    limit = vocabulary_size(hf)
    if int(ids.min()) < 0 or int(ids.max()) >= limit:
        raise InterpError(
            f"token ids from {int(ids.min())} to {int(ids.max())} given; this model has ids 0 to {limit - 1}."
        )
