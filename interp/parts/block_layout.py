"""One block of a live model, by module paths: its sublayers, and how each changes the residual stream.

A sublayer f of a block changes the residual stream x by one of these steps (N a norm, s a factor):

| place of its norm | step |
| --- | --- |
| `pre` | x + s f(N(x)), or x + s f(x) without any norm |
| `after` | x + s N'(f(N(x))): what the second norm lets through is added |
| `scaled` | x + g * f(N(x)), g a learned vector (LayerScale, Touvron et al. 2021) |
| `around` | N(x + s f(x)): the norm acts on the sum (Vaswani et al. 2017) |
| `mixed` | x + s C(f(N(x))), C a module that mixes positions, such as a short convolution |

In each of them the stream x may be kept in part, k x or a learned vector times x, and what is added may have a bias of its own. Beside
attention and the MLP a block may have a mixer of positions without heads, and a second MLP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from interp.errors import LayoutError
from interp.parts.sites import FURTHER

Place = Literal["pre", "after", "scaled", "around", "mixed"]


@dataclass(frozen=True)
class Branch:
    """What a gate is multiplied by: what the module at `path` returns, or one half of it (`half` 0 or 1) where gate and branch are one
    fused module; or what it is called with beside the stream, as the argument at this place or of this name (`given`), of `width` numbers for
    each position."""

    path: str
    half: int | None = None
    given: int | str | None = None
    width: int = 0

    def of(self, y: Tensor) -> Tensor:
        """The branch in the module's output `y` [... d], a view of it."""
        return y if self.half is None else y.chunk(2, dim=-1)[self.half]


@dataclass(frozen=True)
class Sublayer:
    """One step of a block, by module paths.

    `module`: attention: the module that calls the attention function; MLP: its module, the block itself where it has none of its own.
    `norm`: what stands in front, shared or not; None where the stream is read as it is. `entry`: the module that reads what the norm
    makes, or the stream; the block itself where several modules of it do. `reader`: the module whose input is this sublayer's own copy
    of the stream (the norm, or the entry); None where there is no such copy: both sublayers share one norm, or several modules read
    the stream.
    `writer`: the module whose output, times `scale` and, where there is one, times the vector of the parameter `gain`, is added to the
    stream, with the parameter `bias`, where there is one. `around`: the norm that acts on the sum, where that is its place. `keep`: what the
    stream itself is multiplied by there, and the path of the parameter or buffer that does so too (`keeper`).
    """

    module: str
    norm: str | None
    entry: str
    reader: str | None
    writer: str
    place: Place
    scale: float
    gain: str | None
    around: str | None
    bias: str | None = field(default=None, kw_only=True)
    keep: float = field(default=1.0, kw_only=True)
    keeper: str | None = field(default=None, kw_only=True)

    @property
    def keeps(self) -> bool:
        """Whether the stream is passed on as it is, and what is added has no bias but those of its modules."""
        return self.keep == 1.0 and self.keeper is None and self.bias is None


@dataclass(frozen=True)
class AttentionLayout(Sublayer):
    """Attention, or what mixes positions in its place. `o`: its output projection, whose input is z. `heads`: whether it has heads; a
    recurrence, linear attention or a convolution has none that are seen, and `o` is then its module, which writes. `n_kv_heads`, `d_head`:
    its heads of keys and values, and the numbers of a head in z; 0 without heads. `kv_layer`: the layer whose keys and values it attends to,
    where these are not its own."""

    o: str
    heads: bool
    n_kv_heads: int = field(default=0, kw_only=True)
    d_head: int = field(default=0, kw_only=True)
    kv_layer: int | None = field(default=None, kw_only=True)

    @property
    def plain(self) -> bool:
        """Whether the output projection writes into the stream, without a norm or a learned scale behind it."""
        return self.writer == self.o and self.gain is None


