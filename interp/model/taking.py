"""What a run is given, checked, and as which arguments the model's forward takes it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import InterpError, TaskError
from interp.model.input_files import input_of
from interp.model.modules.calling import main_input, on_ids, on_inputs, takes
from interp.model.modules.linear import vocabulary_size
from interp.model.modules.lock import reserved, running
from interp.model.modules.tensors import activation_in
from interp.parts.named_inputs import TEXT, Accepted, Example, Inputs, as_inputs, form_of, position_names
from interp.parts.ports import Port, to_site
from interp.parts.tokens import Tokens

TokensLike = str | Sequence[str] | Sequence[int] | Tensor | Tokens
#: Text, or what a model takes that reads none: a mapping of names to tensors, as a processor returns it, or its main input alone.
InputsLike = TokensLike | Inputs | Mapping[str, Any]

#: What tokenisers return besides ids and mask that says nothing to a model.
_SAID: Final = ("special_tokens_mask", "offset_mapping", "length", "overflow_to_sample_mapping", "overflowing_tokens", "num_truncated_tokens",
    "labels")  # fmt: skip


def accepted(model: Any) -> Accepted:
    """What the forward of a model that reads no text accepts."""
    main = main_input(model.hf)
    factor = getattr(getattr(model.processor, "image_processor", model.processor), "rescale_factor", None)
    names = frozenset(inspect.signature(model.hf.forward).parameters)
    known = {"factor": float(factor)} if isinstance(factor, (int, float)) else {}
    return Accepted(type(model.hf).__name__, main, form_of(model.config, main), names, ids=model.ids, **known)


def taken(model: Any, given: InputsLike) -> Tokens | Inputs:
    """What a run is given, where its model is. Raises: TaskError for text to a model that takes none, and the other way round."""
    if model.takes_text:
        _check_text(model, given)
        return model.tokenize(given).to(model.device)  # type: ignore[no-any-return]
    return as_inputs(given, accepted(model)).to(model.device, model.dtype)


def probe_of(model: Any, given: Any) -> dict[str, Tensor]:
    """The main input of one example that a user gives to find a layout on. Raises: TaskError."""
    if model.takes_text:
        raise TaskError(
            f"inputs: {type(model.hf).__name__} takes text, and is tried on tokens of its own. Leave them out."
        )
    found = as_inputs(given, accepted(model)).to(model.device, model.dtype)
    return {name: x[:1] if x.ndim else x for name, x in found.tensors.items()}


def example_of(model: Any, given: Any) -> Example:
    """One checked example of inputs that are no text, for a task: of a file, or each tensor with a batch axis of one, or, of a main input alone,
    without. Raises: TaskError for several, and where each position has an output of its own, so that none is the answer."""
    name = type(model.hf).__name__
    if model.layout.readout == "each":
        raise TaskError(
            f"{name}: its output ({model.layout.output.name}) is one for each position; a task needs one for the whole input. Load it with "
            "output= that makes one of them (interp.Output)."
        )
    given = input_of(model, given) if isinstance(given, Path) else given
    if isinstance(given, Tensor) and given.ndim == model.example_axes:
        given = given[None]
    found = taken(model, given)
    if isinstance(found, Tokens) or len(found) != 1:
        raise TaskError(f"{len(found.ids if isinstance(found, Tokens) else found)} examples given; expected one.")
    length = model.n_positions(found)
    inside = {key: x[0] if x.ndim else x for key, x in found.to("cpu").tensors.items()}
    return Example(inside, found.main, length)


def _check_text(model: Any, given: Any) -> None:
    """Raises: TaskError for inputs by name that a run on token ids would leave out."""
    named = given.tensors if isinstance(given, Inputs) else given if isinstance(given, Mapping) else {}
    left = [name for name in named if name not in (TEXT, "attention_mask", *_SAID)]
    left = [name for name in left if name != "token_type_ids" or bool(torch.as_tensor(named[name]).any())]
    if isinstance(given, Inputs) or left:
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
    if given.padded:
        _check_padding(model, given)
        inputs["attention_mask"] = given.mask.long()
        if causal and "position_ids" in inspect.signature(hf.forward).parameters:
            inputs["position_ids"] = given.position_ids()
    if logits_to_keep and causal and takes(hf, "logits_to_keep"):
        inputs["logits_to_keep"] = logits_to_keep
    return inputs


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
    """Raises: TaskError where a model cannot run padded prompts, or not those padded on this side."""
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


def _check_ids(hf: Any, ids: Tensor) -> None:
    limit = vocabulary_size(hf)
    if int(ids.min()) < 0 or int(ids.max()) >= limit:
        raise InterpError(
            f"token ids from {int(ids.min())} to {int(ids.max())} given; this model has ids 0 to {limit - 1}."
        )


# ---------------------------------------------------------------- positions of what is no text


def names_of(model: Any, given: Inputs) -> tuple[str, ...]:
    """What the positions of inputs are called: patches by row and column behind what is no patch, frames of sound by time.

    Where patches are is tried: three corners of one input are changed one at a time, and the positions that change are theirs. Of
    patches that are not found so, and of anything else, positions are numbered.
    """
    form, n = form_of(model.config, given.main), model.n_positions(given)
    if form is None or form.patch is None or form.step is None:
        letter = "t" if given.main != "pixel_values" else "p"
        return tuple(f"{letter}{i}" for i in range(n))
    grid = form.grid(given.shape)
    names = None if grid is None else _patch_names(model, given, form, grid, n)
    return names or tuple(f"p{i}" for i in range(n))


def _patch_names(model: Any, given: Inputs, form: Any, grid: tuple[int, int], n: int) -> tuple[str, ...] | None:
    """The names of a grid of patches in `n` positions; None where the patches are not where the names would say."""
    rows, columns = grid
    before = n - rows * columns
    if before < 0:
        return None
    names = position_names(grid, before, form, model.config)
    (height, width), (down, right) = form.patch, form.step
    own = {name: x for name, x in given.tensors.items() if not x.ndim}
    first = given.tensors[given.main][:1]
    for row, column in dict.fromkeys(((0, 0), (0, columns - 1), (rows - 1, columns - 1))):
        changed = first.clone()
        # A corner that is in no other patch, where patches overlap.
        changed[..., row * down + height - 1 if row else 0, column * right + width - 1 if column else 0] += 1
        base, other = embedded(model, Inputs({given.main: torch.cat([first, changed]), **own}, given.main))
        where = (base != other).any(-1).nonzero().flatten().tolist()
        if [names[i] for i in where] != [form.patch_name(row, column)]:
            return None
    return names


class _Reached(Exception):
    """Ends a forward pass where the first block's input is known."""


def embedded(model: Any, given: Inputs) -> Tensor:
    """What enters the first block [batch pos d_model]; the forward ends there."""
    seen: list[Tensor] = []

    def stop(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(activation_in(args, kwargs))
        raise _Reached

    with reserved(model.hf), torch.no_grad(), ExitStack() as stack:
        first = model.hf.get_submodule(model.layout.blocks[0].path)
        stack.callback(first.register_forward_pre_hook(stop, with_kwargs=True).remove)
        with running(model.hf), suppress(_Reached):
            model.hf(**arguments(model, given, 0))
    return to_site(seen[0], Port("input"), len(given), 1)
