"""What the model's head makes of parts of the stream behind the frozen final norm, and of their sums.

Axis words: `d_model d_vocab`; leading axes are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.model.modules.linear import linear


@dataclass(frozen=True, eq=False)
class Head:
    """Unembedding and what is behind it, of one model: made once, since an adapter around it is asked for its weights. W_U: [d_model d_vocab]."""

    model: Any
    W_U: Tensor
    bias: Tensor

    @classmethod
    def of(cls, model: Any) -> Head:
        """Raises: LayoutError where the unembedding is no linear map."""
        layout, (W_U, b_U) = model.layout, linear(model, model.layout.unembed)
        bias = torch.zeros(W_U.shape[1], dtype=torch.float64, device=W_U.device) if b_U is None else b_U.double()
        final = None if layout.ln_final is None else model.hf.get_submodule(layout.ln_final)
        if (own := getattr(final, "bias", None)) is not None:
            bias = bias + own.detach().double() @ W_U.double()
        return cls(model, W_U, bias)

    def read(self, normed: Tensor) -> Tensor:
        """What directions behind the final norm [... d_model] add to the logits [... d_vocab], in the unembedding's own dtype, before bias and soft cap."""
        wide = self.W_U if self.W_U.dtype in (torch.float32, torch.float64) else self.W_U.float()
        found: Tensor = normed.to(wide.dtype) @ wide * self.model.layout.logits_scale
        return found

    def logits(self, added: Tensor) -> Tensor:
        """Logits of sums of `read`, with the biases and the soft cap of the model."""
        cap = self.model.layout.logits_softcap
        found = added + (self.bias * self.model.layout.logits_scale).to(added.dtype)
        capped: Tensor = found if cap is None else cap * torch.tanh(found / cap)
        return capped