@dataclass(frozen=True)
class MlpLayout(Sublayer):
    """An MLP. `down`: its output projection, and `act` its activation, if it has one of each (a mixture of experts has not).
    `up`: the linear map into it that makes no gate; None where gate and that are one fused module. `branch`: what the activation's
    output is multiplied by, where gated. `reused`: the block adds in place into the MLP's output, so a read must not share memory
    with it.
    """

    up: str | None
    down: str | None
    act: str | None
    branch: Branch | None
    reused: bool

    @property
    def gated(self) -> bool:
        """Whether the activation's output is multiplied by another branch."""
        return self.branch is not None

    @property
    def plain(self) -> bool:
        """Whether the MLP itself writes into the stream, without a norm or a learned scale behind it."""
        return self.writer in (self.module, self.down) and self.gain is None


@dataclass(frozen=True)
class BlockLayout:
    """One block, at `path`: attention and MLP, one after the other, or (`parallel`) both reading what the block reads; or one of the two
    alone, and None in place of the other. Between them `cross`, attention to the stream of another stack, where there is one. `middle`:
    whether what follows attention reads of the stream, behind the norm around attention where there is one, is the tensor that is passed
    on too; `crossed`: the same behind `cross`. `mixer`: what mixes positions beside attention, without heads; `second`: a second MLP; each
    None where there is none. `first`: the norm that the stream passes before all of these.
    """

    path: str
    attn: AttentionLayout | None
    mlp: MlpLayout | None
    parallel: bool
    middle: bool
    cross: AttentionLayout | None = None
    crossed: bool = False
    mixer: AttentionLayout | None = None
    second: MlpLayout | None = None
    first: str | None = None

    @property
    def mlps(self) -> tuple[MlpLayout, ...]:
        """Its MLPs, the one that has neurons last."""
        return tuple(own for own in (self.second, self.mlp) if own is not None)

    def part(self, kind: str) -> Sublayer:
        """The part that a kind of node is: `mlp`, else attention or what is in its place. Raises: LayoutError where it has none."""
        found = self.mlp if kind == "mlp" else self.attn
        if found is None:
            raise LayoutError(
                f"{self.path}: it has {self.lacking}; expected {'an MLP' if kind == 'mlp' else 'attention'}."
            )
        return found

    @property
    def further(self) -> dict[str, Sublayer]:
        """Its parts beside attention and MLP, by the kind of site where they add."""
        found = zip(FURTHER, (self.mixer, self.second), strict=True)
        return {kind: part for kind, part in found if part is not None}

    @property
    def beside(self) -> tuple[Sublayer, ...]:
        """The same without the names."""
        return tuple(self.further.values())

    @property
    def given(self) -> Branch | None:
        """What comes of the tokens beside the stream and gates an MLP; None without such."""
        branches = (own.branch for own in self.mlps if own.branch is not None)
        return next((branch for branch in branches if branch.given is not None), None)

    @property
    def attentions(self) -> tuple[AttentionLayout, ...]:
        """Its attentions, in the order in which they act."""
        return tuple(own for own in (self.attn, self.cross) if own is not None)

    @property
    def sublayers(self) -> tuple[Sublayer, ...]:
        """All that adds to the stream; attention and MLP in order."""
        return (*self.attentions, *self.beside, *(() if self.mlp is None else (self.mlp,)))

    @property
    def heads(self) -> bool:
        """Whether it has attention, and not something else that mixes positions in its place, or nothing."""
        return self.attn is not None and self.attn.heads

    @property
    def fronts(self) -> tuple[str, ...]:
        """The norms in front of attention and MLP, each once."""
        return tuple(dict.fromkeys(own.norm for own in (self.attn, self.mlp) if own is not None and own.norm))

    @property
    def one_norm(self) -> bool:
        """Whether one norm stands in front of both attention and MLP."""
        norms = [own.norm for own in (self.attn, self.mlp) if own is not None]
        return len(norms) == 2 and norms[0] is not None and norms[0] == norms[1]

    @property
    def both(self) -> tuple[AttentionLayout, MlpLayout]:
        """Attention and MLP of a block that has both. Raises: LayoutError where one is missing."""
        if self.attn is None or self.mlp is None:
            raise LayoutError(f"{self.path}: it has {self.lacking}; expected attention and an MLP.")
        return self.attn, self.mlp

    @property
    def lacking(self) -> str:
        """What a block of one sublayer has not, in words; '' where it has both."""
        return "no attention" if self.attn is None else "no MLP" if self.mlp is None else ""
