"""Models that are refused, each with what the refusal must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor, nn

from tests.interp.model.discovery import odd_blocks as odd
from tests.interp.model.discovery import steps
from tests.interp.model.discovery.further import NEAR
from tests.interp.model.discovery.shared_keys import SharedKeys
from tests.interp.model.discovery.written import Config, Decoder
from tests.interp.model.tiny import randomise


def _of(block: Callable[[Any], nn.Module]) -> Callable[[], Any]:
    return lambda: _made(type("Made", (Decoder,), {"block": staticmethod(block), "__module__": __name__}))


def _made(model: Any) -> Any:
    torch.manual_seed(0)
    made = model(Config(attn_implementation="eager"))
    randomise(made)
    return made.eval()


class Widening(Decoder):
    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList([odd.Wider(config), blocks[1]])

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.layers[1](self.layers[0](x, mask)[..., 8:], mask)  # type: ignore[no-any-return]


class Repeated(Decoder):
    """One block, called as often as the model is deep."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList(blocks[:1])

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(super().through(x, mask), mask)


class ListedTwice(Decoder):
    """One block, twice in the list."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList([blocks[0], blocks[0]])


class LeftOut(Decoder):
    """The last block of the list never runs."""

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.layers[0](x, mask)  # type: ignore[no-any-return]


class HyperConnected(Decoder):
    block = odd.HyperConnected

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(x.unsqueeze(2).expand(-1, -1, 2, -1), mask).sum(2)


class PositionsFirst(Decoder):
    block = odd.PositionsFirst

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(x.transpose(0, 1), mask).transpose(0, 1)


class GivesMapping(Decoder):
    block = odd.InMapping

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)["stream"]
        return x


class TakesTuple(Decoder):
    block = odd.OfTuple

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return nn.Sequential(*self.layers)((x, mask))[0]  # type: ignore[no-any-return]


class InPairs(Decoder):
    """A list of lists: no module is a block that is called."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        pairs = ((odd.AttentionAlone(config), odd.MlpAlone(config)) for _ in blocks)
        self.layers = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for pair in self.layers:
            for layer in pair:  # type: ignore[attr-defined]
                x = layer(x, mask)
        return x


class Columns(Decoder):
    """A list of attentions, of norms and of MLPs each, and the model adds them up."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        parts = {name: [getattr(block, name) for block in blocks] for name in ("attn", "mlp", "n1", "n2")}
        self.attentions, self.mlps, self.first, self.second = map(nn.ModuleList, parts.values())

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for attn, mlp, n1, n2 in zip(self.attentions, self.mlps, self.first, self.second, strict=True):
            x = x + attn(n1(x), mask)
            x = x + mlp(n2(x))
        return x


class OneMlp(Decoder):
    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        blocks[1].mlp = blocks[0].mlp
        self.layers = nn.ModuleList(blocks)


# ---------------------------------------------------------------- between blocks, and at the end


class Returning(Decoder):
    """What enters the first block is added again between the blocks."""

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.layers[1](self.layers[0](x, mask) + 0.5 * x, mask)  # type: ignore[no-any-return]


class MixedKeys(SharedKeys):
    """The second block attends to its own keys and values plus those of the first."""

    def taken(self, own: tuple[Tensor, ...], kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return own[0], own[1] + kept[1], own[2] + kept[2]


class OneOfBoth(SharedKeys):
    """The second block attends to the keys of the first with values of its own."""

    def taken(self, own: tuple[Tensor, ...], kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return own[0], kept[1], own[2]


class Averaging(Decoder):
    """The logits read the mean of what both blocks give."""

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        first = self.layers[0](x, mask)
        return (first + self.layers[1](first, mask)) / 2  # type: ignore[no-any-return]


class Prefixed(Decoder):
    """Two learned vectors stand before the tokens: positions of the stream are not those of the ids."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.prefix = nn.Parameter(torch.randn(1, 2, config.wide))

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(torch.cat([self.prefix.expand(len(x), -1, -1), x], dim=1), None)[:, 2:]


