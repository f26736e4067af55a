"""The second of the two forwards that find a layout, every module and operation watched: the evidence for it and for coverage by rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules import attention
from interp.model.modules.lock import frozen
from interp.model.modules.tensors import activation_in, activation_out, close, with_activation
from interp.model.probing.sample import decoder_length, run_probe
from interp.model.probing.watch import Softmaxes, looks_ahead
from interp.parts.outputs import Output
from interp.parts.stack_layout import Pattern
from interp.rules.nonlinear import Nonlinear, Operation


@dataclass
class Call:
    """The first call of a module during the probe.

    `x`, `y` are the live tensors (identity tells what feeds what); `x_value`, `y_value` their values at that moment, `read`, `made`
    their places in torch's graph then, which writing into them later would change.
    `beside`: the other tensors [batch pos ...] that it was called with, by their place or name. `constant`: the result does not depend on the embedding (rotary tables, masks). `written`: it wrote into `x` meanwhile.
    """

    x: Tensor
    y: Tensor
    x_value: Tensor
    y_value: Tensor
    constant: bool
    written: bool
    read: Any
    made: Any
    beside: Mapping[int | str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where an operation was: the innermost module at that moment, and whether the attention function called it."""

    path: str
    function: bool


@dataclass(frozen=True)
class Attended:
    """One attention of the probe: the module that computes it, how many calls had returned before, its query and K/V heads (0 where
    these are not seen), z [batch pos head d_head], or the pattern or z [batch head pos d_head] where attention does not go through the
    attention function, whether a position looks at later ones, what may be done with the pattern: `edit` where z is the pattern times
    the values of the group, `read` where it is something else, nothing where there is none; whether the keys have other positions than the
    queries (`across`), and the places of these keys and of the values in torch's graph, None where there is none; without heads, whether a linear map behind it
    writes (`projected`), and not the module itself."""

    path: str
    after: int
    heads: int
    kv_heads: int
    made: Tensor
    ahead: bool
    pattern: Pattern = ""
    across: bool = False
    keys: Any = None
    values: Any = None
    projected: bool = False

    @property
    def heads_axis(self) -> int:
        """The axis of heads in `made`."""
        return 2 if self.kv_heads else self.made.ndim - 3


@dataclass(frozen=True)
class Probe:
    """What the probe saw: calls by module path in the order in which they returned, how many calls each had, what was made of no
    activation (embeddings of ids and positions), the types that modules gave in place of a tensor, what came out [1 pos output] with its
    graph, the attentions, whether these went through the attention function, and every operation that is not
    linear in the first block's input."""

    calls: dict[str, Call]
    counts: Counter[str]
    embedded: dict[str, Tensor]
    given: dict[str, str]
    output: Tensor
    attended: tuple[Attended, ...]
    routed: bool
    operations: tuple[Operation, ...] = ()


def probe(
    model: nn.Module,
    firsts: Sequence[str],
    routed: bool,
    output: Output,
    inputs: Mapping[str, Tensor] | None = None,
    *,
    behind: str = "",
) -> Probe:
    """Run the probe's tokens through the model, whose first blocks (of each stack one), way of attention and output are known, and record
    every module's first call with a floating-point result. behind: start torch's graph at what this module returns, and not at the first
    blocks' inputs.

    Raises: LayoutError for a model that cannot run on token ids alone, and where one chain of blocks continues another.
    """
    calls: dict[str, Call] = {}
    counts: Counter[str] = Counter()
    embedded: dict[str, Tensor] = {}
    given: dict[str, str] = {}
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
        ahead = _masked_ahead(native) if pattern is None else looks_ahead(pattern)
        across, seen = q.shape[2] != k.shape[2], _pattern(z, pattern, v)
        attended.append(Attended(path, after, q.shape[1], k.shape[1], z, ahead, seen, across, k.grad_fn, v.grad_fn))
        return z, pattern

    def softmax(made: Tensor, heads: int, ahead: bool, keys: Any, across: bool) -> None:
        attended.append(Attended(inside[-1].path, len(calls), heads, 0, made, ahead, across=across, keys=keys))

    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        if routed:
            stack.enter_context(attention.selected(model, around))
        if behind:
            stack.callback(model.get_submodule(behind).register_forward_hook(_leaf_behind).remove)
        for first in () if behind else firsts:
            begin = model.get_submodule(first).register_forward_pre_hook(_leaf(first), with_kwargs=True)
            stack.callback(begin.remove)
        for path, module in model.named_modules():
            before = _entering(path, inside, versions)
            after = _recorder(path, Seen(calls, counts, embedded, given), inside, versions)
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        watch = Nonlinear(lambda: inside[-1])
        stack.enter_context(nullcontext() if routed else Softmaxes(softmax, decoder_length(model)))
        stack.enter_context(torch.enable_grad())
        found, _ = run_probe(model, output, watch, inputs)
    return Probe(calls, counts, embedded, given, found, tuple(attended), routed, tuple(watch.found))


