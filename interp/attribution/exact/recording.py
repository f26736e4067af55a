"""A base run, recorded so that it can be redone from the middle: what enters each layer, and what its parts made of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from interp.attribution.exact.modules import LayerModules
from interp.model.inputs.taking import arguments
from interp.model.modules import attention
from interp.model.modules.lock import reserved, running
from interp.model.modules.tensors import activation_in, activation_out
from interp.parts.named_inputs import Inputs
from interp.parts.tokens import Tokens


class _Ended(Exception):
    """Ends a forward pass at the final norm: nothing after it is recorded."""


@dataclass
class LayerRecord:
    """One layer of a run. Shapes [batch pos d_model], and [batch head pos d_head] for q, k and v.

    `attn_raw`, `mlp_raw`: outputs of the two output projections; what is added to the stream is made of them.
    `z`: the input of the attention's output projection; `neurons` that of the MLP's, where it was asked for.
    `call`: the arguments of the attention module. `native`: its attention function, None where that is not reached.
    """

    x: Tensor = field(default_factory=lambda: torch.empty(0))
    attn_raw: Tensor = field(default_factory=lambda: torch.empty(0))
    mlp_raw: Tensor = field(default_factory=lambda: torch.empty(0))
    z: Tensor = field(default_factory=lambda: torch.empty(0))
    neurons: Tensor = field(default_factory=lambda: torch.empty(0))
    call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    native: attention.Eager | None = None
    q: Tensor = field(default_factory=lambda: torch.empty(0))
    k: Tensor = field(default_factory=lambda: torch.empty(0))
    v: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Recording:
    """A run on `batch` prompts of `length` tokens: its layers, the stream that enters the final norm, and the logits
    [batch pos d_vocab] where they were asked for."""

    layers: tuple[LayerRecord, ...]
    final: Tensor
    logits: Tensor | None = None

    @property
    def batch(self) -> int:
        return self.final.shape[0]

    @property
    def length(self) -> int:
        return self.final.shape[1]

    @property
    def bytes(self) -> int:
        """What its tensors take."""
        kept = (x for layer in self.layers for x in vars(layer).values() if isinstance(x, Tensor))
        return sum(x.numel() * x.element_size() for x in kept)

    @property
    def causal(self) -> bool:
        """Whether no layer lets a token look at later ones."""
        return all(_is_causal(layer.native) for layer in self.layers if len(layer.attn_raw))

    def stream(self, layer: int) -> Tensor:
        """What enters a layer; after the last one, what enters the final norm [batch pos d_model]."""
        return self.final if layer == len(self.layers) else self.layers[layer].x


def _is_causal(native: attention.Eager | None) -> bool:
    if native is None or native.mask is None:
        return False
    mask = native.mask
    later = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
    least = torch.finfo(mask.dtype).min if mask.is_floating_point() else 0
    return bool((mask[..., later] <= least / 2).all() if mask.is_floating_point() else ~mask[..., later].any())


def record(
    model: Any,
    modules: tuple[LayerModules, ...],
    given: Tokens | Inputs,
    *,
    logits: bool = False,
    neurons: bool = False,
) -> Recording:
    """Run the layers on `given` and keep what a replay needs, and the neurons; without `logits` no unembedding is computed."""
    layers = tuple(LayerRecord() for _ in modules)
    final, seen = list[Tensor](), list[Tensor]()
    at = {id(own.caller): found for own, found in zip(modules, layers, strict=True) if own.attends}

    def around(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        found = at[id(module)]
        found.q, found.k, found.v = q, k, v
        found.native = native if isinstance(native, attention.Eager) else None
        return native(q, k, v)

    def end(x: Tensor) -> None:
        final.append(x)
        if not logits:
            raise _Ended

    inputs = arguments(model, given.to(model.device), 0 if logits else 1)
    routed = model.layout.attention_function
    with reserved(model.hf), torch.no_grad(), ExitStack() as stack:
        for own, found in zip(modules, layers, strict=True):
            _watch(stack, own, found, len(given.ids if isinstance(given, Tokens) else given))
            if neurons and own.down is not None:
                stack.callback(own.down.register_forward_pre_hook(_entering(found, "neurons"), with_kwargs=True).remove)
        _at_the_end(stack, model, end)
        stack.enter_context(attention.selected(model.hf, around) if routed else nullcontext())
        with running(model.hf), suppress(_Ended):
            seen.append(model.layout.output(model.hf(**inputs), inputs))
    for own, found in zip(modules, layers, strict=True):  # seen before a layer on another device has taken it there
        found.x = found.x.to((found.attn_raw if own.attends else found.mlp_raw).device)
    return Recording(layers, final[0], seen[0] if seen else None)


def _at_the_end(stack: ExitStack, model: Any, end: Callable[[Tensor], None]) -> None:
    """Call `end` with the stream that enters the final norm; without one, or where it may read one position only, with what the last
    block gives."""
    layout, get = model.layout, model.hf.get_submodule
    if layout.ln_final is None or layout.readout != "each":
        hook = get(layout.blocks[-1].path).register_forward_hook(lambda m, a, y: end(activation_out(y)))
    else:
        hook = get(layout.ln_final).register_forward_pre_hook(
            lambda m, a, k: end(activation_in(a, k)), with_kwargs=True
        )
    stack.callback(hook.remove)


def _entering(found: LayerRecord, name: str) -> Callable[..., None]:
    """Keep what a module reads."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        setattr(found, name, activation_in(args, kwargs))

    return hook


def _watch(stack: ExitStack, own: LayerModules, found: LayerRecord, batch: int) -> None:
    """Keep what one layer sees and makes."""

    def called(module: nn.Module, args: Any, kwargs: Any) -> None:
        found.call = (args, kwargs)

    def made(name: str, copy: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            y = activation_out(output).reshape(batch, -1, activation_out(output).shape[-1])
            setattr(found, name, y.clone() if copy else y)

        return hook

    stack.callback(own.block.register_forward_pre_hook(_entering(found, "x"), with_kwargs=True).remove)
    if own.attends:
        stack.callback(own.o.register_forward_pre_hook(_entering(found, "z"), with_kwargs=True).remove)
        stack.callback(own.attn.register_forward_pre_hook(called, with_kwargs=True).remove)
        stack.callback(own.o.register_forward_hook(made("attn_raw", False)).remove)
    if own.computes:
        stack.callback(own.mlp_last.register_forward_hook(made("mlp_raw", own.mlp_reused)).remove)