class InTuple(Decoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return (super().forward(*args, **kwargs).logits,)


class Unnamed(Decoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(scores=super().forward(*args, **kwargs).logits)


class Headless(Decoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return {"last": super().forward(*args, **kwargs).logits}


class Pooled(Decoder):
    """One row of logits for a whole text."""

    def read(self, x: Tensor) -> Tensor:
        return super().read(x).mean(1)


@dataclass(frozen=True)
class Refused:
    """A model, and a pattern of what the refusal must name."""

    make: Callable[[], Any]
    names: str


#: Each fault, with what must be named.
REFUSED: Final[dict[str, Refused]] = {
    **{name: Refused(_of(block), names) for name, (block, names) in NEAR.items()},
    "times a gate of attention": Refused(_of(odd.Times), r"layers\.0\b"),
    "MLP first": Refused(lambda: _made(steps.MlpFirst), r"layers\.0: its MLP .* comes before its attention"),
    "highway": Refused(_of(odd.Highway), r"layers\.0\b"),
    "a third summand": Refused(_of(odd.Biased), r"layers\.0\b"),
    "a gate for each token": Refused(_of(odd.TokenGate), r"layers\.0\b"),
    "attention feeds the MLP alone": Refused(_of(odd.Serial), r"layers\.0\b"),
    "written behind": Refused(_of(odd.WrittenBehind), r"layers\.0\b.*in place"),
    "one norm for both": Refused(_of(odd.OneNorm), r"layers\.0\.(n1|n2)\b.*more than once"),
    "blocks give a mapping": Refused(lambda: _made(GivesMapping), r"layers\.0\b.*dict"),
    "blocks take a tuple": Refused(lambda: _made(TakesTuple), r"layers\.0\b.*tuple"),
    "a module for each head": Refused(_of(odd.Single), r"layers\.0\b"),
    "blocks that are lists": Refused(lambda: _made(InPairs), r"layers\.0\b.*call"),
    "no module is a block": Refused(
        lambda: _made(Columns), r"attentions\.0: what it gives is what its attention writes"
    ),
    "one MLP for all": Refused(lambda: _made(OneMlp), r"layers\.1\b"),
    "written in place": Refused(_of(odd.WrittenInPlace), r"layers\.0\b.*in place"),
    "written before it is read": Refused(_of(odd.WrittenBefore), r"layers\.0\b.*in place"),
    "no attention at all": Refused(_of(odd.NoAttention), "attention"),
    "an MLP that bends what it writes": Refused(_of(odd.Faint), r"layers\.0\b.*MLP: layers\.0\.mlp"),
    "an MLP of all positions": Refused(_of(odd.OfAllPositions), r"layers\.0\b.*each position by itself"),
    "two attentions": Refused(_of(odd.TwoAttentions), r"layers\.0\b"),
    "projection by a parameter": Refused(
        _of(odd.Bare),
        r"layers\.0: the first linear module behind its attention \(layers\.0\.attn\) is layers\.0\.mlp\.up",
    ),
    "another width": Refused(lambda: _made(Widening), r"layers\.[01]\b"),
    "a block called twice": Refused(lambda: _made(Repeated), r"layers\.0\b"),
    "a block listed twice": Refused(lambda: _made(ListedTwice), r"layers\.0\b"),
    "a block that never runs": Refused(
        lambda: _made(LeftOut), r"layers\.1 is not called in a forward pass.*leave it out of the list"
    ),
    "two streams": Refused(lambda: _made(HyperConnected), r"layers\.0\b"),
    "positions first": Refused(lambda: _made(PositionsFirst), r"layers\.0: .*positions first"),
    "added between blocks": Refused(lambda: _made(Returning), r"layers\.1\b"),
    "keys of its own and an earlier block": Refused(
        lambda: _made(MixedKeys), r"layers\.1: it reads more than the stream"
    ),
    "keys alone of an earlier block": Refused(lambda: _made(OneOfBoth), r"layers\.1: it reads more than the stream"),
    "a mean at the end": Refused(lambda: _made(Averaging), "last block"),
    "vectors before the tokens": Refused(lambda: _made(Prefixed), r"layers\.\d\b|positions"),
    "logits in a tuple": Refused(lambda: _made(InTuple), "InTuple.*logits"),
    "logits by another name": Refused(lambda: _made(Unnamed), "Unnamed.*logits"),
    "a dictionary without logits": Refused(lambda: _made(Headless), "Headless.*logits"),
}