def _masked_ahead(native: attention.Native) -> bool:
    """Whether a position may look at later ones, by the mask."""
    mask = getattr(native, "mask", None)
    if not isinstance(mask, Tensor):
        return True
    shown = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return bool(shown.triu(1).any())


def _pattern(z: Tensor, pattern: Tensor | None, v: Tensor) -> Pattern:
    """What may be done with a pattern [batch head q_pos k_pos] that came with z [batch q_pos head d_head] of the values v."""
    if pattern is None:
        return ""
    group = pattern.shape[1] // v.shape[1]
    try:
        product = torch.matmul(pattern.detach().to(v.dtype), v.detach().repeat_interleave(group, dim=1)).transpose(1, 2)
    except RuntimeError:
        return "read"
    return "edit" if close(product, z) else "read"


def _leaf(path: str) -> Callable[..., Any]:
    """Start the graph at the first block's input, which the block may write into. Raises: LayoutError where it is given otherwise."""

    def begin(module: nn.Module, args: Any, kwargs: Any) -> Any:
        try:
            x = activation_in(args, kwargs)
        except TypeError as error:
            kinds = ", ".join(type(value).__name__ for value in (*args, *kwargs.values())) or "nothing"
            raise LayoutError(
                f"{path}: it is called with {kinds}; expected the residual stream as a tensor of its own."
            ) from error
        if x.requires_grad:
            raise LayoutError(
                f"{path}: what this chain of blocks reads is made of what another one gives; expected one chain of blocks, or an encoder and a "
                "decoder, or two towers."
            )
        return with_activation(args, kwargs, x.detach().requires_grad_().clone())

    return begin


def _leaf_behind(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Start the graph at what a module returns."""
    return output.detach().requires_grad_().clone()


def _entering(path: str, inside: list[Place], versions: dict[str, int]) -> Callable[..., None]:
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        inside.append(Place(path, False))
        with suppress(TypeError):
            versions[path] = activation_in(args, kwargs)._version

    return enter


@dataclass(frozen=True)
class Seen:
    """What is recorded of modules, as in `Probe`."""

    calls: dict[str, Call]
    counts: Counter[str]
    embedded: dict[str, Tensor]
    given: dict[str, str]


def _recorder(path: str, seen: Seen, inside: list[Place], versions: dict[str, int]) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        while len(inside) > 1 and inside.pop().path != path:
            pass  # modules that raised what their caller caught
        seen.counts[path] += 1
        try:
            y = activation_out(output)
        except TypeError:
            seen.given[path] = type(output).__name__
            return
        try:
            x = activation_in(args, kwargs)
        except TypeError:
            if isinstance(output, Tensor) and output.is_floating_point():
                seen.embedded.setdefault(path, output.detach().clone())
            return
        if path not in seen.calls:
            written = x._version != versions[path]
            values = x.detach().clone(), y.detach().clone()
            beside = _beside(x, args, kwargs)
            seen.calls[path] = Call(x, y, *values, not y.requires_grad, written, x.grad_fn, y.grad_fn, beside)

    return record


def _beside(x: Tensor, args: Any, kwargs: Any) -> dict[int | str, Tensor]:
    """The other floating-point tensors of a call with a vector for each position of its activation, by their place or name."""
    given = {**dict(enumerate(args)), **kwargs}
    return {
        at: value
        for at, value in given.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value is not x
        and value.shape[:-1] == x.shape[:-1]
    }
