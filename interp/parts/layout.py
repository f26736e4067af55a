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
| `mixed` | x + s C(f(N(x))), C a module that mixes positions, such as a short convolution |

In each of them the stream x may be kept in part, k x or a learned vector times x, and what is added may have a bias of its own. Beside
attention and the MLP a block may have a mixer of positions without heads, and a second MLP.

A model has one stack of blocks or several, each with a stream of its own: an encoder and a decoder whose blocks attend to the
encoder's stream too, or two towers that only the output brings together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from torch import Tensor

from interp.errors import LayoutError, SiteError
from interp.parts.outputs import Kind, Output
from interp.parts.sites import ENTERING, FURTHER, Site, no_stack

#: The levels of nets without blocks: what each module returns, or each entry of its axis 1 (see `interp.attribution.net_levels`).
NET_LEVELS: Final = ("modules", "channels")
Place = Literal["pre", "after", "scaled", "around", "mixed"]
#: What may be done with attention patterns: nothing, where there are none to see; `read`; or `edit` too, where z is the pattern times
#: the values that the query heads of a group share.
Pattern = Literal["", "read", "edit"]


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
class HeadStep:
    """One module behind the blocks, which reads what the one before it makes: all of it, or (`at`) the first position (0) or the last (-1)."""

    path: str
    at: int | None


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


def _each(found: Iterable[int]) -> str:
    """The different numbers, in words: `8`, `2 or 8`; `0` without any."""
    return " or ".join(map(str, sorted({*found}))) or "0"


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
