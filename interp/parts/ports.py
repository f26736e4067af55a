"""How each site is reached in a live model: at the input or output of a module, or inside the attention function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from interp.errors import SiteError
from interp.parts.block_layout import AttentionLayout, BlockLayout, MlpLayout, Sublayer
from interp.parts.layout import Layout
from interp.parts.sites import ATTENTION_KINDS, CROSS, ENTERING, FURTHER, GLOBAL, LAYERED, MODULE, SUMS, Site
from interp.parts.stack_layout import Stack

#: In which shape a site is: of the `stream` [batch pos ...], heads apart where there are some; of `channels` [batch channel ...] as
#: [batch pos channel], of numbers [batch number] as [batch number 1]; or as the module has it (`own`).
Form = Literal["stream", "channels", "own"]
Where = Literal["input", "input_copy", "input_inplace", "output", "attention", "logits"]


@dataclass(frozen=True)
class Port:
    """Where a site is.

    `input`: the argument of module `path`; an edit gives the module (and what follows in it) another one.
    `input_copy`: the same argument seen by this module alone, apart from the skip connection that shares it.
    `input_inplace`: the same argument together with the skip connection: an edit is written into the tensor.
    `output`: what the module returns. `form`: see `Form`. `scale`: the site's value is this times the tensor, and times the parameter at
    `gain`, plus `shift`, and plus the parameter at `bias`. `heads`: how many heads stand side by side in it, 0 where they are not apart. `argument`: of an `input`, which argument, by its place or its name; None: the
    activation that the module is called with. `half`: the site is this half (0 or 1) of the last axis alone, the rest passes as it is.
    """

    where: Where
    path: str = ""
    scale: float | Tensor = 1.0
    gain: str | None = None
    heads: int = 0
    shield: bool = False
    form: Form = "stream"
    bias: str | None = None
    shift: Tensor | None = None
    argument: int | str | None = None
    half: int | None = None

    @property
    def scaled(self) -> bool:
        return isinstance(self.scale, Tensor) or self.scale != 1.0 or self.shift is not None

    def of(self, model: Any) -> Port:
        """The same with the gain and the bias of a live model in its scale and shift."""
        scale = self.scale if self.gain is None else self.scale * held(model, self.gain)
        shift = None if self.bias is None else scale * held(model, self.bias)
        return self if scale is self.scale and shift is None else replace(self, scale=scale, shift=shift)


def held(model: Any, path: str) -> Tensor:
    """A parameter or a buffer of a live model."""
    module, _, name = path.rpartition(".")
    found: Tensor = getattr(model.get_submodule(module), name)
    return found.detach()


def port(site: Site, layout: Layout) -> Port:
    """The port of a site. Raises: SiteError, with the reason, where this model has no such place."""
    found: Port | str
    if site.kind == MODULE:
        return Port("input" if site.into else "output", site.path, shield=True, form="own")
    if site.kind == "logits":
        found = Port("logits")
    else:
        stack = layout.stack(site.stack)
        found = (
            _global(site.kind, stack) if site.layer is None else _in_block(site.kind, stack.blocks[site.layer], stack)
        )
    if isinstance(found, str):
        raise SiteError(f"site '{site}' is not available on this model: {found}")
    return found


def _global(kind: str, stack: Stack) -> Port | str:
    if stack.entry is not None:
        start = Port("output", stack.embedding) if stack.embedding else Port("input", form=stack.entry)
        return start if kind == "embed" else NO_BLOCKS
    if kind == "embed":
        return Port("input", stack.blocks[0].path)
    return Port("input", stack.ln_final) if stack.ln_final else Port("output", stack.blocks[-1].path)


def _in_block(kind: str, block: BlockLayout, stack: Stack) -> Port | str:
    attention = block.cross if _is_cross(kind) else block.attn
    if attention is None and _is_cross(kind):
        return "its blocks attend to no other stack."
    if attention is not None and not attention.heads and (kind in ATTENTION_KINDS or kind == "z"):
        return (
            "no attention is seen in what mixes positions there (a recurrence, linear attention, a convolution, or torch's nn.MultiheadAttention, whose "
            "projections are no modules that are called), so it has no heads."
        )
    if kind in ATTENTION_KINDS:
        if attention is None:
            return _lacking(block)
        if not stack.attention_function:
            return "its attention does not go through transformers' AttentionInterface."
        lacking = kind.endswith("pattern") and not stack.pattern
        return "its attention function gives no pattern." if lacking else Port("attention", attention.module)
    found = _BLOCK_PORTS[kind](block)
    if isinstance(found, Port) and found.path in stack.repeated:
        return f"its module, {found.path}, is called several times in a forward pass."
    return found


def _is_cross(kind: str) -> bool:
    """Whether a kind of site is of attention to another stack, or behind it."""
    return kind.startswith(CROSS) or kind == "resid_cross"


def _own_copy(block: BlockLayout, reader: str | None) -> Port | str:
    if reader is not None:
        return Port("input_copy", reader)
    return "attention and MLP share one norm, so neither reads a copy of its own." if block.one_norm else _SEVERAL


def _lacking(block: BlockLayout) -> str:
    """Why a block of one sublayer has not the sites of the other, nor a stream between the two."""
    return f"it has {block.lacking} there."


def _alone(block: BlockLayout, own: Sublayer) -> Port | str:
    """The copy of the stream that attention or the MLP reads, where no part beside them reads it too."""
    if other := next((part for part in block.beside if own.norm is not None and part.norm == own.norm), None):
        return f"{other.entry} reads what the same norm makes, so it is no copy of its own."
    return _own_copy(block, own.reader)


def _added(own: Sublayer | None, *, shield: bool = False) -> Port | str:
    """What a part adds to the stream, where there is such a part."""
    if own is None:
        return "attention and one MLP are all that adds to the stream there."
    return Port("output", own.writer, scale=own.scale, gain=own.gain, bias=own.bias, shield=shield)


def _layer_input(block: BlockLayout) -> Port | str:
    if block.given is None:
        return "the stream is all that it is given of the tokens."
    return Port("input", block.given.path, argument=block.given.given)


def _summed(part: Sublayer | None) -> Port | str:
    """The sum that a part adds to, where a norm acts on it."""
    if part is None or part.around is None:
        return "no norm acts on that sum there: it is the stream behind it."
    return Port("input", part.around)


def _resid_mid(block: BlockLayout) -> Port | str:
    if block.attn is None or block.mlp is None:
        return _lacking(block)
    if block.parallel:
        return "attention and MLP run in parallel; there is no residual stream between them."
    return _between(block.attn, block.cross or block.mlp, block.middle)


def _resid_cross(block: BlockLayout) -> Port | str:
    if block.cross is None or block.mlp is None:
        return _SEVERAL
    return _between(block.cross, block.mlp, block.crossed)


def _between(before: Sublayer, after: Sublayer, passed_on: bool) -> Port | str:
    """The stream between two sublayers."""
    if after.reader is None and before.around is None:
        return _SEVERAL
    if not passed_on:
        what = "the MLP" if isinstance(after, MlpLayout) else "attention to the other stack"
        return f"what {what} reads of the stream there is another tensor than the one that is passed on."
    if before.around is not None:
        return Port("output", before.around)
    return Port("input_inplace", after.reader) if after.reader else _SEVERAL


def _crossing(make: Callable[[AttentionLayout], Port | str]) -> Callable[[BlockLayout], Port | str]:
    """A port of the attention to another stack, which the block has."""
    return lambda block: _SEVERAL if block.cross is None else make(block.cross)


def _of_attention(make: Callable[[AttentionLayout, BlockLayout], Port | str]) -> Callable[[BlockLayout], Port | str]:
    """A port of attention, or of what mixes positions in its place."""
    return lambda block: _lacking(block) if block.attn is None else make(block.attn, block)


def _of_mlp(make: Callable[[MlpLayout, BlockLayout], Port | str]) -> Callable[[BlockLayout], Port | str]:
    """A port of the MLP."""
    return lambda block: _lacking(block) if block.mlp is None else make(block.mlp, block)


def _mlp_normed(mlp: MlpLayout, block: BlockLayout) -> Port | str:
    if mlp.entry != block.path:
        return Port("input", mlp.entry)
    others = [part.norm for part in (block.attn, *block.beside) if part is not None]
    return Port("output", mlp.norm) if mlp.norm is not None and mlp.norm not in others else _SEVERAL


def _mlp_up(mlp: MlpLayout, block: BlockLayout) -> Port | str:
    if mlp.act is None:
        return _EXPERTS
    if mlp.branch is None:
        return "its MLP has no gate: what its up projection makes is mlp_pre."
    if mlp.branch.given is not None:
        return "what its gate is multiplied by comes of the tokens: it is layer_input."
    return Port("output", mlp.branch.path, half=mlp.branch.half)


NO_BLOCKS = (
    "it has no chain of blocks with attention; its modules are sites by their paths, such as 'module:features.4'."
)
_SEVERAL = "several modules of the block read the stream there, so there is no one copy of it."
_EXPERTS = "its MLP has no single activation and output projection (a mixture of experts?)."

_BLOCK_PORTS: dict[str, Callable[[BlockLayout], Port | str]] = {
    "resid_pre": lambda b: Port("input", b.path),
    "layer_input": _layer_input,
    "resid_mid": _resid_mid,
    "resid_cross": _resid_cross,
    "cross_in": lambda b: _own_copy(b, b.cross.reader if b.cross else None),
    "cross_z": _crossing(lambda own: Port("input", own.o, heads=own.n_heads)),
    "cross_out": _crossing(_added),
    "resid_post": lambda b: Port("output", b.path),
    "resid_attn": lambda b: _summed(b.attn),
    "resid_mlp": lambda b: _summed(b.mlp),
    "attn_in": _of_attention(lambda own, b: _alone(b, own)),
    "mlp_in": _of_mlp(lambda own, b: _alone(b, own)),
    "attn_out": _of_attention(lambda own, b: _added(own)),
    "mixer_out": lambda b: _added(b.mixer, shield=True),
    "second_mlp_out": lambda b: _added(b.second, shield=True),
    "mlp_out": _of_mlp(lambda own, b: _added(own, shield=own.reused)),
    "z": _of_attention(lambda own, b: Port("input", own.o, heads=own.n_heads)),
    "mlp_normed": _of_mlp(_mlp_normed),
    "mlp_pre": _of_mlp(lambda own, b: Port("input", own.act) if own.act else _EXPERTS),
    "mlp_up": _of_mlp(_mlp_up),
    "mlp_post": _of_mlp(lambda own, b: Port("input", own.down) if own.act and own.down else _EXPERTS),
}


def available(layout: Layout) -> Iterator[tuple[str, str]]:
    """Every kind of site, with the prefix of its stack, with '' if every layer of this stack has it, else the reason why not; those of attention
    to another stack only where there is such."""
    for stack in layout.stacks:
        prefix = f"{stack.name}:" if stack.name else ""
        layered = [kind for kind in LAYERED if _has(stack, kind)]
        for kind in (*GLOBAL[:1], *layered, *GLOBAL[1:2]):
            found = _global(kind, stack) if kind in GLOBAL else _missing(kind, stack)
            yield prefix + kind, found if isinstance(found, str) else ""
    yield "logits", ""


def _has(stack: Stack, kind: str) -> bool:
    """Whether a kind of site is spoken of in a stack: those of attention to another stack, of a further part, of what a block is given beside
    the stream, of a gated MLP, or of a sum that a norm acts on, only where there is such."""
    if kind == ENTERING[1]:
        return bool(stack.layer_inputs)
    if kind == "mlp_up":
        return any(block.mlp is not None and block.mlp.gated for block in stack.blocks)
    if kind in SUMS:
        return any(part is not None and part.around for part in (getattr(b, SUMS[kind]) for b in stack.blocks))
    if kind in FURTHER:
        return any(kind in block.further for block in stack.blocks)
    return stack.crosses or not _is_cross(kind)


def _missing(kind: str, stack: Stack) -> str:
    """Why a layered kind of site is not in every layer; where some have it, or there are several reasons, in which it is not."""
    if stack.entry is not None:
        return NO_BLOCKS
    ports = [_in_block(kind, block, stack) for block in stack.blocks]
    reasons = {i: reason for i, reason in enumerate(ports) if isinstance(reason, str)}
    if len(reasons) == len(ports) and len({*reasons.values()}) == 1:
        return reasons[0]
    layers: dict[str, list[str]] = {}
    for i, reason in reasons.items():
        layers.setdefault(reason, []).append(str(i))
    return " ".join(f"not in layer {', '.join(own)}: {reason}" for reason, own in layers.items())


def to_site(x: Tensor, port: Port, batch: int) -> Tensor:
    """The tensor at a port in its site's shape: batch first (some blocks flatten), heads apart, scaled."""
    if port.form == "own":
        return x
    if port.form == "channels":
        return x.reshape(len(x), 1 if x.ndim == 2 else x.shape[1], -1).transpose(1, 2)
    x = x if port.half is None else x.chunk(2, dim=-1)[port.half]
    shape = (batch, -1, port.heads, x.shape[-1] // port.heads) if port.heads else (batch, -1, x.shape[-1])
    x = x.reshape(shape)
    x = x * port.scale if port.scaled else x
    return x if port.shift is None else x + port.shift


def from_site(value: Tensor, port: Port, like: Tensor) -> Tensor:
    """The inverse of `to_site`, in the shape of the tensor that the model had there, and of modules and channels with its order in memory,
    which convolutions round by."""
    if port.form == "own" and value.shape == like.shape:
        return laid_out(value, like)
    if port.form == "channels":
        return laid_out(value.transpose(1, 2).reshape(like.shape), like)
    value = value if port.shift is None else value - port.shift
    value = unscaled(value, port) if port.scaled else value
    if port.half is None:
        return value.reshape(like.shape)
    halves = list(like.chunk(2, dim=-1))
    halves[port.half] = value.reshape(halves[port.half].shape)
    return torch.cat(halves, dim=-1)


def laid_out(value: Tensor, like: Tensor) -> Tensor:
    """A value in the order in memory of a tensor of its shape, or, where several of that one's entries share a place, as it is."""
    shared = any(step == 0 and n > 1 for step, n in zip(like.stride(), like.shape, strict=True))
    if shared or value.stride() == like.stride():
        return value
    return torch.empty_strided(like.shape, like.stride(), dtype=value.dtype, device=value.device).copy_(value)


def unscaled(value: Tensor, port: Port) -> Tensor:
    """A value divided by the scale of its port; 0 where that is 0, as nothing there reaches the stream."""
    divided: Tensor = value / port.scale
    return torch.where(port.scale == 0, 0.0, divided) if isinstance(port.scale, Tensor) else divided
