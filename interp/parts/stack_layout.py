"""A chain of blocks over one residual stream: their sizes, what they have in common, and what of a stack something else can rely on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from interp.errors import LayoutError
from interp.parts.block_layout import AttentionLayout, BlockLayout
from interp.parts.sites import ENTERING, Site

#: What may be done with attention patterns: nothing, where there are none to see; `read`; or `edit` too, where z is the pattern times
#: the values that the query heads of a group share.
Pattern = Literal["", "read", "edit"]


@dataclass(frozen=True, repr=False, kw_only=True)
class Stack:
    """A chain of blocks over one residual stream with positions of its own.

    `name`: what its sites and nodes are prefixed with (`encoder:z.3`); empty for the stack that the output is read of, where there is one
    such. `causal`: no position looks at later ones. `ln_final`: the norm behind the last block, None without one.
    `attention_function`: attention goes through transformers' AttentionInterface, so q, k and v exist; `pattern`: what may be done with
    its patterns. `repeated`: modules of the blocks that are called several times in a forward, so that a site there is none.
    `rotary`: q and k are rotated. `pos_embed`: the module whose output is added to the token embedding, where there is one.
    `n_kv_heads`, `d_head`: the most of its layers, each of which has its own.
    `attention_extras`: what the configuration does inside attention besides the softmax (soft caps, clips).
    `entry`: None; of a net without blocks in which form its input is read (`interp.parts.ports.Form`), and `held`: about how many numbers
    its modules make of each position of that; `embedding`: where the input is whole numbers, the module whose output is read in its place.
    """

    name: str = ""
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int | None
    blocks: tuple[BlockLayout, ...]
    causal: bool
    ln_final: str | None
    rotary: bool
    pos_embed: str | None
    attention_function: bool
    pattern: Pattern
    repeated: frozenset[str]
    attention_extras: tuple[str, ...]
    entry: Literal["stream", "channels"] | None = None
    held: int = 0
    embedding: str = ""

    def check_blocks(self, what: str) -> None:
        """Raises: LayoutError for a net without blocks, naming what needs them."""
        if self.entry is not None:
            raise LayoutError(
                f"{what}: this net has no chain of blocks with attention. Its modules can be read and edited ('module:PATH'), and scored at "
                "levels 'modules' and 'channels'."
            )

    @property
    def attentions(self) -> tuple[AttentionLayout, ...]:
        """The attentions of all its blocks."""
        return tuple(own for block in self.blocks for own in block.attentions)

    @property
    def kv_heads(self) -> str:
        """How many heads of keys and values its layers have, in words."""
        return _each(own.n_kv_heads for own in self.attentions if own.heads)

    @property
    def head_widths(self) -> str:
        """How many numbers the heads of its layers have in z, in words."""
        return _each(own.d_head for own in self.attentions if own.heads)

    @property
    def sharing(self) -> str | None:
        """The path of its first attention that takes its keys and values from an earlier layer; None without such."""
        return next((own.module for own in self.attentions if own.kv_layer is not None), None)

    @property
    def layer_inputs(self) -> tuple[Site, ...]:
        """What its blocks are given of the tokens beside the stream: the site of each block that is."""
        layers = (layer for layer, block in enumerate(self.blocks) if block.given is not None)
        return tuple(Site(ENTERING[1], layer, stack=self.name) for layer in layers)

    @property
    def crosses(self) -> bool:
        """Whether its blocks attend to another stack too."""
        return any(block.cross is not None for block in self.blocks)

    def _check_even(self, what: str) -> None:
        """Raises: LayoutError where the heads of the layers are of several sizes."""
        if " " in self.kv_heads + self.head_widths:
            raise LayoutError(
                f"{what}: its layers have {self.kv_heads} heads of keys and values, of {self.head_widths} numbers; expected the same in each. "
                "Level 'heads' works."
            )

    def _check_two(self, what: str) -> None:
        """Raises: LayoutError where blocks add more than attention and MLP, or keep a part of the stream only."""
        for block in self.blocks:
            if block.beside:
                raise LayoutError(
                    f"{what}: beside attention and MLP {block.beside[0].writer} adds to the stream. Level 'heads' works."
                )
            if mixed := next((part for part in block.sublayers if part.place == "mixed"), None):
                raise LayoutError(
                    f"{what}: {mixed.writer} mixes positions of what components add. Level 'heads' works."
                )
            if block.first or not all(part.keeps for part in block.sublayers):
                part = next((part for part in block.sublayers if not part.keeps), None)
                how = block.first or (part and (part.keeper or part.bias)) or "a number"
                raise LayoutError(
                    f"{what}: {block.path} passes on more or less than the stream and what its parts add ({how}). Level 'heads' works."
                )

    def check_heads(self, what: str) -> None:
        """Raises: LayoutError where a layer mixes positions without attention, naming what needs heads in all that mix them."""
        if without := [own.module for own in self.attentions if not own.heads]:
            raise LayoutError(
                f"{what}: {without[0]} mixes positions without attention, so it has no heads. Level 'heads' works."
            )


def _each(found: Iterable[int]) -> str:
    """The different numbers, in words: `8`, `2 or 8`; `0` without any."""
    return " or ".join(map(str, sorted({*found}))) or "0"
