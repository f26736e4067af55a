"""The arithmetic of one step of a recurrent layer, with the backward meaning that rules give to it.

A step (`interp.model.layers.recurrent_cells`) is made of four kinds of operation. x and h are its input and state, side by side one vector [x h]:

| operation | rules | between two runs |
| --- | --- | --- |
| candidate W x + b + U h + c | one dense layer of [x h]: `linear.dense`; of a GRU its part U h + c is weighed by the gate that is held | its weights |
| tanh | f'(x), or (`act` identity) tanh(x) / x, 1 at 0 | delta tanh / delta x |
| gate = sigmoid(s) | `gate` 0: held; otherwise its derivative | delta sigmoid / delta s |
| gate * value | `gate` 0: all to the value (signal-take-all); 0.5: half to each; 1: the product rule | the mean of the other factor |

A sum of two products keeps its gradient. A sigmoid is 1/2 at 0: f(x) / x has a pole there, and whatever a rule gave to a gate would not all come out of it.
So under `act` identity gates are held or there is no rule, and rules of linear layers ask for held gates too.

Sources: Arras et al. 2017 (signal-take-all), Arras et al. 2019 (half rule, and why it fails through gates), Shrikumar et al. 2017 (between two runs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from interp.rules.activations import ACTIVATIONS, Activation, identity_rule
from interp.rules.layer_rules import LinearLayer, layer_vjp
from interp.rules.rules import Rules
from interp.rules.secants import activation_secant, product_secant
from interp.rules.surrogate import scale_gradient, surrogate, surrogate2

_OWN: Final = {own.name: own for own in ACTIVATIONS}
_TANH: Final = _OWN["tanh"]
_RELU: Final = _OWN["relu"]
_SIGMOID: Final = _OWN["sigmoid"]


class Steps:
    """The plain arithmetic, with torch's own gradient."""

    def linear(self, value: Tensor, layer: Callable[[], LinearLayer], *inputs: Tensor) -> Tensor:
        """`value`, which a dense layer makes of the inputs [batch ...] side by side."""
        return value

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def gate(self, x: Tensor) -> Tensor:
        """sigmoid(x)"""
        return x.sigmoid()

    def product(self, gate: Tensor, value: Tensor) -> Tensor:
        return gate * value


PLAIN_STEPS: Final = Steps()


@dataclass(frozen=True)
class RuledSteps(Steps):
    """The same under rules that stand at one run."""

    rules: Rules

    def linear(self, value: Tensor, layer: Callable[[], LinearLayer], *inputs: Tensor) -> Tensor:
        rule = self.rules.linear.dense
        if rule.name == "gradient":
            return value
        x = torch.cat(inputs, -1)
        return surrogate(x, value, layer_vjp(rule, layer(), x))

    def tanh(self, x: Tensor) -> Tensor:
        return surrogate(x, x.tanh(), identity_rule(_TANH, x)) if self.rules.act == "identity" else x.tanh()

    def gate(self, x: Tensor) -> Tensor:
        return scale_gradient(x.sigmoid(), 0.0 if self.rules.gate == 0.0 else 1.0)

    def product(self, gate: Tensor, value: Tensor) -> Tensor:
        return scale_gradient(gate * value, self.rules.gate or 1.0)


@dataclass(frozen=True)
class KeptSteps(Steps):
    """The plain arithmetic, whose operands go into `kept` in the order of the operations."""

    kept: list[tuple[Tensor, ...]]

    def tanh(self, x: Tensor) -> Tensor:
        self.kept.append((x,))
        return x.tanh()

    def relu(self, x: Tensor) -> Tensor:
        self.kept.append((x,))
        return x.relu()

    def gate(self, x: Tensor) -> Tensor:
        self.kept.append((x,))
        return x.sigmoid()

    def product(self, gate: Tensor, value: Tensor) -> Tensor:
        self.kept.append((gate, value))
        return gate * value


@dataclass(frozen=True)
class AveragedSteps(Steps):
    """The arithmetic averaged toward another run, whose operands come in the order in which `KeptSteps` kept them."""

    other: Iterator[tuple[Tensor, ...]]

    def tanh(self, x: Tensor) -> Tensor:
        return self._activation(_TANH, x, x.tanh())

    def relu(self, x: Tensor) -> Tensor:
        return self._activation(_RELU, x, x.relu())

    def gate(self, x: Tensor) -> Tensor:
        return self._activation(_SIGMOID, x, x.sigmoid())

    def product(self, gate: Tensor, value: Tensor) -> Tensor:
        return surrogate2(gate, value, gate * value, product_secant(gate, value, *next(self.other)))

    def _activation(self, f: Activation, x: Tensor, value: Tensor) -> Tensor:
        return surrogate(x, value, activation_secant(f, x, *next(self.other)))


# ---------------------------------------------------------------- which rules a layer can have


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer or cell: the name of its class, and whether it has gates."""

    name: str
    gated: bool

    def has_rule(self, rules: Rules) -> bool:
        """Whether `rules` give its steps another backward meaning; False where it keeps its gradient, or has none under them."""
        if self.refused(rules):
            return False
        gates = self.gated and rules.gate != 1.0
        return bool(rules.secants) or rules.act != "gradient" or gates or rules.linear.dense.name != "gradient"

    def refused(self, rules: Rules) -> str:
        """Why it has no rule under `rules`; '' where it has one, or keeps its gradient."""
        if not self.gated or rules.secants or rules.gate == 0.0:
            return ""
        if rules.act == "identity":
            return "f(x) / x of its gates, sigmoids, has a pole at 0; gate=0.0 holds them, and act='gradient', or deeplift, take them"
        if rules.linear.dense.name != "gradient":
            return "no rule of linear layers goes on through its gates, sigmoids; gate=0.0 holds them"
        return ""

    def ruled(self, rules: Rules) -> str:
        """What `rules` that stand at one run do in it, in words."""
        gates = {0.0: ("gates held",), 0.5: ("half rule",)}.get(rules.gate, ()) if self.gated else ()
        acts = ("f(x)/x",) if rules.act == "identity" else ()
        dense = rules.linear.dense
        return ", ".join((*gates, *acts, *((f"dense {dense}",) if dense.name != "gradient" else ())))
