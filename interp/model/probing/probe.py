"""The second of the two forwards that find a layout, every module and operation watched: the evidence for it and for coverage by rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interp.model.modules import attention
from interp.model.modules.lock import frozen
from interp.model.modules.tensors import activation_in, activation_out, with_activation
from interp.model.probing.sample import run_probe
from interp.model.probing.watch import Softmaxes
from interp.rules.nonlinear import Nonlinear, Operation


@dataclass
class Call:
    """The first call of a module during the probe.

    `x`, `y` are the live tensors (identity tells what feeds what); `x_value`, `y_value` their values at that moment.
    `constant`: the result does not depend on the embedding (rotary tables, masks). `written`: it wrote into `x` meanwhile.
    """

    x: Tensor
    y: Tensor
    x_value: Tensor
    y_value: Tensor
    constant: bool
    written: bool


@dataclass(frozen=True)
class Place:
    """Where an operation was: the innermost module at that moment, and whether the attention function called it."""

    path: str
    function: bool


@dataclass(frozen=True)
class Attended:
    """One attention of the probe: the module that computes it, how many calls had returned before, its query and K/V heads (0 where
    these are not seen), and z [batch pos head d_head], or the pattern where attention does not go through the attention function."""

    path: str
    after: int
    heads: int
    kv_heads: int
    made: Tensor


@dataclass(frozen=True)
class Probe:
    """What the probe saw: calls by module path in the order in which they returned, what was made of no activation (embeddings of ids
    and positions), the logits, the attentions, whether these went through the attention function, and every operation that is not
    linear in the first block's input."""

    calls: dict[str, Call]
    embedded: dict[str, Tensor]
    logits: Tensor
    attended: tuple[Attended, ...]
    routed: bool
    operations: tuple[Operation, ...] = ()


def probe(model: nn.Module, blocks: Sequence[str], routed: bool) -> Probe:
    """Run the probe's tokens through the model, whose blocks and whose way of attention are known, and record every module's first
    call with a floating-point result.

    Raises: LayoutError for a model that cannot run on token ids alone.
    """
    calls: dict[str, Call] = {}
    embedded: dict[str, Tensor] = {}
    attended: list[Attended] = []
    inside: list[Place] = [Place("", False)]
    versions: dict[str, int] = {}

    def around(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        path, after = inside[-1].path, len(calls)
        inside.append(Place(path, True))
        try:
            z, pattern = native(q, k, v)
        finally:
            inside.pop()
        attended.append(Attended(path, after, q.shape[1], k.shape[1], z))
        return z, pattern

    def softmax(pattern: Tensor, heads: int) -> None:
        attended.append(Attended(inside[-1].path, len(calls), heads, 0, pattern))

    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        if routed:
            stack.enter_context(attention.selected(model, around))
        first = model.get_submodule(blocks[0])
        stack.callback(first.register_forward_pre_hook(_leaf, with_kwargs=True).remove)
        for path, module in model.named_modules():
            before, behind = _entering(path, inside, versions), _recorder(path, calls, embedded, inside, versions)
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(behind, with_kwargs=True).remove)
        watch = stack.enter_context(Nonlinear(lambda: inside[-1]))
        stack.enter_context(nullcontext() if routed else Softmaxes(softmax))
        stack.enter_context(torch.enable_grad())
        logits = run_probe(model)
    return Probe(calls, embedded, logits.detach(), tuple(attended), routed, tuple(watch.found))


def _leaf(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Start the graph at the first block's input, which the block may write into."""
    return with_activation(args, kwargs, activation_in(args, kwargs).detach().requires_grad_().clone())


def _entering(path: str, inside: list[Place], versions: dict[str, int]) -> Callable[..., None]:
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        inside.append(Place(path, False))
        with suppress(TypeError):
            versions[path] = activation_in(args, kwargs)._version

    return enter


def _recorder(
    path: str, calls: dict[str, Call], embedded: dict[str, Tensor], inside: list[Place], versions: dict[str, int]
) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        while len(inside) > 1 and inside.pop().path != path:
            pass  # modules that raised what their caller caught
        try:
            y = activation_out(output)
            x = activation_in(args, kwargs)
        except TypeError:
            if isinstance(output, Tensor) and output.is_floating_point():
                embedded.setdefault(path, output.detach().clone())
            return
        if path not in calls:
            written = x._version != versions[path]
            calls[path] = Call(x, y, x.detach().clone(), y.detach().clone(), not y.requires_grad, written)

    return record
