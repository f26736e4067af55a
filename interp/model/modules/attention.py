"""The one attention function, registered with transformers' AttentionInterface.

It calls the eager attention of the model's own architecture, so scaling, soft caps, sliding windows and sinks are that
model's own and the forward is bit-identical to eager. Around that call q, k, v, pattern and z can be read and edited,
and a propagation rule can give the backward pass another meaning.

Shapes here: query `batch head q_pos d_head`, key and value `batch kv_head k_pos d_head`, pattern `batch head q_pos k_pos`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interp.errors import LayoutError
from interp.model.modules.lock import reserved
from interp.model.modules.undo import Change
from interp.rules.surrogate import scale_gradient, surrogate

NAME: Final = "interp_attention"


class _Eager(str):
    """The name under which a model finds our function, equal to `eager` too: that is what it computes, and a class that asks which
    attention it has does beside it what it does for eager (the mask of chosen keys in DeepSeek V3.2)."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or other == "eager"

    def __ne__(self, other: object) -> bool:
        return not self == other


_NAMED: Final = _Eager(NAME)

Native = Callable[..., tuple[Tensor, Tensor]]
Around = Callable[[nn.Module, Native, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_around: ContextVar[Around | None] = ContextVar("interp_attention_around", default=None)


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Eager attention of the module's architecture, with the current run's reads, edits and rules around it."""
    native = Eager(_eager(module), module, attention_mask, kwargs)
    around = _around.get()
    return native(query, key, value) if around is None else around(module, native, query, key, value)


@dataclass(frozen=True)
class Eager:
    """One call of an architecture's own eager attention, for any q, k and v: (z [batch q_pos head d_head], pattern)."""

    function: Callable[..., tuple[Tensor, Tensor]]
    module: nn.Module
    mask: Tensor | None
    options: Mapping[str, Any]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.function(self.module, q, k, v, self.mask, **self.options)


def _eager(module: nn.Module) -> Native:
    """The `eager_attention_forward` of the file that defines the module's class (or one of its bases)."""
    for cls in type(module).__mro__:
        eager = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if eager is not None:
            return eager  # type: ignore[no-any-return]
    raise LayoutError(
        f"{type(module).__name__} uses AttentionInterface but its module defines no eager_attention_forward."
    )


@contextmanager
def selected(model: Any, around: Around | None) -> Iterator[None]:
    """Select this attention function on `model`, put the old one back at the end, whatever happens in between.

    Other threads wait for the model meanwhile.
    """
    _register()
    with reserved(model):
        change = Change(model, _back(model))
        try:
            _around.set(around)
            _select(model)
            yield
        finally:
            change.end()


def _select(model: Any) -> None:
    """By transformers' own way; in the configurations themselves where that goes by the source code of the class and refuses."""
    can_set: Callable[[], bool] = getattr(model, "_can_set_attn_implementation", lambda: False)
    if can_set():
        model.set_attn_implementation(NAME)
        chosen = [config for config in _configurations(model) if config._attn_implementation == NAME]
    else:
        chosen = _configurations(model)
    for config in chosen:
        config._attn_implementation_internal = _NAMED


def _configurations(model: Any) -> list[Any]:
    """Every configuration in the model that says how to attend."""
    found = {id(c): c for m in model.modules() if (c := vars(m).get("config")) is not None}
    for config in (*found.values(), model.config):
        for name in getattr(config, "sub_configs", ()):
            found |= {id(own): own for own in [getattr(config, name, None)] if own is not None}
    return [config for config in found.values() if hasattr(config, "_attn_implementation")]


def _back(model: Any) -> Callable[[], None]:
    """What puts every configuration of the model, and the run around attention, back to what they are now."""
    were = [(config, config._attn_implementation) for config in _configurations(model)]
    before = _around.get()

    def back() -> None:
        _around.set(before)
        for config, name in were:
            if config._attn_implementation is not name:
                config._attn_implementation_internal = name

    return back


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)


def ruled(native: Native, qk: float, v: float, temperature: float) -> Native:
    """`native` with another backward pass: coefficients on q and k, on v, and the temperature of the softmax VJP.

    q_grad *= qk, k_grad *= qk, v_grad *= v (0 detaches: for qk this freezes the pattern, AH-rule, Ali et al. 2022).
    temperature T: softmax's VJP is taken at p = softmax(s / T): g -> p * (g - <g, p>) (GIM, Edin et al. 2025).
    """

    def run(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = scale_gradient(query, qk), scale_gradient(key, qk), scale_gradient(value, v)
        if temperature == 1.0 or qk == 0.0:
            return native(query, key, value)
        mode = _SoftmaxAtTemperature(temperature)
        try:
            with mode:
                out = native(query, key, value)
        finally:
            mode.over = True
        if not mode.seen:
            raise LayoutError(
                "the softmax of this architecture's attention could not be found, so `gim` has no meaning."
            )
        return out

    return run


def per_query_head(native: Native, group: int) -> Native:
    """`native` for keys and values of every query head [batch head k_pos d_head], where `group` heads share one otherwise.

    It runs once for each member of the groups, with that member's keys and values in every K/V head, and keeps the
    query heads of that member: the architecture's own grouping is used as it is.
    """

    def run(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        runs = [native(query, key[:, i::group], value[:, i::group]) for i in range(group)]
        z = torch.stack([z[:, :, i::group] for i, (z, _) in enumerate(runs)], dim=3).flatten(2, 3)
        pattern = torch.stack([p[:, i::group] for i, (_, p) in enumerate(runs)], dim=2).flatten(1, 2)
        return z, pattern

    return native if group == 1 else run


class _SoftmaxAtTemperature(TorchFunctionMode):
    """Gives every softmax called inside it the VJP of softmax(s / T); values are those of the plain softmax."""

    _SOFTMAX: Final = (torch.softmax, torch.nn.functional.softmax, Tensor.softmax)

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.seen = False
        # An interrupt may leave it among torch's modes.
        self.over = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.over or func not in self._SOFTMAX:
            return func(*args, **kwargs)
        self.seen = True
        scores, temperature = args[0], self.temperature
        with torch.no_grad():
            pattern = func(scores.detach(), *args[1:], **kwargs)

        def vjp(grad: Tensor) -> Tensor:
            p = torch.softmax(scores.detach().to(grad.dtype) / temperature, dim=-1)
            return (p * (grad - (grad * p).sum(-1, keepdim=True))).to(scores.dtype)

        return surrogate(scores, pattern, vjp)


@contextmanager
def diverted(around: Around) -> Iterator[None]:
    """Inside a run: let `around` have the calls of the attention function for a while."""
    before = _around.get()
    try:
        _around.set(around)
        yield
    finally:
        _around.set(before)


def active() -> bool:
    """Whether a run has reads, edits or rules around attention at this moment."""
    return _around.get() is not None
