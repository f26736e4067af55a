"""What writers write in a masked run, told to its mixture as the forward pass comes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from interp.attribution.edges.behind_heads import normed
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.writers import EMBED
from interp.attribution.masks.mixture import Mixture
from interp.errors import LayoutError, UnsupportedRuleError
from interp.ledger import spend
from interp.model.edits import Edit
from interp.model.modules.linear import linear, norm_at
from interp.parts.graph import Step
from interp.precision import wide
from interp.rules.rules import Norm, Rules
from interp.rules.surrogate import surrogate


@dataclass(frozen=True)
class Writing:
    """The writers of a batch, under rules."""

    batch: EdgeBatch
    rules: Rules
    mixture: Mixture

    def edits(self) -> list[Edit]:
        """Edits that only look at what is written."""
        found = [Edit(EMBED, _looking(self._embeds))]
        for step in self.batch.map.graph.steps:
            see = self._heads if step.kind == "head" else self._whole
            found.append(Edit(step.site, _looking(partial(see, step))))
        return found

    def _embeds(self, x: Tensor) -> None:
        now = self.batch.embeds_of({EMBED: wide(x.detach())})
        self.mixture.write(0, self.batch.map.writers.first, (now - self.batch.source_embeds()).transpose(0, 1))

    def _heads(self, step: Step, z: Tensor) -> None:
        change = self._scaled(step.layer, wide(z)) - self.batch.source()[step.site]
        batch, pos, n_heads, _ = change.shape
        W_O = self.batch.map.writers.W_O(step.layer).to(change.dtype)
        spend(change.numel() * W_O.shape[-1])
        added = torch.bmm(change.permute(2, 0, 1, 3).reshape(n_heads, batch * pos, -1), W_O)
        self.mixture.write(step.writers.start, step.writers.stop, added.view(n_heads, batch, pos, -1))

    def _whole(self, step: Step, x: Tensor) -> None:
        self.mixture.write(step.writers.start, step.writers.stop, (wide(x) - self.batch.source()[step.site])[None])

    def _scaled(self, layer: int, z: Tensor) -> Tensor:
        """z [batch pos head d_head] over the scale of a post-norm at this run's own attention output, with the norm's rule."""
        block = self.batch.model.layout.blocks[layer]
        if not normed(self.batch.model, block.attn):
            return z
        if self.batch.map.writers.rest(layer, z.detach()) is not None:
            raise LayoutError(
                f"{block.attn.writer}: what attention adds beside its heads depends on the run; masks over edges know no such part."
            )
        if self.rules.secants:
            raise UnsupportedRuleError(
                f"{block.attn.writer}: a norm behind heads has no average between two runs here."
            )
        W, _ = linear(self.batch.model, block.attn.o)
        out = z.flatten(2).to(W.dtype) @ W
        spend(W.shape[1] * z.numel())
        norm = norm_at(self.batch.model, block.attn.writer)
        scale = norm.inverse_sigma(out)
        if self.rules.norm == "gradient" and out.requires_grad:
            scale = surrogate(out, scale, partial(_through_scale, norm, wide(out.detach()), scale, out.dtype))
        return z * scale[..., None].to(z.dtype)


def _looking(see: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
    def apply(x: Tensor) -> Tensor:
        see(x)
        return x

    return apply


def _through_scale(norm: Norm, out: Tensor, scale: Tensor, dtype: torch.dtype, g: Tensor) -> Tensor:
    """From the gradient at 1 / sigma to that at what the norm reads: d (1 / sigma) = -(1 / sigma)^3 mean(c dc)."""
    centred = out - out.mean(-1, keepdim=True) if norm.centred else out
    return (-g * scale**3 * centred / out.shape[-1]).to(dtype)
