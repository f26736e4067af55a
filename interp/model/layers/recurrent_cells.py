"""One step of torch's recurrent layers, from their own weights.

| cell | next state (i, f, g, o and r, z, n as in torch: W x + b + U h + c, gates by a sigmoid) |
| --- | --- |
| LSTM | c' = f c + i tanh(g), h' = o tanh(c'), projected where the layer projects |
| GRU | n = tanh(W x + b + r (U h + c)), h' = (1 - z) n + z h |
| RNN | h' = tanh or relu of W x + b + U h + c |

The operations are those of `interp.rules.recurrences`, so that rules act on them.

Sources: Hochreiter & Schmidhuber 1997, Cho et al. 2014, Elman 1990, in the forms that torch computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.errors import InterpError
from interp.rules.layer_rules import LinearLayer
from interp.rules.recurrences import PLAIN_STEPS, Steps

LAYERS: Final = (nn.LSTM, nn.GRU, nn.RNN)
CELLS: Final = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
Kind = Literal["LSTM", "GRU", "RNN_TANH", "RNN_RELU"]


class RecurrentError(InterpError):
    """A recurrent layer, state or edit that cannot be unrolled, read or made."""


@dataclass(frozen=True)
class Cell:
    """The weights of one layer in one direction: `input` [gate*unit feature], `hidden` [gate*unit unit], biases or None, and the projection of an
    LSTM that has one."""

    kind: Kind
    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None
    hidden_bias: Tensor | None
    projection: Tensor | None = None

    @classmethod
    def of(cls, module: Any, layer: int = 0, backward: bool = False) -> Cell:
        """The cell of one layer of a recurrent module, or that a cell of torch is. Raises: RecurrentError for anything else."""
        if not isinstance(module, (*LAYERS, *CELLS)):
            raise RecurrentError(f"{type(module).__name__} given; expected nn.LSTM, nn.GRU, nn.RNN or a cell of these.")
        if isinstance(module, CELLS):
            mode: Any = {"LSTMCell": "LSTM", "GRUCell": "GRU"}.get(
                type(module).__name__, f"RNN_{getattr(module, 'nonlinearity', 'tanh').upper()}"
            )
            end = ""
        else:
            if not 0 <= layer < module.num_layers:
                raise RecurrentError(
                    f"layer {layer}: this {type(module).__name__} has layers 0 to {module.num_layers - 1}."
                )
            mode, end = module.mode, f"_l{layer}{'_reverse' * backward}"
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        weights = [getattr(module, f"{name}{end}", None) for name in names]
        w = [x.detach() if isinstance(x, Tensor) else None for x in weights]
        if w[0] is None or w[1] is None:
            raise RecurrentError(f"{type(module).__name__} has no weights of its own for layer {layer}.")
        return cls(mode, w[0], w[1], w[2], w[3], w[4])

    def to(self, dtype: torch.dtype) -> Cell:
        """The same in another precision."""
        moved = (None if x is None else x.to(dtype) for x in (self.input_bias, self.hidden_bias, self.projection))
        return Cell(self.kind, self.input.to(dtype), self.hidden.to(dtype), *moved)

    @property
    def features(self) -> int:
        """How many numbers it reads at each step."""
        return self.input.shape[1]

    @property
    def n_hidden(self) -> int:
        """Units of h."""
        return self.hidden.shape[1]

    @property
    def n_cell(self) -> int:
        """Units of c; 0 without one."""
        return self.hidden.shape[0] // 4 if self.kind == "LSTM" else 0

    @property
    def gated(self) -> bool:
        """Whether it has gates."""
        return self.kind in ("LSTM", "GRU")

    def memory(self, x: Tensor, h: Tensor, c: Tensor, by: Steps = PLAIN_STEPS) -> tuple[Tensor, Tensor]:
        """Of an LSTM: c' [batch unit], and the output gate."""
        i, f, g, o = (_affine(x, self.input, self.input_bias) + _affine(h, self.hidden, self.hidden_bias)).chunk(4, -1)
        g = by.tanh(by.linear(g, partial(self._joined, 2, 4), x, h))
        return by.product(by.gate(f), c) + by.product(by.gate(i), g), by.gate(o)

    def shown(self, c: Tensor, o: Tensor, by: Steps = PLAIN_STEPS) -> Tensor:
        """Of an LSTM: h' of c' and the output gate."""
        h, weight = by.product(o, by.tanh(c)), self.projection
        return (
            h if weight is None else by.linear(_affine(h, weight, None), lambda: LinearLayer(weight, None, F.linear), h)
        )

    def plain(self, x: Tensor, h: Tensor, by: Steps = PLAIN_STEPS) -> Tensor:
        """h' of a cell without a memory of its own."""
        own, before = _affine(x, self.input, self.input_bias), _affine(h, self.hidden, self.hidden_bias)
        if self.kind != "GRU":
            both = by.linear(own + before, partial(self._joined, 0, 1), x, h)
            return by.tanh(both) if self.kind == "RNN_TANH" else by.relu(both)
        (r, z, n), (u, v, w) = own.chunk(3, -1), before.chunk(3, -1)
        z, r = by.gate(z + v), by.gate(r + u)
        n = by.tanh(by.linear(n + by.product(r, w), partial(self._joined, 2, 3, r.detach()), x, h))
        return by.product(1 - z, n) + by.product(z, h)

    def _joined(self, part: int, parts: int, reset: Tensor | None = None) -> LinearLayer:
        """One of so many parts of W x + b + U h + c, or W x + b + reset (U h + c), as a dense layer of x and h side by side. reset: of each example
        [batch unit], positive, so that weights keep their signs."""
        weight = torch.cat([self.input.chunk(parts)[part], self.hidden.chunk(parts)[part]], 1)
        apply = F.linear if reset is None else partial(_apart, self.features, reset)
        if self.input_bias is None or self.hidden_bias is None:
            return LinearLayer(weight, None, apply)
        own, before = self.input_bias.chunk(parts)[part], self.hidden_bias.chunk(parts)[part]
        return LinearLayer(weight, own + (before if reset is None else reset * before), apply)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """The next state [... unit], h, of an LSTM h and c one behind the other."""
        if self.kind != "LSTM":
            return self.plain(x, state)
        h, c = state[..., : self.n_hidden], state[..., self.n_hidden :]
        c, o = self.memory(x, h, c)
        return torch.cat([self.shown(c, o), c], -1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight, bias)


def _apart(features: int, reset: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A dense layer of x and h side by side, whose part of h is weighed by `reset` [batch unit]."""
    own, before = F.linear(x[..., :features], weight[:, :features]), F.linear(x[..., features:], weight[:, features:])
    return own + reset * before + (0.0 if bias is None else bias)
