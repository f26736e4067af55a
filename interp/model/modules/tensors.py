"""Tensors inside the arguments and results of modules: find the one that carries activations, put another in its place or
behind it another backward pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from interp.rules.surrogate import VJP, surrogate


def activation_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The activation that a module is called with: its first floating-point tensor, positional or `hidden_states`.

    Raises: TypeError where there is none.
    """
    for value in (*args, kwargs.get("hidden_states"), *kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
    raise TypeError("module called without a floating-point tensor")


def with_activation(
    args: tuple[Any, ...], kwargs: dict[str, Any], new: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with the activation replaced by `new`."""
    old = activation_in(args, kwargs)
    return tuple(new if a is old else a for a in args), {k: new if v is old else v for k, v in kwargs.items()}


def argument_of(args: tuple[Any, ...], kwargs: dict[str, Any], at: int | str | None) -> Tensor:
    """The argument at a place or of a name that a module is called with; None: its activation. Raises: TypeError where it is no tensor."""
    if at is None:
        return activation_in(args, kwargs)
    found = kwargs.get(at) if isinstance(at, str) else args[at] if at < len(args) else None
    if not isinstance(found, Tensor):
        raise TypeError(f"module called without a tensor as argument {at!r}")
    return found


def with_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], at: int | str | None, new: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with that argument replaced by `new`."""
    if at is None:
        return with_activation(args, kwargs, new)
    return tuple(new if i == at else a for i, a in enumerate(args)), {
        k: new if k == at else v for k, v in kwargs.items()
    }


def activation_out(output: Any) -> Tensor:
    """The activation that a module returns: the tensor, or the first element of a tuple or list."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise TypeError(f"module returned {type(output).__name__}, expected a tensor or a tuple that begins with one")


def with_output(output: Any, new: Tensor) -> Any:
    """The same result with the activation replaced by `new`, of its own type where its parts have names."""
    if isinstance(output, Tensor):
        return new
    if hasattr(output, "_replace"):
        return output._replace(**{output._fields[0]: new})
    return [new, *output[1:]] if isinstance(output, list) else (new, *output[1:])


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the rounding of their dtype, relative to the largest entry of `b`; false for other sizes."""
    if a.numel() != b.numel() or not a.numel():
        return a.numel() == b.numel()
    tolerance = {torch.float64: 1e-5, torch.float32: 1e-4}.get(a.dtype, 5e-2)
    a, b = a.detach().reshape(-1).double(), b.detach().to(a.device).reshape(-1).double()
    return bool((a - b).abs().max() <= tolerance * b.abs().max().clamp_min(1e-12))


def replace_backward(stack: ExitStack, module: nn.Module, rule: Callable[[Tensor], VJP]) -> None:
    """Give `module` the backward pass `rule(x)`: it runs on a detached input, so its own graph is never built."""
    inputs: list[Tensor] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        inputs.append(activation_in(args, kwargs))
        return with_activation(args, kwargs, inputs[-1].detach())

    def after(_: nn.Module, args: Any, output: Any) -> Any:
        x = inputs.pop()
        return surrogate(x, output, rule(x)) if x.requires_grad else output

    stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(after).remove)
