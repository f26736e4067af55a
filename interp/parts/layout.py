"""Where the sites are inside a live model: its stacks of blocks, and how the logits come out of the last block.

Nothing here is looked up by architecture: `interp.model.probing` finds every path on watched forwards of the model itself and
checks it there, so a wrong map is an error and never a wrong number. What a block is says `block_layout`, what a stack is `stack_layout`.

A model has one stack of blocks or several, each with a stream of its own: an encoder and a decoder whose blocks attend to the
encoder's stream too, or two towers that only the output brings together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from interp.errors import LayoutError, SiteError
from interp.parts.block_layout import BlockLayout, MlpLayout, Sublayer
from interp.parts.outputs import Kind, Output
from interp.parts.sites import ENTERING, Site, no_stack
from interp.parts.stack_layout import Stack

#: The levels of nets without blocks: what each module returns, or each entry of its axis 1 (see `interp.attribution.net_levels`).
NET_LEVELS: Final = ("modules", "channels")


@dataclass(frozen=True)
class HeadStep:
    """One module behind the blocks, which reads what the one before it makes: all of it, or (`at`) the first position (0) or the last (-1)."""

    path: str
    at: int | None


@dataclass(frozen=True)
class Extent:
    """The sizes of all stacks together, for what they take in memory: so many layers, the largest of everything else; `held` of a net without
    blocks."""

    n_layers: int
    n_heads: int
    d_head: int
    d_model: int
    d_mlp: int | None
    d_vocab: int
    held: int = 0


@dataclass(frozen=True, repr=False, kw_only=True)
class Layout(Stack):
    """The map of a model: the stack whose stream is read last, the `others` that run before it, and how the logits come out.

    `unembed`: the linear map whose output is what comes out, None where there is none; `head`: the modules that make the output of the
    stream behind the last block, one of the other, none where they are not known; `logits_scale` multiplies it (`scale_before` of that in front of the unembedding), `logits_softcap` c means
    c * tanh(. / c) after it. `linear`: final norm and unembedding are all that is behind the last block. `output`: what of a forward is
    read, `d_vocab` numbers; `readout`: how they come out of the stream.
    """

    d_vocab: int
    output: Output
    readout: Kind
    unembed: str | None
    linear: bool
    head: tuple[HeadStep, ...]
    logits_scale: float
    logits_softcap: float | None
    others: tuple[Stack, ...] = ()
    scale_before: float = 1.0

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """All stacks in the order in which they run."""
        return (*self.others, self)

    @property
    def extent(self) -> Extent:
        """Its sizes over all stacks."""
        every = self.stacks
        neurons = [stack.d_mlp for stack in every if stack.d_mlp]
        return Extent(
            sum(stack.n_layers for stack in every),
            max(stack.n_heads for stack in every),
            max(stack.d_head for stack in every),
            max(stack.d_model for stack in every),
            max(neurons) if len(neurons) == len(every) else None,
            self.d_vocab,
            self.held,
        )

    @property
    def layers(self) -> dict[str, int]:
        """How many layers each stack has, by its name."""
        return {stack.name: stack.n_layers for stack in self.stacks}

    @property
    def every_block(self) -> tuple[BlockLayout, ...]:
        """The blocks of all stacks."""
        return tuple(block for stack in self.stacks for block in stack.blocks)

    @property
    def every_mlp(self) -> tuple[MlpLayout, ...]:
        """The MLPs of all stacks."""
        return tuple(mlp for block in self.every_block for mlp in block.mlps)

    @property
    def entrances(self) -> tuple[Site, ...]:
        """Where what a forward is given enters the blocks: the embedding of each stack, and what some of its blocks are given beside the
        stream. Together they are a cut."""
        embeds = tuple(Site(ENTERING[0], stack=stack.name) for stack in self.stacks)
        return (*embeds, *(site for stack in self.stacks for site in stack.layer_inputs))

    @property
    def editable(self) -> bool:
        """Whether the patterns of every attention may be edited."""
        return all(stack.pattern == "edit" for stack in self.stacks)

    def untouched(self, places: Iterable[tuple[str, int | None]]) -> tuple[str, ...]:
        """The paths of the blocks that nothing changed at these places (stack, layer) can reach: earlier ones, and other towers. Layer None:
        before all blocks of the stack."""
        first: dict[str, int] = {stack.name: 0 for stack in self.stacks if stack.sharing}  # later ones need their keys
        for name, layer in places:
            first[name] = min(first.get(name, self.stack(name).n_layers), layer or 0)
        if self.crosses and any(stack.name in first for stack in self.others):
            first[self.name] = 0
        return tuple(b.path for stack in self.stacks for b in stack.blocks[: first.get(stack.name, stack.n_layers)])

    def stack(self, name: str) -> Stack:
        """The stack of this name. Raises: SiteError."""
        found = next((stack for stack in self.stacks if stack.name == name), None)
        if found is None:
            raise SiteError(no_stack(name, self.layers))
        return found

    def check_single(self, what: str) -> None:
        """Raises: LayoutError where the model has several stacks, naming what needs one."""
        if self.others:
            names = ", ".join(repr(stack.name or "decoder") for stack in self.stacks)
            raise LayoutError(
                f"{what}: this model has several stacks ({names}); expected one residual stream. Levels 'heads', 'blocks' and 'neurons' "
                "work there."
            )

    def check_sum(self, what: str) -> None:
        """Raises: LayoutError where the final stream is no sum of what components add, where a parameter scales what they add, or where
        a layer has no heads, naming what needs it."""
        self.check_blocks(what)
        self.check_single(what)
        self.check_heads(what)
        if gains := [part.gain for block in self.blocks for part in block.sublayers if part.gain]:
            raise LayoutError(
                f"{what}: a parameter scales what components add ({gains[0]}), which is not known here. Level 'heads' works."
            )
        self.check_written(what)

    def check_written(self, what: str) -> None:
        """Raises: LayoutError where the final stream is no sum of what components add, naming what needs it."""
        self.check_blocks(what)
        self.check_single(what)
        parts: list[Sublayer] = [part for block in self.blocks for part in block.sublayers]
        if found := next((part.around for part in parts if part.around), None):
            raise LayoutError(
                f"{what}: the norms of this model act on the sums ({found}), so what a component adds does not reach later readers "
                "unchanged. Level 'heads' works."
            )
        self._check_even(what)
        if self.sharing:
            raise LayoutError(
                f"{what}: {self.sharing} takes its keys and values from an earlier layer. Level 'heads' works."
            )
        self._check_two(what)

    def check_head(self, what: str) -> None:
        """Raises: LayoutError where a token's logit is no linear function of the normed stream at its own position, naming what needs it."""
        self.check_blocks(what)
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
        kv = f", {self.kv_heads} of keys and values" if self.kv_heads != str(self.n_heads) else ""
        widths = f"d_model {self.d_model}, d_head {self.head_widths}, d_mlp {self.d_mlp}, d_vocab {self.d_vocab}"
        beside = "".join(f", {stack.name} of {stack.n_layers} layers" for stack in self.others)
        return f"Layout({self.n_layers} layers of {self.n_heads} heads{kv}, {widths}{beside})"
