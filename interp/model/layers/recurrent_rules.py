"""Rules through recurrent layers: the module computes its result, and its steps, unrolled beside it, the backward pass of that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from interp.model.layers.layer_kinds import is_of
from interp.model.layers.recurrent_cells import CELLS, LAYERS, Cell, RecurrentError
from interp.model.layers.unrolling import called_with, in_result, unroll
from interp.model.modules.tensors import close
from interp.rules.recurrences import KeptSteps, Recurrent, Steps
from interp.rules.surrogate import surrogate

#: The arithmetic of one call, of the input and the states that it begins with.
Arithmetic = Callable[[Tensor, tuple[Tensor, ...]], Steps]


def is_recurrent(module: nn.Module) -> bool:
    """Whether a module is a recurrent one of torch, or a cell of these, and computes what it does."""
    return is_of(module, (*LAYERS, *CELLS))


def recurrent(module: nn.Module) -> Recurrent:
    """What a recurrent module is to rules."""
    return Recurrent(type(module).__name__, Cell.of(module).gated)


def attach_steps(stack: ExitStack, module: nn.Module, path: str, arithmetic: Arithmetic) -> None:
    """Give `module` the backward pass of its steps under an arithmetic: it runs on detached inputs, and what it returns stays bit for bit.

    Raises, in a run: RecurrentError for packed sequences, and where it gives something else than its steps do.
    """
    calls: list[tuple[Tensor, tuple[Tensor, ...]]] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        calls.append(called_with(module, args, kwargs))
        return tuple(map(_detached, args)), {name: _detached(value) for name, value in kwargs.items()}

    def after(_: nn.Module, args: Any, result: Any) -> Any:
        x, start = calls.pop()
        if not any(t.requires_grad for t in (x, *start)):
            return result
        steps = unroll(module, x, start, arithmetic(x, start)).tensors
        if not all(close(own, found) for own, found in zip(steps, in_result(result), strict=True)):
            raise RecurrentError(
                f"{path}: this {type(module).__name__} gives something else than its weights, step by step, do."
            )
        return _with_backward(result, list(steps))

    stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(after).remove)


def operands(module: nn.Module, x: Tensor, start: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """What the operations of a recurrent module read on such an input, in the order of its steps."""
    kept: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        unroll(module, x, start, KeptSteps(kept))
    return kept


def _detached(value: Any) -> Any:
    """An argument of a recurrent module without its graph."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_detached, value))
    return value.detach() if isinstance(value, Tensor) else value


def _with_backward(result: Any, steps: list[Tensor]) -> Any:
    """A result as it is, each tensor with the graph of that of the steps."""
    if isinstance(result, Tensor):
        return surrogate(steps.pop(0), result, lambda grad: grad)
    return tuple(_with_backward(part, steps) for part in result)
