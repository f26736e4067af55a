"""One decoder layer as the functions it is made of, each one a call of the model's own modules.

    attn_raw = o(z)        mid = N(x + attn(attn_raw))        out = N'(mid + mlp(mlp_raw(mid)))

`attn` and `mlp` here are what happens between an output projection and the stream: a post-norm where there is one, and
the residual multiplier. N and N' are there where norms act on the sums. In a parallel block the MLP reads x in place of mid. Of a block
of attention alone, or of an MLP alone, only that step is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules.tensors import activation_out
from interp.parts.block_layout import AttentionLayout, BlockLayout, MlpLayout

MLP_ROWS: Final = 512


@dataclass(frozen=True)
class LayerModules:
    """The modules of one layer. `attn`: attention without its norm; `caller`: what calls the attention function. `inner`: up, activation and down projection of an MLP without a gate.

    `mlp_last`: the module whose output is the MLP's, before a post-norm. `down`: what reads the neurons, None for experts. `attends`,
    `computes`: whether it has attention, and an MLP; without one its modules are None.
    """

    block: nn.Module
    attends: bool
    computes: bool
    caller: Any
    attn: Any
    attn_norm: nn.Module | None
    o: Any
    attn_post: nn.Module | None
    attn_around: nn.Module | None
    mlp_norm: nn.Module | None
    mlp: Any
    inner: tuple[nn.Module, ...]
    mlp_last: Any
    down: nn.Module | None
    mlp_post: nn.Module | None
    mlp_around: nn.Module | None
    attn_scale: float
    mlp_scale: float
    parallel: bool
    mlp_reused: bool

    @classmethod
    def of(cls, model: Any, layer: int) -> LayerModules:
        """The modules of a layer, by the paths of the layout. Raises: LayoutError where attention is no module of its own."""
        own, get = model.layout.blocks[layer], model.hf.get_submodule
        _check_apart(own)
        return cls(block=get(own.path), parallel=own.parallel, **_of_attention(own.attn, get), **_of_mlp(own.mlp, get))

    @property
    def experts(self) -> bool:
        """Whether it has an MLP without neurons, which may take the tokens of a batch together."""
        return self.computes and self.down is None

    def attn_added(self, raw: Tensor) -> Tensor:
        """What attention adds to the stream, from the output of its output projection [... d_model]."""
        return _added(raw, self.attn_post, self.attn_scale)

    def mlp_added(self, raw: Tensor) -> Tensor:
        """What the MLP adds to the stream, from its output [... d_model]."""
        return _added(raw, self.mlp_post, self.mlp_scale)

    def between(self, x: Tensor, added: Tensor) -> Tensor:
        """The stream behind attention, which has added this to x."""
        return _summed(x, added, self.attn_around)

    def leaving(self, x: Tensor, added: Tensor) -> Tensor:
        """The stream behind the layer, whose MLP has added this to what is behind attention."""
        return _summed(x, added, self.mlp_around)

    def normed(self, x: Tensor) -> Tensor:
        """What the attention module is called with, for the stream x."""
        y: Tensor = x if self.attn_norm is None else self.attn_norm(x)
        return y

    def mlp_raw(self, x: Tensor) -> Tensor:
        """The MLP's output for the stream x [... d_model] that it reads; a few hundred rows at a time stay in the cache."""
        rows = x.reshape(1, -1, x.shape[-1])
        parts = [self._mlp(part).reshape(part.shape) for part in torch.split(rows, MLP_ROWS, dim=1)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).view(x.shape)

    def _mlp(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.mlp_norm is None else self.mlp_norm(x)
        if not self.inner:
            return activation_out(self.mlp(y))
        for module in self.inner:
            y = module(y)
        return y


def _of_attention(attn: AttentionLayout | None, get: Callable[[str], nn.Module]) -> dict[str, Any]:
    """The modules of a block's attention, by field."""
    if attn is None:
        names = ("caller", "attn", "attn_norm", "o", "attn_post", "attn_around")
        return {"attends": False, "attn_scale": 1.0, **dict.fromkeys(names)}
    return {
        "attends": True,
        "caller": get(attn.module),
        "attn": get(attn.entry),
        "attn_norm": get(attn.norm) if attn.norm else None,
        "o": get(attn.o),
        "attn_post": None if attn.plain else get(attn.writer),
        "attn_around": get(attn.around) if attn.around else None,
        "attn_scale": attn.scale,
    }


def _of_mlp(mlp: MlpLayout | None, get: Callable[[str], nn.Module]) -> dict[str, Any]:
    """The modules of a block's MLP, by field."""
    if mlp is None:
        names = ("mlp_norm", "mlp", "mlp_last", "down", "mlp_post", "mlp_around")
        return {"computes": False, "inner": (), "mlp_scale": 1.0, "mlp_reused": False, **dict.fromkeys(names)}
    # Some MLPs have no module of their own, and some modules also add the stream: then the MLP is its three parts.
    inside = mlp.act is not None and not mlp.gated and bool(mlp.up and mlp.down)
    return {
        "computes": True,
        "mlp_norm": get(mlp.norm) if mlp.norm else None,
        "mlp": get(mlp.module),
        "inner": tuple(get(p) for p in (mlp.up, mlp.act, mlp.down) if p) if inside else (),
        "mlp_last": get(mlp.down if inside and mlp.down else mlp.module),
        "down": get(mlp.down) if mlp.act is not None and mlp.down else None,
        "mlp_post": None if mlp.plain else get(mlp.writer),
        "mlp_around": get(mlp.around) if mlp.around else None,
        "mlp_scale": mlp.scale,
        "mlp_reused": mlp.reused,
    }


def _check_apart(own: BlockLayout) -> None:
    """Raises: LayoutError saying why a layer cannot be redone part by part."""
    if own.attn is not None and not own.attn.heads:
        raise LayoutError(
            f"{own.attn.module} mixes positions without attention, so it cannot be redone for some of them."
        )
    if own.attn is not None and own.attn.entry == own.path:
        raise LayoutError(f"{own.path}: its attention is no module of its own, so it cannot be called apart.")
    if any(part.gain for part in own.sublayers):
        raise LayoutError(f"{own.path}: a parameter of its own scales what is added.")
    if own.attn is not None and own.attn.kv_layer is not None:
        raise LayoutError(f"{own.attn.module} takes its keys and values from layer {own.attn.kv_layer}.")
    if own.beside:
        raise LayoutError(f"{own.path}: {own.beside[0].writer} adds to the stream beside attention and MLP.")
    if any(part.place == "mixed" for part in own.sublayers):
        raise LayoutError(f"{own.path}: positions are mixed between a projection and the stream.")
    if own.first or not all(part.keeps for part in own.sublayers):
        raise LayoutError(f"{own.path}: it passes on more or less than the stream and what its parts add.")


def _added(raw: Tensor, post: nn.Module | None, scale: float) -> Tensor:
    y: Tensor = raw if post is None else post(raw)
    return y if scale == 1.0 else y * scale


def _summed(x: Tensor, added: Tensor, around: nn.Module | None) -> Tensor:
    total = x + added
    found: Tensor = total if around is None else around(total)
    return found
