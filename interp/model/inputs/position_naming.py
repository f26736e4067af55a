"""What the positions of a stream are called, and how many there are."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from interp.model.modules.calling import needed_inputs, on_inputs, stack_input
from interp.model.modules.lock import reserved, running
from interp.model.modules.tensors import activation_in
from interp.parts.forms import Form, form_of, position_names
from interp.parts.named_inputs import DECODER, TEXT, Inputs
from interp.parts.ports import Port, to_site


def names_of(model: Any, given: Inputs, stack: str = "") -> tuple[str, ...]:
    """What the positions of a stack are called: tokens by their text; patches by row and column behind what is no patch; frames of sound by time.

    Where patches are is tried: three corners of one input are changed one at a time, and the positions that change are theirs. Of
    patches that are not found so, and of anything else, positions are numbered.
    """
    main, n = _input_of(model, given, stack), model.n_positions(given, stack)
    if main in (TEXT, DECODER) and given.tensors[main].shape[1] == n:
        return tuple(model.text_of(i) for i in given.tensors[main][0].tolist())
    form = form_of(model.hf.config, main)
    if form is None or form.patch is None or form.step is None:
        letter = "t" if main != "pixel_values" else "p"
        return tuple(f"{letter}{i}" for i in range(n))
    grid = form.grid(given.tensors[main].shape[1:])
    names = None if grid is None else _patch_names(model, given, form, grid, n, stack)
    return names or tuple(f"p{i}" for i in range(n))


def _input_of(model: Any, given: Inputs, stack: str) -> str:
    """The name of the input that a stack reads; of a tower that is not called after it the one that changes what its first block reads."""
    needed, said = needed_inputs(model.hf), stack_input(model.hf, stack)
    if len(needed) == 1 or DECODER in needed or said == TEXT:
        return said
    base = embedded(model, given, stack)
    for name in needed:
        x = given.tensors[name]
        other = Inputs({**given.tensors, name: x + 1 if x.is_floating_point() else x.flip(-1)}, given.main)
        if not torch.equal(embedded(model, other, stack), base):
            return name
    return said


def _patch_names(
    model: Any, given: Inputs, form: Form, grid: tuple[int, int], n: int, stack: str
) -> tuple[str, ...] | None:
    """The names of a grid of patches in `n` positions; None where the patches are not where the names would say."""
    rows, columns = grid
    before = n - rows * columns
    if before < 0:
        return None
    names, main = position_names(grid, before, form, model.hf.config), stack_input(model.hf, stack)
    (height, width), (down, right) = form.patch or (1, 1), form.step or (1, 1)
    own = {name: x[:1] if x.ndim else x for name, x in given.tensors.items()}
    first = own[main]
    for row, column in dict.fromkeys(((0, 0), (0, columns - 1), (rows - 1, columns - 1))):
        changed = first.clone()
        # A corner that is in no other patch, where patches overlap.
        changed[..., row * down + height - 1 if row else 0, column * right + width - 1 if column else 0] += 1
        both = {name: torch.cat([x, x]) if x.ndim else x for name, x in own.items()} | {
            main: torch.cat([first, changed])
        }
        base, other = embedded(model, Inputs(both, given.main), stack)
        where = (base != other).any(-1).nonzero().flatten().tolist()
        if [names[i] for i in where] != [form.patch_name(row, column)]:
            return None
    return names


class _Reached(Exception):
    """Ends a forward pass where the first block's input is known."""


def embedded(model: Any, given: Inputs, stack: str = "") -> Tensor:
    """What enters the first block of a stack [batch pos d_model]; the forward ends there."""
    seen: list[Tensor] = []

    def stop(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(activation_in(args, kwargs))
        raise _Reached

    with reserved(model.hf), torch.no_grad(), ExitStack() as hooks:
        first = model.hf.get_submodule(model.layout.stack(stack).blocks[0].path)
        hooks.callback(first.register_forward_pre_hook(stop, with_kwargs=True).remove)
        with running(model.hf), suppress(_Reached):
            model.hf(**on_inputs(model.hf, given.tensors))
    return to_site(seen[0], Port("input"), len(given))
