"""The backward meaning of norm, activation, gate and attention. The forward pass is never touched.

| part | value | coefficient, held constant in the backward pass |
| --- | --- | --- |
| norm | `gradient` | the full VJP |
| | `frozen` | scale frozen: g -> w g / sigma, mean subtraction kept (LN-rule, Ali et al. 2022) |
| act | `gradient` | f'(x) |
| | `identity` | f(x) / x, analytic (identity rule, Jafari et al. 2024) |
| gate | 1.0 | the product rule |
| | 0.5 | half of it for each factor (half rule, Arras et al. 2019) |
| | 0.0 | the gate branch is detached; all goes through the other factor (CP-LRP, Ali et al. 2022) |
| attention | `AttentionRule` | coefficients on q and k, on v, and the temperature of the softmax VJP |
| linear | `LinearRule` | of convolutions and dense layers, in nets without blocks: LRP rules (`interp.rules.layer_rules`) |
| secants | n > 0 | every operation's Jacobian averaged between its inputs in this run and another (`interp.rules.secants`) |

Everything else that is linear (projections, embeddings, residual additions, rotary) keeps its gradient, which is the 0-rule. Rules of act or gate
hold the weights of experts constant too, and act on the functions in them (`interp.rules.mixtures`). In nets without blocks act, gate and linear
also speak of the steps of recurrent layers (`interp.rules.recurrences`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from interp.errors import UnsupportedRuleError, unknown
from interp.formatting.showing import card
from interp.precision import wide
from interp.registries import About, Registry
from interp.rules.activations import module_value
from interp.rules.layer_rules import PLAIN, LinearRule
from interp.rules.surrogate import VJP
from interp.whole_numbers import is_whole


@dataclass(frozen=True)
class AttentionRule:
    """`qk` multiplies the gradients of q and k, `v` that of v; the softmax VJP is taken at softmax(scores / temperature).

    `AttentionRule(qk=0)` freezes the pattern (AH-rule): relevance flows through v only.
    """

    qk: float = 1.0
    v: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.qk <= 1 and 0 <= self.v <= 1 and self.temperature > 0):
            raise UnsupportedRuleError(f"{self}: qk and v must be in [0, 1] and temperature positive.")


@dataclass(frozen=True)
class Rules:
    """A propagation rule set: a value that is applied for one run.

    `secants`: 0, or the number of points at which a softmax is averaged; the other parts then keep their defaults.

    Raises: UnsupportedRuleError for a value that is not in the table of this module.
    """

    norm: Literal["gradient", "frozen"] = "gradient"
    act: Literal["gradient", "identity"] = "gradient"
    gate: float = 1.0
    attention: AttentionRule = AttentionRule()
    secants: int = 0
    linear: LinearRule = PLAIN

    def __post_init__(self) -> None:
        for name, valid in (("norm", ("gradient", "frozen")), ("act", ("gradient", "identity"))):
            if getattr(self, name) not in valid:
                raise UnsupportedRuleError(unknown(f"{name} rule", getattr(self, name), valid))
        if self.gate not in (1.0, 0.5, 0.0):
            raise UnsupportedRuleError(
                f"gate rule {self.gate!r}: expected 1.0 (gradient), 0.5 (half) or 0.0 (gate detached)."
            )
        if not isinstance(self.attention, AttentionRule):
            raise UnsupportedRuleError(f"attention rule {self.attention!r}: expected an AttentionRule.")
        if not isinstance(self.linear, LinearRule):
            raise UnsupportedRuleError(f"linear rule {self.linear!r:.80}: expected a LinearRule.")
        if not is_whole(self.secants) or self.secants < 0:
            raise UnsupportedRuleError(f"secants={self.secants!r}: expected a number of points of a softmax, or 0.")
        object.__setattr__(self, "secants", int(self.secants))
        if self.secants and replace(self, secants=0) != Rules():
            raise UnsupportedRuleError("secants stand for every operation; leave the other parts as they are.")

    @property
    def in_attention(self) -> bool:
        """Whether they change what attention means in the backward pass."""
        return bool(self.secants) or self.attention != AttentionRule()

    def at_points(self, n: int) -> Rules:
        """The same with `n` points of a softmax, where they are averages between two runs."""
        return replace(self, secants=n) if self.secants else self

    def describe(self) -> str:
        """The parts that differ from the plain gradient, in one line."""
        if self.secants:
            return f"Jacobians averaged between two runs, softmax at {self.secants} points"
        parts = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ", ".join(parts) or "plain gradient"

    def _repr_html_(self) -> str:
        return str(card(self))


GRADIENT: Final = Rules()
RELP: Final = Rules(norm="frozen", act="identity", gate=0.5)
RELP_AH: Final = Rules(norm="frozen", act="identity", gate=0.5, attention=AttentionRule(qk=0.0))
ATTNLRP: Final = Rules(norm="frozen", act="identity", gate=0.5, attention=AttentionRule(qk=0.25, v=0.5))
CP_LRP: Final = Rules(norm="frozen", gate=0.0, attention=AttentionRule(qk=0.0))
GIM: Final = Rules(norm="frozen", gate=0.5, attention=AttentionRule(qk=0.25, v=0.5, temperature=2.0))
DEEPLIFT: Final = Rules(secants=8)


@dataclass(frozen=True)
class Preset:
    """A rule set with a name: what it does, in a sentence, and where it is from."""

    name: str
    rules: Rules
    sentence: str
    source: str = ""

    @property
    def about(self) -> About:
        return About(self.sentence, source=self.source)


#: The presets of the toolkit, the plain gradient first.
OWN: Final = (
    Preset("gradient", GRADIENT, "the plain gradient"),
    Preset(
        "relp",
        RELP,
        "scale of norms held, activations as f(x) / x, half of a product to each factor",
        "Jafari et al. 2025",
    ),
    Preset("relp-ah", RELP_AH, "as relp, with attention patterns held", "Ali et al. 2022; Jafari et al. 2025"),
    Preset(
        "attnlrp", ATTNLRP, "as relp, with half to the values and a quarter to queries and keys", "Achtibat et al. 2024"
    ),
    Preset("cp-lrp", CP_LRP, "scale of norms, gates and attention patterns held", "Ali et al. 2022"),
    Preset("gim", GIM, "norms and products as attnlrp, the softmax at temperature 2", "Edin et al. 2025"),
    Preset(
        "deeplift",
        DEEPLIFT,
        "the Jacobian of each operation, averaged between its inputs in this run and another",
        "Shrikumar et al. 2017",
    ),
)
PRESETS: Final = Registry("rule preset", "interp.presets", UnsupportedRuleError, OWN)


def preset(name: str) -> Rules:
    """The preset of this name. Raises: UnsupportedRuleError with the near names."""
    return PRESETS[name].rules


# ---------------------------------------------------------------- norms: y = w (x - centre) / sigma + b

_EPS_NAMES: Final = ("eps", "variance_epsilon", "epsilon", "layer_norm_epsilon")
_EPS_DEFAULTS: Final = (1e-5, 1e-6, 1e-12)


@dataclass(frozen=True)
class Norm:
    """A recognised norm over the last axis: with or without mean subtraction, its eps, and weight = parameter + offset."""

    centred: bool
    eps: float
    offset: float | None

    @property
    def name(self) -> str:
        return "LayerNorm" if self.centred else "RMSNorm"

    def weight(self, module: nn.Module) -> Tensor | float:
        """The factor w; 1 for a norm without parameters."""
        return 1.0 if self.offset is None else module.weight.detach() + self.offset  # type: ignore[operator]

    def inverse_sigma(self, x: Tensor) -> Tensor:
        """1 / sigma, shape of `x` with a last axis of one, in float32 or better."""
        x = wide(x.detach())
        centred = x - x.mean(-1, keepdim=True) if self.centred else x
        return torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.eps)

    def apart(self, x: Tensor) -> Tensor:
        """`x` with what is normed together along its last axis: as it is."""
        return x

    def forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """The norm by its formula, to compare with what the module computes."""
        x = x.double()
        centred = x - x.mean(-1, keepdim=True) if self.centred else x
        bias = getattr(module, "bias", None)
        y = centred * self.inverse_sigma(x) * self.weight(module)
        return y if bias is None else y + bias.detach()


@dataclass(frozen=True)
class GroupedNorm(Norm):
    """A norm over groups of channels [batch channel ...] and all places together (Wu & He 2018). `axes`: how many axes there are behind the
    channels; the numbers that are normed together stand along the last axis of [batch group number]."""

    groups: int = 1
    axes: int = 0

    @property
    def name(self) -> str:
        return f"GroupNorm of {self.groups}"

    def weight(self, module: nn.Module) -> Tensor | float:
        """The factor of each channel, with the axes behind it."""
        return 1.0 if self.offset is None else self._of_channels(module.weight)

    def _of_channels(self, x: Any) -> Tensor:
        found: Tensor = x.detach().view(-1, *[1] * self.axes)
        return found

    def apart(self, x: Tensor) -> Tensor:
        """[batch channel ...] -> [batch group number]"""
        return x.reshape(len(x), self.groups, -1)

    def inverse_sigma(self, x: Tensor) -> Tensor:
        """1 / sigma [batch group 1], in float32 or better."""
        return super().inverse_sigma(self.apart(x))

    def forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """The norm by its formula, to compare with what the module computes."""
        own = self.apart(x.double())
        y = ((own - own.mean(-1, keepdim=True)) * self.inverse_sigma(x.double())).reshape(x.shape) * self.weight(module)
        return y if self.offset is None else y + self._of_channels(module.bias)


def recognise_norm(module: nn.Module, x: Tensor) -> Norm | None:
    """The norm that `module` computes at a random point shaped like its real input `x`, or None."""
    generator = torch.Generator().manual_seed(0)
    point = (3 * torch.randn(x.shape, generator=generator, dtype=torch.float32) + 0.5).to(x)
    y = module_value(module, point) if point.numel() else None
    if y is None:
        return None
    has_weight = getattr(module, "weight", None) is not None
    if isinstance(module, nn.GroupNorm):
        grouped = GroupedNorm(True, module.eps, 0.0 if has_weight else None, module.num_groups, x.ndim - 2)
        return grouped if (value := _formula(grouped, module, point)) is not None and _agrees(value, y) else None
    own_eps = next((getattr(module, n) for n in _EPS_NAMES if isinstance(getattr(module, n, None), float)), None)
    if own_eps is None and isinstance(module, nn.RMSNorm):  # torch's default
        own_eps = torch.finfo(x.dtype).eps
    for centred in (True, False):
        for eps in (own_eps,) if own_eps is not None else _EPS_DEFAULTS:
            for offset in (0.0, 1.0) if has_weight else (None,):
                norm = Norm(centred, eps, offset)
                if (expected := _formula(norm, module, point)) is not None and _agrees(expected, y):
                    return norm
    return None


def _formula(norm: Norm, module: nn.Module, x: Tensor) -> Tensor | None:
    """The norm by its formula; None where weight and bias of `module` are not those of a norm over the last axis."""
    try:
        return norm.forward(module, x)
    except (RuntimeError, TypeError, AttributeError):
        return None


def _agrees(formula: Tensor, y: Tensor) -> bool:
    if formula.shape != y.shape:
        return False
    tolerance = 1e-5 if y.dtype in (torch.float32, torch.float64) else 2e-2
    return bool((formula - y.double()).abs().max() <= tolerance * formula.abs().max())


def frozen_norm(norm: Norm, module: nn.Module, x: Tensor) -> VJP:
    """Backward of the LN-rule at `x` [..., d] (or groups of channels): g -> w g / sigma, minus its mean over d where the norm centres."""
    inverse_sigma, weight = norm.inverse_sigma(x), norm.weight(module)

    def vjp(grad: Tensor) -> Tensor:
        g = norm.apart(grad.to(inverse_sigma.dtype) * weight) * inverse_sigma
        return (g - g.mean(-1, keepdim=True) if norm.centred else g).reshape(grad.shape).to(grad.dtype)

    return vjp
