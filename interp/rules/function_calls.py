"""A call of a function of torch: on what, whether it writes into it, the same with tensors held constant, and its coefficient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from interp.rules.activations import ACTIVATIONS
from interp.rules.nonlinear import ELEMENTWISE, Nonlinear, is_linear, tensors_in

PRODUCTS: Final = frozenset(("mul", "multiply", "imul", "rmul"))
QUOTIENTS: Final = frozenset(("div", "divide", "true_divide", "truediv", "itruediv"))
MATRIX_PRODUCTS: Final = frozenset(("matmul", "rmatmul", "mm", "bmm", "mv", "einsum", "tensordot", "baddbmm", "addmm"))
SUMS: Final = frozenset(("add", "iadd", "radd", "sub", "isub", "rsub", "subtract"))
#: Give every entry as it is, or with another sign or type.
_SAME: Final = ("neg", "to", "type", "type_as", "float", "half", "bfloat16", "double", "contiguous", "clone", "dropout")
_CLAMPS: Final = frozenset(("clamp", "clip", "clamp_min", "clamp_max"))
#: Linear like the operations of `nonlinear`, under names that only functions have.
_LINEAR: Final = frozenset(
    ("getitem", "setitem", "get", "dim", "size", "float", "double", "half", "bfloat16", "type_as")
)
#: Linear in one factor where the others are constant.
_MAPS: Final = MATRIX_PRODUCTS | {"linear", "grouped_mm"} | PRODUCTS
_POWERS: Final = frozenset(("pow", "square"))
#: Activations by name, and their coefficients.
_ACTIVATIONS: Final = {own.name: own.coefficient for own in ACTIVATIONS if own.coefficient is not None}


@dataclass(frozen=True)
class Call:
    """A function that is called, and with what."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        return self.func(*self.args, **self.kwargs)

    @cached_property
    def name(self) -> str:
        """Its name, without underscores around it."""
        return str(getattr(self.func, "__name__", "?")).strip("_")

    @cached_property
    def live(self) -> list[Tensor]:
        """The tensors among its arguments that depend on what gradients reach."""
        return [x for x in tensors_in((*self.args, *self.kwargs.values())) if x.requires_grad]

    @property
    def in_place(self) -> bool:
        """Whether it writes into its first argument."""
        own = str(getattr(self.func, "__name__", ""))
        written = own.endswith("_") and (not own.endswith("__") or own.startswith("__i") or own == "__setitem__")
        return written or bool(self.kwargs.get("inplace")) or (self.name in _ACTIVATIONS and self.args[1:2] == (True,))

    @property
    def by_entry(self) -> bool:
        """Whether it is a function of each entry of its first argument, which alone depends on what gradients reach."""
        known = self.name in ELEMENTWISE or self.name in _POWERS | _CLAMPS
        return known and len(self.live) == 1 and self.live[0] is next(iter(self.args), None)

    @property
    def keeps_entries(self) -> bool:
        """Whether each entry of the result is made of those at the same place, if sizes agree, by a sum, a factor or a type."""
        return self.name in _SAME or self.name in SUMS | PRODUCTS | QUOTIENTS

    @property
    def bends(self) -> bool:
        """Whether it is more than a limit."""
        return self.name not in _CLAMPS

    def watched(self) -> tuple[Any, frozenset[str]]:
        """Its result, and the names of the operations in it that are not linear: by its own name, else by what torch does."""
        if self.name in _LINEAR or is_linear(self.name) or (self.name in _MAPS and len(self.live) == 1):
            return self(), frozenset()
        with Nonlinear(lambda: None) as watch:
            out = self()
        return out, frozenset(operation.name for operation in watch.found)

    def pair(self) -> tuple[Tensor, Tensor] | None:
        """The two operands of a product or quotient, where both depend on what gradients reach."""
        found = (*self.args, *(self.kwargs[k] for k in ("other",) if k in self.kwargs))[:2]
        both = len(found) == 2 and all(isinstance(x, Tensor) and x.requires_grad for x in found)
        return (found[0], found[1]) if both else None

    def holding(self, *held: Tensor) -> Call:
        """The same call with tensors held constant."""
        ids = {id(x) for x in held}

        def swap(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.detach() if id(value) in ids else value
            return type(value)(map(swap, value)) if type(value) in (tuple, list) else value

        return Call(self.func, swap(self.args), {k: swap(v) for k, v in self.kwargs.items()})

    def shifted(self, own: float) -> float:
        """What is constant in its result, where its one tensor is something plus the constant `own`; 0 where other tensors come in."""
        tensors = list(tensors_in((*self.args, *self.kwargs.values())))
        if len(tensors) != 1:
            return 0.0
        number = tensors[0].new_full((), own, requires_grad=False)
        args = tuple(number if value is tensors[0] else value for value in self.args)
        return float(self.func(*args, **{k: number if v is tensors[0] else v for k, v in self.kwargs.items()}))

    def holding_second(self) -> Call:
        """The same product with its second factor held constant, also where it is the first one too."""
        first, second = self.pair() or self.args
        return Call(self.func, (first, second.detach()), {})

    @property
    def activation(self) -> str:
        """The name of the activation that it is, '' for none."""
        tanh = self.name == "gelu" and self.kwargs.get("approximate", "none") == "tanh"
        return "gelu_tanh" if tanh else self.name if self.name in _ACTIVATIONS else ""

    def coefficient(self, x: Tensor) -> Tensor | None:
        """c with f(x) = c x, entry by entry; None where f is not known, or f(0) not 0."""
        if self.activation:
            return _ACTIVATIONS[self.activation](x)
        if self.name in _POWERS:
            power = 2 if self.name == "square" else next(iter(self.args[1:]), None)
            return x ** (power - 1) if isinstance(power, (int, float)) and power in range(1, 9) else None
        if self.name not in _CLAMPS:
            return None
        zero, value = (self.func(point, *self.args[1:], **self.kwargs) for point in (torch.zeros_like(x), x))
        same = value == x
        return None if bool(zero.any()) else torch.where(same, 1.0, value / torch.where(same, 1.0, x))
