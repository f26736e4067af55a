"""What the operations of a run read: kept in one run, so that another run can average each operation between both.

Kept, in the order of the calls: the inputs of norms, activations and max poolings and of the unembedding's soft cap, the inputs and first states
of recurrent layers, the two factors of a gated product, q, k and v of each layer. Under `Rules(secants=n)` the backward pass of each then is the mean of its Jacobian
between its inputs in this run and in the other (`interp.rules.secants`); forward values stay bit for bit those of a plain run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import UnsupportedRuleError
from interp.model.coverage.operations import Operations, in_experts
from interp.model.layers.recurrent_rules import Arithmetic, attach_steps, operands
from interp.model.layers.unrolling import called_with
from interp.model.modules.tensors import activation_in, activation_out, argument_of, replace_backward, with_activation
from interp.parts.block_layout import Branch
from interp.parts.layout import Layout
from interp.parts.sites import Site
from interp.rules.activations import Activation
from interp.rules.attention_secants import QKV, Native, between
from interp.rules.max_pools import max_pool_secant
from interp.rules.recurrences import AveragedSteps
from interp.rules.rules import Norm
from interp.rules.secants import activation_secant, elementwise_secant, norm_secant, product_secant
from interp.rules.surrogate import VJP, surrogate, surrogate2


@dataclass
class Operands:
    """The operands of one run: tensors by the path of their module, one for each call; q, k, v by the site of q. `owner`: the identity
    of the module that ran."""

    owner: int = 0
    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    qkv: dict[Site, QKV] = field(default_factory=dict)

    def keep(self, path: str, x: Tensor) -> None:
        self.inputs.setdefault(path, []).append(x.detach().clone())  # a model may write into it later

    def of(self, path: str, call: int, like: Tensor) -> Tensor:
        """What the operation at `path` read in its call number `call`. Raises: UnsupportedRuleError where it did not, or of
        another shape."""
        found = self.inputs.get(path, [])
        if call >= len(found) or found[call].shape != like.shape:
            raise UnsupportedRuleError(
                f"{path} reads {tuple(like.shape)} in this run and not in the other: both need prompts of one length, "
                "and the same number of them."
            )
        return found[call]

    def attended(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> QKV:
        """q, k, v of an attention, by the site of its q, in the shapes of those of this run, where a K/V head may be there for each query head.

        Raises: UnsupportedRuleError where the other run did not come by, or with other shapes.
        """
        kept = self.qkv.get(site, (q[:0], k[:0], v[:0]))
        group = max(1, k.shape[1] // max(1, kept[1].shape[1]))
        found = kept[0], *(x.repeat_interleave(group, dim=1) if group > 1 else x for x in kept[1:])
        if [x.shape for x in found] != [x.shape for x in (q, k, v)]:
            raise UnsupportedRuleError(
                f"attention at '{site}' reads q of {tuple(q.shape)} in this run and not in the other: both need prompts "
                "of one length, and the same number of them."
            )
        return found[0], found[1], found[2]


@dataclass(frozen=True)
class Averaged:
    """What one run does about operands: it keeps its own, or averages its operations between its own and others; or neither."""

    model: Any
    layout: Layout
    operations: Operations
    points: int
    own: Operands | None
    other: Operands | None
    raw: list[Tensor] = field(default_factory=list)
    factors: dict[str, Tensor] = field(default_factory=dict)

    # ------------------------------------------------------------ hooks

    def attach_products(self, stack: ExitStack) -> None:
        """Before the sites of a run: the gated product that each down projection reads."""
        if self.other is not None:
            for act, up, down in self._products():
                hook = _product(self.factors, act, _factor(up, down), self.operations.activations[act], self.other)
                self._before(stack, down, hook)

    def attach(self, stack: ExitStack) -> None:
        """Behind the sites before a module: everything else, first the rules and then what watches what they give."""
        if self.own is None and self.other is None:
            return
        if self.own is not None:
            for path in (*self.operations.norms, *self._activations(), *self.operations.pools):
                self._before(stack, path, self._keep_input(path, self.own))
            for path in self.operations.recurrent:
                self._before(stack, path, self._keep_call(path, self.own))
        if self.other is not None:
            self._attach_rules(stack, self.other)
        for act, up, down in self._products():
            if up.given is None:
                self._behind(stack, up.path, self._watch(_factor(up, down), up))
            else:
                self._before(stack, up.path, self._watch_given(_factor(up, down), up.given))
            self._behind(stack, act, self._watch(act, None))
        if self.layout.logits_softcap is not None:
            self._behind(stack, self._unembed, lambda m, a, y: self.raw.append(activation_out(y)))

    @property
    def _unembed(self) -> str:
        """The path of the unembedding, behind which alone a soft cap is known."""
        return self.layout.unembed or ""

    def _activations(self) -> dict[str, Activation]:
        """The activations but for those of experts, which each run calls on tokens of its own."""
        found = self.operations.activations
        return {path: act for path, act in found.items() if not in_experts(path, self.layout)}

    def _products(self) -> Iterator[tuple[str, Branch, str]]:
        """Of every gated MLP whose activation is known: the activation, the branch it multiplies, the module that reads both."""
        for mlp in self.layout.every_mlp:
            if mlp.act in self.operations.activations and mlp.act and mlp.branch and mlp.down:
                yield mlp.act, mlp.branch, mlp.down

    def _attach_rules(self, stack: ExitStack, other: Operands) -> None:
        for path, norm in self.operations.norms.items():
            module = self.model.get_submodule(path)
            replace_backward(stack, module, _norm_rule(norm, module, path, other))
        for path, act in self._activations().items():
            replace_backward(stack, self.model.get_submodule(path), _activation_rule(act, path, other))
        for path in self.operations.pools:
            module = self.model.get_submodule(path)
            replace_backward(stack, module, _pool_rule(module, path, other))
        for path in self.operations.recurrent:
            module = self.model.get_submodule(path)
            attach_steps(stack, module, path, _steps_rule(module, path, other))

    def _keep_call(self, path: str, own: Operands) -> Callable[..., None]:
        """Before a recurrent layer: what it begins with too."""

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            x, start = called_with(module, args, kwargs)
            for name, state in zip(_entries(path), (x, *start), strict=False):
                own.keep(name, state)

        return hook

    def _keep_input(self, path: str, own: Operands) -> Callable[..., None]:
        return lambda module, args, kwargs: own.keep(path, activation_in(args, kwargs))

    def _watch(self, name: str, up: Branch | None) -> Callable[..., None]:
        """Behind a factor of a gated product: what the product will read; of the branch `up` also an operand to keep."""

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            y = activation_out(output)
            self._factor(name, y if up is None else up.of(y), kept=up is not None)

        return hook

    def _watch_given(self, name: str, at: int | str) -> Callable[..., None]:
        """Before a module that is called with a factor of its gated product."""
        return lambda module, args, kwargs: self._factor(name, argument_of(args, kwargs, at), kept=True)

    def _factor(self, name: str, y: Tensor, *, kept: bool) -> None:
        if self.own is not None and kept:
            self.own.keep(name, y)
        if self.other is not None:
            self.factors[name] = y.clone()  # the product may be written into it

    def _before(self, stack: ExitStack, path: str, hook: Callable[..., Any]) -> None:
        stack.callback(self.model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _behind(self, stack: ExitStack, path: str, hook: Callable[..., Any]) -> None:
        stack.callback(self.model.get_submodule(path).register_forward_hook(hook).remove)

    # ------------------------------------------------------------ what is no module

    def attention(self, site: Site, native: Native) -> Native:
        """An attention, by the site of its q: as it is, with q, k, v kept, or averaged."""
        native = native if self.other is None else _averaged(native, site, self.other, self.points)
        return native if self.own is None else _kept(native, site, self.own)

    def logits(self, logits: Tensor) -> Tensor:
        """The logits, whose soft cap is kept or averaged."""
        cap = self.layout.logits_softcap
        if cap is None or not self.raw:
            return logits
        raw = self.raw.pop()
        if self.own is not None:
            self.own.keep(self._unembed, raw)
        if self.other is None:
            return logits
        slope = elementwise_secant(lambda x: cap * torch.tanh(x / cap), raw, self.other.of(self._unembed, 0, raw))
        return surrogate(raw, logits, lambda grad: (grad * slope).to(grad.dtype))


def _kept(native: Native, site: Site, own: Operands) -> Native:
    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        own.qkv[site] = q.detach(), k.detach(), v.detach()
        return native(q, k, v)

    return run


def _averaged(native: Native, site: Site, other: Operands, points: int) -> Native:
    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return between(native, other.attended(site, q, k, v), points)(q, k, v)

    return run


def _norm_rule(norm: Norm, module: nn.Module, path: str, toward: Operands) -> Callable[[Tensor], VJP]:
    calls = count()
    return lambda x: norm_secant(norm, module, x, toward.of(path, next(calls), x))


def _activation_rule(act: Activation, path: str, toward: Operands) -> Callable[[Tensor], VJP]:
    calls = count()
    return lambda x: activation_secant(act, x, toward.of(path, next(calls), x))


def _pool_rule(module: nn.Module, path: str, toward: Operands) -> Callable[[Tensor], VJP]:
    calls = count()
    return lambda x: max_pool_secant(module, x, toward.of(path, next(calls), x))


def _factor(up: Branch, down: str) -> str:
    """Under which name the branch of a gated product is kept: the path of its module; of what a module is called with, by who reads the product."""
    return up.path if up.given is None else f"{down} (given)"


def _entries(path: str) -> tuple[str, str, str]:
    """Under which names the operands of a recurrent layer are kept: what it reads, h and c before the first step."""
    return path, f"{path} (h)", f"{path} (c)"


def _steps_rule(module: nn.Module, path: str, toward: Operands) -> Arithmetic:
    calls = count()

    def rule(x: Tensor, start: tuple[Tensor, ...]) -> AveragedSteps:
        call = next(calls)
        other = [toward.of(name, call, own) for name, own in zip(_entries(path), (x, *start), strict=False)]
        return AveragedSteps(iter(operands(module, other[0], tuple(other[1:]))))

    return rule


def _product(factors: dict[str, Tensor], act: str, up: str, f: Activation, toward: Operands) -> Any:
    """Before the down projection: its input as the product of act(gate) and up, with the multipliers of a product."""
    calls = count()

    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        x, call = activation_in(args, kwargs), next(calls)
        a, b = factors.pop(act), factors.pop(up)
        other = f(toward.of(act, call, a)), toward.of(up, call, b).reshape(a.shape)
        b = b.reshape(a.shape)
        vjp = product_secant(a, b, *other)
        return with_activation(args, kwargs, surrogate2(a, b, x, vjp))

    return hook
