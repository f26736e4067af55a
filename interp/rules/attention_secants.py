"""Attention between two runs: of its products, its softmax and its cap the Jacobians averaged between their inputs in both.

The architecture's own attention function is called twice, on q, k, v of the other run and on those of this one; what it does
in between is watched, so scaling, biases, masks and grouped keys stay its own. A function of torch that is not known to be
linear is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from interp.errors import UnsupportedRuleError
from interp.rules.nonlinear import tensors_in
from interp.rules.secants import elementwise_secant, matmul_secant, softmax_secant
from interp.rules.surrogate import surrogate, surrogate2

Native = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
QKV = tuple[Tensor, Tensor, Tensor]

_MATMUL: Final[set[Any]] = {torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm}
_SOFTMAX: Final[set[Any]] = {torch.softmax, torch.nn.functional.softmax, Tensor.softmax}
_TANH: Final[set[Any]] = {torch.tanh, torch.nn.functional.tanh, Tensor.tanh}
#: Products and quotients, linear where one side alone depends on q, k or v.
_SCALED: Final = frozenset(("mul", "div", "true_divide", "truediv", "imul", "itruediv", "rmul"))
#: Linear in what depends on q, k or v, or about its shape and type only.
_ABOUT: Final = (
    "to",
    "type",
    "type_as",
    "float",
    "half",
    "bfloat16",
    "double",
    "dim",
    "size",
    "stride",
    "numel",
    "get",
)
_SHAPED: Final = ("transpose", "permute", "reshape", "view", "expand", "unsqueeze", "squeeze", "flatten", "unflatten")
_PIECES: Final = ("cat", "stack", "chunk", "split", "repeat", "repeat_interleave", "getitem", "contiguous", "clone")
_ADDED: Final = (
    "add",
    "radd",
    "iadd",
    "sub",
    "rsub",
    "isub",
    "neg",
    "where",
    "masked_fill",
    "dropout",
    "is_contiguous",
)
_LINEAR: Final = _SCALED | {*_ABOUT, *_SHAPED, *_PIECES, *_ADDED}


def between(native: Native, other: QKV, points: int) -> Native:
    """`native` with multipliers for its backward pass: between the q, k, v that it is called with and `other`.

    Raises: UnsupportedRuleError for attention that does anything else than linear maps, products of matrices, softmax, tanh.
    """

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), _Watched() as seen:
            native(*other)
        with _Averaged(seen.operands, points) as mode:
            out = native(q, k, v)
        mode.check_done()
        return out

    return run


@dataclass
class _Watched(TorchFunctionMode):
    """Keeps the operands of the products, softmaxes and caps that are called inside it, in their order."""

    operands: list[tuple[Tensor, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if found := _operands(func, args):
            self.operands.append(found)
        return func(*args, **(kwargs or {}))


@dataclass
class _Averaged(TorchFunctionMode):
    """Gives the same operations their multipliers; `operands` are those of the other run."""

    operands: list[tuple[Tensor, ...]]
    points: int
    done: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, own = kwargs or {}, _operands(func, args)
        if not own:
            _check_linear(func, args, kwargs)
            return func(*args, **kwargs)
        value, other = self._value(func, args, kwargs), self._next()
        if func in _MATMUL:
            return surrogate2(own[0], own[1], value, matmul_secant(own[0], own[1], other[0], other[1]))
        if func in _SOFTMAX:
            _check_last(args, kwargs)
            return surrogate(own[0], value, softmax_secant(own[0], other[0], self.points))
        slope = elementwise_secant(torch.tanh, own[0], other[0])
        return surrogate(own[0], value, lambda grad: grad * slope)

    def _value(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        with torch.no_grad():
            return func(*(a.detach() if isinstance(a, Tensor) else a for a in args), **kwargs)  # type: ignore[no-any-return]

    def _next(self) -> tuple[Tensor, ...]:
        self.done += 1
        return self.operands[self.done - 1]

    def check_done(self) -> None:
        """Raises: UnsupportedRuleError where there was no softmax, or not the two products around it."""
        if self.done != len(self.operands) or self.done < 3:
            raise UnsupportedRuleError(
                f"{self.done} products, softmaxes and caps were found in this architecture's attention; expected a product, a "
                "softmax and a product. Choose other rules: 'relp-ah' needs no look inside."
            )


def _check_last(args: Any, kwargs: Any) -> None:
    """Raises: UnsupportedRuleError for a softmax over another axis than the last."""
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if axis not in (-1, args[0].ndim - 1):
        raise UnsupportedRuleError(
            f"attention takes a softmax over axis {axis} of {args[0].ndim}; expected the last one."
        )


def _check_linear(func: Any, args: Any, kwargs: Any) -> None:
    """Raises: UnsupportedRuleError for a function that is not known to be linear in what depends on q, k, v."""
    name = _name(func)
    active = [x for x in tensors_in((*args, *kwargs.values())) if x.requires_grad]
    if active and (name not in _LINEAR or (name in _SCALED and len(active) > 1)):
        raise UnsupportedRuleError(
            f"attention calls {name} on what depends on q, k or v; its average between two runs is not known. "
            "Choose other rules, such as 'relp'."
        )


def _operands(func: Any, args: Any) -> tuple[Tensor, ...]:
    """The operands of a product, a softmax or a cap; none of any other function. Raises: UnsupportedRuleError for operands that
    are not the first arguments."""
    n = 2 if func in _MATMUL else int(func in _SOFTMAX or func in _TANH)
    if len(args) < n:
        raise UnsupportedRuleError(
            f"attention calls {_name(func)} with keywords; expected its operands in their places. Choose other rules, such as 'relp'."
        )
    return tuple(args[:n])


def _name(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", "?")).rsplit(".", 1)[-1].strip("_")
