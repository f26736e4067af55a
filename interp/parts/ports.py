"""How each site is reached in a live model: at the input or output of a module, or inside the attention function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from interp.errors import SiteError
from interp.parts.layout import BlockLayout, Layout
from interp.parts.sites import ATTENTION_KINDS, GLOBAL, LAYERED, Site

Where = Literal["input", "input_copy", "input_inplace", "output", "attention", "logits"]


@dataclass(frozen=True)
class Port:
    """Where a site is.

    `input`: the argument of module `path`; an edit gives the module (and what follows in it) another one.
    `input_copy`: the same argument seen by this module alone, apart from the skip connection that shares it.
    `input_inplace`: the same argument together with the skip connection: an edit is written into the tensor.
    `output`: what the module returns. `scale`: the site's value is this times the tensor, and times the parameter at `gain`.
    """

    where: Where
    path: str = ""
    scale: float | Tensor = 1.0
    gain: str | None = None
    heads: bool = False
    shield: bool = False

    @property
    def scaled(self) -> bool:
        return isinstance(self.scale, Tensor) or self.scale != 1.0

    def of(self, model: Any) -> Port:
        """The same with the gain of a live model in its scale."""
        return self if self.gain is None else replace(self, scale=self.scale * model.get_parameter(self.gain).detach())


def port(site: Site, layout: Layout) -> Port:
    """The port of a site. Raises: SiteError, with the reason, where this model has no such place."""
    found = _global(site, layout) if site.layer is None else _in_block(site, layout.blocks[site.layer], layout)
    if isinstance(found, str):
        raise SiteError(f"site '{site}' is not available on this model: {found}")
    return found


def _global(site: Site, layout: Layout) -> Port | str:
    if site.kind == "embed":
        return Port("input", layout.blocks[0].path)
    if site.kind == "logits":
        return Port("logits")
    return Port("input", layout.ln_final) if layout.ln_final else Port("output", layout.blocks[-1].path)


def _in_block(site: Site, block: BlockLayout, layout: Layout) -> Port | str:
    if not block.attn.heads and site.kind in (*ATTENTION_KINDS, "z"):
        return "no attention is seen in what mixes positions there (a recurrence, linear attention or a convolution), so it has no heads."
    if site.kind in ATTENTION_KINDS:
        if not layout.attention_function:
            return "its attention does not go through transformers' AttentionInterface."
        lacking = site.kind == "pattern" and not layout.pattern
        return "its attention function gives no pattern." if lacking else Port("attention", block.attn.module)
    found = _BLOCK_PORTS[site.kind](block)
    if isinstance(found, Port) and found.path in layout.repeated:
        return f"its module, {found.path}, is called several times in a forward pass."
    return found


def _own_copy(block: BlockLayout, reader: str | None) -> Port | str:
    if reader is not None:
        return Port("input_copy", reader)
    shared = block.attn.norm is not None and block.attn.norm == block.mlp.norm
    return "attention and MLP share one norm, so neither reads a copy of its own." if shared else _SEVERAL


def _resid_mid(block: BlockLayout) -> Port | str:
    if block.parallel:
        return "attention and MLP run in parallel; there is no residual stream between them."
    if block.mlp.reader is None and block.attn.around is None:
        return _SEVERAL
    if not block.middle:
        return "what the MLP reads of the stream between attention and MLP is another tensor than the one that is passed on."
    if block.attn.around is not None:
        return Port("output", block.attn.around)
    return Port("input_inplace", block.mlp.reader) if block.mlp.reader else _SEVERAL


def _mlp_normed(block: BlockLayout) -> Port | str:
    if block.mlp.entry != block.path:
        return Port("input", block.mlp.entry)
    alone = block.mlp.norm is not None and block.mlp.norm != block.attn.norm
    return Port("output", block.mlp.norm) if block.mlp.norm is not None and alone else _SEVERAL


_SEVERAL = "several modules of the block read the stream there, so there is no one copy of it."
_EXPERTS = "its MLP has no single activation and output projection (a mixture of experts?)."

_BLOCK_PORTS: dict[str, Callable[[BlockLayout], Port | str]] = {
    "resid_pre": lambda b: Port("input", b.path),
    "resid_mid": _resid_mid,
    "resid_post": lambda b: Port("output", b.path),
    "attn_in": lambda b: _own_copy(b, b.attn.reader),
    "mlp_in": lambda b: _own_copy(b, b.mlp.reader),
    "attn_out": lambda b: Port("output", b.attn.writer, scale=b.attn.scale, gain=b.attn.gain),
    "mlp_out": lambda b: Port("output", b.mlp.writer, scale=b.mlp.scale, gain=b.mlp.gain, shield=b.mlp.reused),
    "z": lambda b: Port("input", b.attn.o, heads=True),
    "mlp_normed": _mlp_normed,
    "mlp_pre": lambda b: Port("input", b.mlp.act) if b.mlp.act else _EXPERTS,
    "mlp_post": lambda b: Port("input", b.mlp.down) if b.mlp.act and b.mlp.down else _EXPERTS,
}


def available(layout: Layout) -> Iterator[tuple[str, str]]:
    """Every kind of site with '' if every layer of this model has it, else the reason why not."""
    for kind in (*GLOBAL[:1], *LAYERED, *GLOBAL[1:]):
        if kind in GLOBAL:
            found = _global(Site(kind), layout)
            yield kind, found if isinstance(found, str) else ""
        else:
            yield kind, _missing(kind, layout)


def _missing(kind: str, layout: Layout) -> str:
    """Why a layered kind of site is not in every layer; where some have it, in which it is not."""
    ports = [_in_block(Site(kind, i), block, layout) for i, block in enumerate(layout.blocks)]
    reasons = {i: reason for i, reason in enumerate(ports) if isinstance(reason, str)}
    if not reasons:
        return ""
    some = f"not in layer {', '.join(map(str, reasons))}: " if len(reasons) < len(ports) else ""
    return some + next(iter(reasons.values()))


def to_site(x: Tensor, port: Port, batch: int, n_heads: int) -> Tensor:
    """The tensor at a port in its site's shape: batch first (some blocks flatten), heads apart, scaled."""
    shape = (batch, -1, n_heads, x.shape[-1] // n_heads) if port.heads else (batch, -1, x.shape[-1])
    x = x.reshape(shape)
    return x * port.scale if port.scaled else x


def from_site(value: Tensor, port: Port, like: Tensor) -> Tensor:
    """The inverse of `to_site`, in the shape of the tensor that the model had there."""
    value = unscaled(value, port) if port.scaled else value
    return value.reshape(like.shape)


def unscaled(value: Tensor, port: Port) -> Tensor:
    """A value divided by the scale of its port; 0 where that is 0, as nothing there reaches the stream."""
    divided: Tensor = value / port.scale
    return torch.where(port.scale == 0, 0.0, divided) if isinstance(port.scale, Tensor) else divided
