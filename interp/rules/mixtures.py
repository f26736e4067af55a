"""Rules for an MLP whose operations are functions and no modules, one by one as its code calls them: a mixture of experts.

Which experts a position goes to, and with which weights, is held constant: sum_e w_e(x) f_e(x) -> sum_e w_e f_e(x), as attention is
where its pattern is held. Inside, every operation has the meaning that `interp.rules.rules` gives it:

| operation | backward |
| --- | --- |
| linear in what depends on the stream | its gradient |
| a factor of one number for each position (weight of an expert, gate of a shared one, scale of a norm) | held constant |
| matrix product with weights that a softmax or a sigmoid made | the weights held constant |
| f(x) = c(x) x, entry by entry, also where code makes it of several functions: x * sigmoid(x) | c held constant (act: identity) |
| a * b, entry by entry, of one size | the gate rule; of (1 + a) * b the part b is linear, and a * b under the gate rule |
| everything else | nothing may come back through it: UnsupportedRuleError |

What is linear is not listed here: `interp.rules.nonlinear` tells, by the name of the function or by what torch does in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from interp.errors import UnsupportedRuleError
from interp.rules.function_calls import MATRIX_PRODUCTS, PRODUCTS, QUOTIENTS, SUMS, Call
from interp.rules.nonlinear import ELEMENTWISE, tensors_in
from interp.rules.rules import Rules
from interp.rules.surrogate import is_surrogate, surrogate

#: What a tensor is of its root, entry by entry: c(x) x with c held constant; that plus a constant; anything else, through which
#: nothing may come back.
Form = Literal["through", "shifted", "loose"]


@dataclass(frozen=True, eq=False)
class Mark:
    """What is known of a tensor: the one that it is a function of, entry by entry, how, and whether an activation stands between;
    and whether it comes from a softmax or a sigmoid alone, as weights do. It keeps the tensor, so that no other has its id. `added`: the number
    in it that depends on nothing, 1 of 1 + x."""

    tensor: Tensor
    root: Tensor
    form: Form = "through"
    bent: bool = False
    weights: bool = False
    added: float = 0.0

    def weighs(self, x: Tensor) -> bool:
        """Whether it is one number for each position of `x` [... d]: of width 1; or made as weights are, and smaller or the same along d."""
        own = self.tensor
        if own.shape[-1:] in ((), (1,)) and x.shape[-1:] not in ((), (1,)):
            return True
        return self.weights and (own.numel() < x.numel() or bool((own == own[..., :1]).all()))


@dataclass(frozen=True)
class Met:
    """What was met in an MLP: whether something was held constant as a weight, whether there was a gated product, and whether of each one
    factor alone came from an activation; which activations; and the functions without a rule that gradients came back through, those of
    each entry alone (`odd_entries`) apart."""

    weights: bool
    gated: bool
    told_apart: bool
    activations: tuple[str, ...]
    odd: tuple[str, ...]
    odd_entries: tuple[str, ...]


@dataclass
class Mixtures(TorchFunctionMode):
    """Between `enter` and `leave`: the functions that are called get the backward pass of `rules`; values stay bit for bit.

    trying: what has no rule is kept and not raised. Raises: UnsupportedRuleError in the backward pass, naming module and function.
    """

    rules: Rules
    trying: bool = False
    area: str = ""
    entered: bool = False
    inside: bool = False
    paused: list[bool] = field(default_factory=list)
    marks: dict[int, Mark] = field(default_factory=dict)
    found: dict[str, dict[Any, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def enter(self, area: str, *given: Any) -> None:
        """The MLP at the path `area` begins, with what it is given."""
        self._marked(given)
        self.__enter__()  # type: ignore[no-untyped-call]
        self.area, self.entered, self.inside = area, True, True

    def leave(self, output: Any = None) -> None:
        """It is over, with this result; without one, whatever had begun is. An interrupt in between leaves a mode that does nothing."""
        if self.entered:
            self.entered = self.inside = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._check_known(tensors_in((output,)))
            self.marks.clear()

    def pause(self) -> None:
        """What follows has its own backward pass."""
        self.paused.append(self.inside)
        self.inside = False

    def resume(self, made: Any) -> None:
        """It is over, and has made this."""
        inside = self.paused.pop()
        if inside:
            self._marked(made)
        self.inside = inside

    def met(self) -> Met:
        """What was met since the beginning."""
        apart, (acts, odd, entries) = self.found.get("gate", {}), (tuple(self.found.get(k, ())) for k in _KINDS)
        return Met("weight" in self.found, bool(apart), False not in apart, acts, odd, entries)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = Call(func, args, kwargs or {})
        if not self.inside or not torch.is_grad_enabled() or call.name in _ASKED or not call.live:
            return call()
        self._check_known(call.live)
        if call.name in _PAIRS and (pair := call.pair()) is not None:
            both = self._of(pair[0]), self._of(pair[1])
            return self._quotient(call, *both) if call.name in QUOTIENTS else self._product(call, *both)
        return self._entries(call, self._of(call.live[0])) if call.by_entry else self._other(call)

    # ------------------------------------------------------------ operations

    def _product(self, call: Call, first: Mark, second: Mark) -> Any:
        """A product, entry by entry, of two tensors that depend on the stream."""
        a, b = first.tensor, second.tensor
        if first.root is second.root and a.shape == b.shape:
            return self._self_gated(call, first, second)
        if first.form == second.form == "loose" or (first.weights and second.weights):
            return self._marked(call(), form="loose", weights=first.weights and second.weights)
        for weight, other in ((first, second), (second, first)):
            if weight.weighs(other.tensor):
                self._note("weight")
                return self._marked(call.holding(weight.tensor)(), form=other.form, weights=other.weights)
        if a.shape != b.shape:
            return self._unruled(call(), "a product of different sizes")
        return self._gated(call, first, second)

    def _gated(self, call: Call, first: Mark, second: Mark) -> Any:
        """The product of two branches [... d] under the gate rule. A branch without a rule is met in the backward pass."""
        a, b, apart, gate = first.tensor, second.tensor, first.bent != second.bent, self.rules.gate
        self._note("gate", apart)
        if gate == 0.0:
            if not apart or call.in_place:
                return self._unruled(call(), "a product of which neither factor, or each, is the gate")
            return self._marked(call.holding((first if first.bent else second).tensor)())
        if gate == 1.0:
            return self._marked(call())
        beside = gate * (second.added * a + first.added * b) if first.added or second.added else None
        out = call()
        out.register_hook(lambda grad: grad * gate)
        if beside is not None:  # 0, whose slope is what the number in the other factor gives to each
            out = out.add_(beside - beside.detach()) if call.in_place else out + (beside - beside.detach())
        return self._marked(out)

    def _self_gated(self, call: Call, first: Mark, second: Mark) -> Any:
        """x h(x), an activation made of functions: h is its coefficient."""
        if self.rules.act == "gradient":
            return self._marked(call(), root=first.root, bent=True)
        if first.form == "through":
            held = call.holding_second()
        elif second.form == "through" and not call.in_place:
            held = call.holding(first.tensor)
        else:
            return self._unruled(call(), f"{call.name} of functions of one tensor", root=first.root)
        if first.form != second.form:
            self._note("activation", "an activation written out")
        return self._marked(held(), root=first.root, bent=True)

    def _quotient(self, call: Call, first: Mark, second: Mark) -> Any:
        """What divides is a weight like any other, or has no rule."""
        if first.form == "loose" or not second.weighs(first.tensor):
            return self._unruled(call(), call.name, weights=first.weights and second.weights)
        self._note("weight")
        return self._marked(call.holding(second.tensor)())

    def _entries(self, call: Call, own: Mark) -> Any:
        """A function of each entry."""
        x, bent, weights = own.tensor, own.bent or call.bends, own.weights or call.name in _WEIGHTS
        if self.rules.act == "gradient" or own.form == "loose":
            return self._marked(call(), root=own.root, form=own.form, bent=bent, weights=weights)
        coefficient = None if call.in_place else call.coefficient(x.detach())
        if coefficient is None:
            return self._unruled(call(), call.name, root=own.root, weights=weights, entries=True)
        self._note("activation", call.activation or call.name)
        with torch.no_grad():
            value = call.holding(x)()
        out = surrogate(x, value, lambda grad: (grad * coefficient).to(grad.dtype))
        return self._marked(out, root=own.root, form=own.form, bent=bent)

    def _other(self, call: Call) -> Any:
        """Any other function: linear by what torch does in it, or without a rule."""
        own = [self._of(x) for x in call.live]
        weights = [mark.tensor for mark in own if mark.weights]
        if call.name in MATRIX_PRODUCTS and 0 < len(weights) < len(own):
            self._note("weight")
            call, own = call.holding(*weights), [mark for mark in own if not mark.weights]
        out, names = call.watched()
        if names and not (self.rules.act == "gradient" and names <= ELEMENTWISE):
            return self._unruled(out, call.name, weights=call.name in _WEIGHTS or len(weights) == len(own))
        made = call.args[0] if out is None and call.in_place else out
        self._linear(call, made, own)
        return out

    def _linear(self, call: Call, made: Any, own: list[Mark]) -> None:
        """Mark what is linear in tensors that are known: where it keeps entries apart, still a function of their root."""
        root, sizes = own[0].root, [mark.tensor.shape for mark in own]
        form = max((mark.form for mark in own), key=("through", "shifted", "loose").index)
        weights = all(mark.weights for mark in own)
        apart = call.keeps_entries and isinstance(made, Tensor) and all(size == made.shape for size in sizes)
        if apart and all(mark.root is root for mark in own):
            shifted = call.name in SUMS and len(own) == 1 and form == "through"
            bent = any(mark.bent for mark in own)
            form = "shifted" if shifted else form
            added = call.shifted(own[0].added) if form == "shifted" and len(own) == 1 else 0.0
            self._marked(made, root=root, form=form, bent=bent, weights=weights, added=added)
        else:
            loose = all(mark.form == "loose" for mark in own)
            self._marked(made, form="loose" if loose else "through", weights=weights)

    # ------------------------------------------------------------ what is known

    def _of(self, x: Tensor) -> Mark:
        return self.marks.get(id(x)) or Mark(x, x)

    def _marked(
        self,
        out: Any,
        *,
        root: Tensor | None = None,
        form: Form = "through",
        bent: bool = False,
        weights: bool = False,
        added: float = 0.0,
    ) -> Any:
        """`out`, known from here on as a function of `root`, or of itself."""
        for x in tensors_in((out,)):
            if x.requires_grad:
                self.marks[id(x)] = Mark(x, x if root is None else root, form, bent, weights, added)
        return out

    def _unruled(
        self, out: Any, name: str, *, root: Tensor | None = None, weights: bool = False, entries: bool = False
    ) -> Any:
        """`out`, through which nothing may come back: what is held constant, no gradient reaches."""
        area = self.area
        for x in tensors_in((out,)):
            if x.requires_grad:
                x.register_hook(lambda _: self._reached(area, name, entries=entries))  # type: ignore[no-untyped-call]
        return self._marked(out, root=root, form="loose", bent=True, weights=weights)

    def _reached(self, area: str, name: str, *, entries: bool) -> None:
        if self.trying:
            self._note("entries" if entries else "odd", name)
            return
        raise UnsupportedRuleError(
            f"{area}: a gradient comes back through {name}, which rules ({self.rules.describe()}) have no meaning for: it is no weight "
            "of one number for each position, no activation and no gated product. Choose other rules, or method 'atp'."
        )

    def _check_known(self, tensors: Iterable[Tensor]) -> None:
        """Nothing may come back through what no call of a function has made, nor another rule: what torch does not show, a backward pass of
        its own."""
        for x in tensors:
            if x.requires_grad and id(x) not in self.marks and not is_surrogate(x):
                self._unruled(x, f"{type(x.grad_fn).__name__}, which no call of a function of torch has made")

    def _note(self, kind: str, what: Any = None) -> None:
        self.found.setdefault(kind, {})[what] = None


_KINDS: Final = ("activation", "odd", "entries")
_PAIRS: Final = PRODUCTS | QUOTIENTS
#: What is asked of a tensor without making another.
_ASKED: Final = frozenset(("dim", "size", "numel", "stride", "is_contiguous", "data_ptr"))
#: The functions that make weights.
_WEIGHTS: Final = ("softmax", "sigmoid")
