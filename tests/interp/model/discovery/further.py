"""Decoders by hand that keep less of the stream, or add more to it than attention and one MLP: their equations, and near misses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from tests.interp.model.discovery.mixed_positions import Convolution, Recurrence
from tests.interp.model.discovery.written import Attention, Block, Config, Decoder, GatedMlp, Mlp
from tests.interp.model.tiny import randomise

Values = Mapping[str, Tensor]

# ---------------------------------------------------------------- what is kept


class Decayed(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = 0.9 * x + self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x))


class Halves(Block):
    """Both are less than whole, and neither number is written in the block or the configuration. The stream is scaled before the MLP reads
    it, so that an edit of what the MLP's norm reads is none of what is passed on."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = 0.75**0.5 * x + 0.5 * self.attn(self.n1(x), mask)
        return 0.8 * x + 0.6 * self.mlp(self.n2(x))


class DeepNorm(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.n1(1.7 * x + self.attn(x, mask))
        return self.n2(1.7 * x + self.mlp(x))


class BehindNorm(Block):
    """What is passed on is what the norm makes."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.n1(x)
        x = self.n2(x + self.attn(x, mask))
        return x + self.mlp(x)


class Weighted(Block):
    """A learned vector times the stream."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.w1, self.w2 = (nn.Parameter(torch.linspace(a, 1.4, c.wide)) for a in (0.5, -0.6))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.w1 * x + self.attn(self.n1(x), mask)
        written = self.mlp(self.n2(x))
        return self.w2 * x + written


class Scalar(Block):
    """A buffer scales all that the block gives, in place."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.n4 = nn.RMSNorm(c.wide), nn.RMSNorm(c.wide)
        self.register_buffer("level", torch.full((1,), 0.7))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.n3(self.attn(self.n1(x), mask))
        x = x + self.n4(self.mlp(self.n2(x)))
        x *= self.level
        return x


class Beside(Block):
    """Attention and MLP at once, beside a part of the stream."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return 0.6 * x + self.attn(self.n1(x), mask) + 0.5 * self.mlp(self.n2(x))


class AddingBias(Attention):
    """Attention that gives its bias apart."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.level = nn.Parameter(torch.linspace(-1, 1, c.wide))


class Biased(Block):
    attention = AddingBias

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + (self.attn(self.n1(x), mask) + self.attn.level)
        return x + self.mlp(self.n2(x))


# ---------------------------------------------------------------- what is added


class Two(Block):
    """Two MLPs at once behind one norm, one of them gated."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.also = GatedMlp(Config(inner=24))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + 0.3 * self.attn(self.n1(x), mask)
        n = self.n2(x)
        return x + 0.3 * (self.also(n) + self.mlp(n))


class Normed(Block):
    """Two MLPs with norms of their own in front and behind, and one norm behind both would be no sum: there is none."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.also, self.n3, self.n4 = Mlp(Config(inner=24)), nn.RMSNorm(c.wide), nn.RMSNorm(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x)) + self.n4(self.also(self.n3(x)))


class Macaron(Block):
    """Half an MLP before attention, half another behind it."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.first = nn.LayerNorm(c.wide), Mlp(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + 0.5 * self.first(self.n3(x))
        x = x + self.attn(self.n1(x), mask)
        return x + 0.5 * self.mlp(self.n2(x))


class TwoMixers(Block):
    """Attention and a recurrence at once behind one norm."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.flow = Recurrence(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        n = self.n1(x)
        x = x + (0.5 * self.flow(n) + 0.8 * self.attn(n, mask))
        return x + self.mlp(self.n2(x))


class Conformer(Macaron):
    """A convolution behind attention, and a norm behind all (Gulati et al. 2020)."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n4, self.n5, self.flow = nn.LayerNorm(c.wide), nn.LayerNorm(c.wide), Convolution(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + 0.5 * self.first(self.n3(x))
        x = x + self.attn(self.n1(x), mask)
        x = x + self.flow(self.n4(x))[0]
        return self.n5(x + 0.5 * self.mlp(self.n2(x)))


# ---------------------------------------------------------------- near misses


class Third(Macaron):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n4, self.more = nn.LayerNorm(c.wide), Mlp(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = super().forward(x, mask)
        return x + self.more(self.n4(x))


class Gate(nn.Module):
    """An MLP that is told something beside the stream."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.mlp, self.told = Mlp(c), nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        out: Tensor = self.mlp(x if other is None else x + self.told(other))
        return out


class _Told(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.also = nn.LayerNorm(c.wide), Gate(c)


class ToldConstant(_Told):
    """The second MLP is told a number of the block's own, by code of the block."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        x = x + self.mlp(self.n2(x))
        return x + self.also(self.n3(x), torch.ones_like(x).cumsum(-1))


class ToldAttention(_Told):
    """The second MLP is told what attention wrote."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        attended = self.attn(self.n1(x), mask)
        x = x + attended
        x = x + self.mlp(self.n2(x))
        return x + self.also(self.n3(x), attended)


class ReadsAttention(_Told):
    """The second MLP reads what attention wrote, and not the stream."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        attended = self.attn(self.n1(x), mask)
        x = x + attended
        return x + self.mlp(self.n2(x)) + self.also(self.n3(attended))


class KeptByToken(Block):
    """Each token says how much of the stream is kept."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.gate = nn.Linear(c.wide, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = torch.sigmoid(self.gate(x)) * x + self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x))


class Rotated(Block):
    """A matrix times the stream."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.turn = nn.Linear(c.wide, c.wide, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.turn(x) + self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x))


def _only_second(block: type[Block]) -> Callable[[Any, list[nn.Module]], list[nn.Module]]:
    return lambda config, blocks: [blocks[0], block(config)]


@dataclass(frozen=True)
class Further:
    """A block and its facts: by part, fields of its sublayer that are not those of a plain one; `first`; what behind the block is by the
    values at its sites and the block's own parameters. Paths are told from the block."""

    block: type[Block]
    after: Callable[[Any, Values], Tensor]
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    first: str | None = None
    missing: frozenset[str] = frozenset()
    rules: bool = True

    def make(self) -> Any:
        return made(self.block)


def made(block: Callable[[Any], nn.Module]) -> Any:
    """A decoder of two such blocks, with random weights."""
    torch.manual_seed(0)
    kind = type("Made", (Decoder,), {"block": staticmethod(block), "__module__": __name__})
    model = kind(Config(attn_implementation="eager"))
    randomise(model)
    return model.eval()


def _behind(norm: str, inner: Callable[[Any, Values], Tensor]) -> Callable[[Any, Values], Tensor]:
    return lambda block, v: block.get_submodule(norm)(inner(block, v))


def _sum(block: Any, v: Values) -> Tensor:
    return v["resid_mid"] + v["mlp_out"]


FURTHER: Final = {
    "a part of the stream is kept": Further(Decayed, _sum, {"attn": {"keep": 0.9}}),
    "parts of both": Further(
        Halves, lambda b, v: 0.8 * (0.75**0.5 * v["resid_pre"] + v["attn_out"]) + v["mlp_out"],
        {"attn": {"keep": 0.75**0.5, "scale": 0.5}, "mlp": {"keep": 0.8, "scale": 0.6}}, missing=frozenset({"resid_mid"}),
    ),
    "DeepNorm": Further(
        DeepNorm, _behind("n2", lambda b, v: 1.7 * v["resid_mid"] + v["mlp_out"]),
        {"attn": {"keep": 1.7, "around": "n1"}, "mlp": {"keep": 1.7, "around": "n2"}},
    ),
    "the norm is passed on": Further(BehindNorm, _sum, {"attn": {"around": "n2"}}, first="n1"),
    "a vector times the stream": Further(
        Weighted, lambda b, v: b.w2 * v["resid_mid"] + v["mlp_out"], {"attn": {"keeper": "w1"}, "mlp": {"keeper": "w2"}},
    ),
    "all scaled": Further(
        Scalar, lambda b, v: b.level * v["resid_mid"] + v["mlp_out"], {"mlp": {"keeper": "level", "gain": "level", "writer": "n4"}}
    ),
    "at once, a part kept": Further(
        Beside, lambda b, v: 0.6 * v["resid_pre"] + v["attn_out"] + v["mlp_out"],
        {"attn": {"keep": 0.6}, "mlp": {"scale": 0.5}}, missing=frozenset({"resid_mid"}),
    ),
    "a bias apart": Further(Biased, _sum, {"attn": {"bias": "attn.level"}}),
    "two MLPs at once": Further(
        Two, lambda b, v: v["resid_mid"] + v["mlp_out"] + v["second_mlp_out"],
        {"attn": {"scale": 0.3}, "mlp": {"scale": 0.3, "module": "mlp"}, "second": {"scale": 0.3, "module": "also"}},
        missing=frozenset({"mlp_in"}),
    ),
    "two MLPs, each with norms": Further(
        Normed, lambda b, v: v["resid_mid"] + v["mlp_out"] + v["second_mlp_out"],
        {"second": {"module": "also", "norm": "n3", "writer": "n4"}},
    ),
    "an MLP before": Further(
        Macaron, _sum, {"mlp": {"scale": 0.5, "module": "mlp"}, "second": {"scale": 0.5, "module": "first", "norm": "n3"}},
    ),
    "attention and a recurrence": Further(
        TwoMixers, _sum, {"attn": {"scale": 0.8}, "mixer": {"scale": 0.5, "module": "flow", "norm": "n1"}},
        missing=frozenset({"attn_in"}), rules=False,
    ),
    "Conformer": Further(
        Conformer, _behind("n5", _sum),
        {"mlp": {"scale": 0.5, "around": "n5"}, "second": {"scale": 0.5, "module": "first"}, "mixer": {"module": "flow", "norm": "n4"}}, rules=False,
    ),
}  # fmt: skip

#: Blocks that are near a form, and what their refusal names.
NEAR: Final[dict[str, tuple[type[Block], str]]] = {
    "three MLPs": (Third, r"layers\.0\b"),
    "told a constant": (ToldConstant, r"layers\.0\b.*also"),
    "told what attention wrote": (ToldAttention, r"layers\.0\b.*also"),
    "reads what attention wrote": (ReadsAttention, r"layers\.0\b.*also"),
    "each token keeps its part": (KeptByToken, r"layers\.0\b"),
    "a matrix times the stream": (Rotated, r"layers\.0\b"),
}
