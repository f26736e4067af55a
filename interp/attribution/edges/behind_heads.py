"""What stands between an attention's output projection and the stream: nothing, a norm, or a learned scale (LayerScale)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.model.modules.linear import affine, linear
from interp.parts.block_layout import AttentionLayout
from interp.parts.ports import held


def normed(model: Any, attn: AttentionLayout) -> bool:
    """Whether a norm stands there."""
    return attn.writer != attn.o and attn.writer in model.operations.norms


def projected(model: Any, attn: AttentionLayout) -> tuple[Tensor, Tensor | None]:
    """W [in d_model] and bias [d_model] of the output projection, with the learned scale behind it where there is one, and without a norm.

    Raises: LayoutError for a module there that is neither a norm nor such a scale.
    """
    W, bias = linear(model, attn.o)
    if attn.writer != attn.o and not normed(model, attn):
        scale = _scale(model, attn.writer, W.shape[1])
    elif attn.gain is not None:
        scale = held(model.hf, attn.gain)
    else:
        return W, bias
    return W * scale, None if bias is None else bias * scale


def _scale(model: Any, path: str, width: int) -> Tensor:
    """What a module multiplies each number by [d_model]. Raises: LayoutError for one that does anything else."""
    module = model.hf.get_submodule(path)
    W, shift = affine(module, width, model.hf) or (None, None)
    if W is None or shift is not None or not torch.equal(W, W.diagonal().diag()):
        raise LayoutError(
            f"{path} ({type(module).__name__}) is not recognised as LayerNorm, RMSNorm or a scale of each number, so what it does to a "
            "single component is not known."
        )
    return W.diagonal()
