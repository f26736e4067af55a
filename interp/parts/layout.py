"""Where the sites are inside a live model: its blocks, their sublayers, and how the logits come out of the last block.

Nothing here is looked up by architecture: `interp.model.probing` finds every path on watched forwards of the model itself and
checks it there, so a wrong map is an error and never a wrong number.

A sublayer f of a block changes the residual stream x by one of these steps (N a norm, s a factor):

| place of its norm | step |
| --- | --- |
| `pre` | x + s f(N(x)), or x + s f(x) without any norm |
| `after` | x + s N'(f(N(x))): what the second norm lets through is added |
| `scaled` | x + g * f(N(x)), g a learned vector (LayerScale, Touvron et al. 2021) |
| `around` | N(x + s f(x)): the norm acts on the sum (Vaswani et al. 2017) |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from interp.errors import LayoutError
from interp.parts.outputs import Kind, Output

Place = Literal["pre", "after", "scaled", "around"]
#: What may be done with attention patterns: nothing, where there are none to see; `read`; or `edit` too, where z is the pattern times
#: the values that the query heads of a group share.
Pattern = Literal["", "read", "edit"]


@dataclass(frozen=True)
class Branch:
    """What a gate is multiplied by: what the module at `path` returns, or one half of it (`half` 0 or 1) where gate and branch are one
    fused module."""

    path: str
    half: int | None = None

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
    stream. `around`: the norm that acts on the sum, where that is its place.
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


@dataclass(frozen=True)
class AttentionLayout(Sublayer):
    """Attention, or what mixes positions in its place. `o`: its output projection, whose input is z. `heads`: whether it has heads; a
    recurrence, linear attention or a convolution has none that are seen, and `o` is then its module, which writes."""

    o: str
    heads: bool

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
class HeadStep:
    """One module behind the blocks, which reads what the one before it makes: all of it, or (`at`) the first position (0) or the last (-1)."""

    path: str
    at: int | None


@dataclass(frozen=True)
class BlockLayout:
    """One block, at `path`: attention and MLP, one after the other, or (`parallel`) both reading what the block reads. `middle`: whether
    what the MLP reads of the stream, behind the norm around attention where there is one, is the tensor that is passed on too.
    """

    path: str
    attn: AttentionLayout
    mlp: MlpLayout
    parallel: bool
    middle: bool


@dataclass(frozen=True, repr=False)
class Layout:
    """The map of a model: sizes, blocks, and how the logits come out.

    `ln_final`: the norm between the last block and the unembedding, None without one. `unembed`: the linear map whose output is what
    comes out, None where there is none; `head`: the modules that make the output of the stream behind the last block, one of the other,
    none where they are not known; `logits_scale` multiplies it, `logits_softcap` c means c * tanh(. / c) after it. `linear`: final
    norm and unembedding are all that is behind the last block. `output`: what of a forward is read, `d_vocab` numbers; `readout`:
    how they come out of the stream. `causal`: no position looks at later ones.
    `attention_function`: attention goes through transformers' AttentionInterface, so q, k and v exist; `pattern`: what may be done with
    its patterns. `repeated`: modules of the blocks that are called several times in a forward, so that a site there is none.
    `rotary`: q and k are rotated. `pos_embed`: the module whose output is added to the token embedding, where there is one.
    `attention_extras`: what the configuration does inside attention besides the softmax (soft caps, clips).
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int | None
    d_vocab: int
    blocks: tuple[BlockLayout, ...]
    output: Output
    readout: Kind
    causal: bool
    ln_final: str | None
    unembed: str | None
    linear: bool
    head: tuple[HeadStep, ...]
    rotary: bool
    pos_embed: str | None
    logits_scale: float
    logits_softcap: float | None
    attention_function: bool
    pattern: Pattern
    repeated: frozenset[str]
    attention_extras: tuple[str, ...]

    def check_sum(self, what: str) -> None:
        """Raises: LayoutError where the final stream is no sum of what components add, where a parameter scales what they add, or where
        a layer has no heads, naming what needs it."""
        self.check_heads(what)
        parts: list[Sublayer] = [part for block in self.blocks for part in (block.attn, block.mlp)]
        if gains := [part.gain for part in parts if part.gain]:
            raise LayoutError(
                f"{what}: a parameter scales what components add ({gains[0]}), which is not known here. Level 'heads' works."
            )
        if found := next((part.around for part in parts if part.around), None):
            raise LayoutError(
                f"{what}: the norms of this model act on the sums ({found}), so what a component adds does not reach later readers "
                "unchanged. Level 'heads' works."
            )

    def check_heads(self, what: str) -> None:
        """Raises: LayoutError where a layer mixes positions without attention, naming what needs heads in all of them."""
        if without := [block.attn.module for block in self.blocks if not block.attn.heads]:
            raise LayoutError(
                f"{what}: {without[0]} mixes positions without attention, so it has no heads. Level 'heads' works."
            )

    def check_head(self, what: str) -> None:
        """Raises: LayoutError where a token's logit is no linear function of the normed stream at its own position, naming what needs it."""
        if self.readout != "each" or not self.linear:
            how = (
                "more than a norm and a linear map"
                if self.readout == "each"
                else f"one for the prompt ({self.readout} position)"
            )
            raise LayoutError(
                f"{what}: this model's output is {how}; expected logits of each position, linear in its stream."
            )

    def __repr__(self) -> str:
        kv = f", {self.n_kv_heads} of keys and values" if self.n_kv_heads != self.n_heads else ""
        widths = f"d_model {self.d_model}, d_head {self.d_head}, d_mlp {self.d_mlp}, d_vocab {self.d_vocab}"
        return f"Layout({self.n_layers} layers of {self.n_heads} heads{kv}, {widths})"
