"""Which edges are patched and where: for each set of edges and each label of positions, what a reader's copy is made of.

Labels part the tokens of a batch: each token has at most one, and one without a label keeps what the model has. Without labels
there is one, of all tokens.

Axis words: `set label reader writer batch pos`; `token` is (batch, pos) flattened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.parts.graph import Graph


@dataclass(frozen=True)
class Cuts:
    """Sets of patched edges as the weights of the senders' changes.

    weights [set label reader writer]: times source - this run, summed over writers, what a copy differs by from the stream, or
    (`mostly` [set label reader]) from the source's stream, where most of what a reader sees is patched. `at`: the tokens of each
    label. `readers`: those with a patched edge, by label. `writers`: those whose changes are needed; `turned`: copies are
    built from the source's stream of the first so many.
    """

    weights: Tensor
    mostly: Tensor
    at: tuple[Tensor | slice, ...]
    readers: tuple[frozenset[int], ...]
    writers: list[int]
    turned: int

    @classmethod
    def of(cls, graph: Graph, cuts: Tensor, masks: Tensor | None, like: Tensor) -> Cuts:
        """cuts [set reader writer], or [set label reader writer]: which edges are patched; masks [label batch pos]: the tokens of each label,
        None for one of all. like: dtype and device of the weights. Raises: ValueError for labels that share a token."""
        given = cuts[:, None] if cuts.ndim == 3 else cuts
        if len(given[0]) != (1 if masks is None else len(masks)):
            raise ValueError(f"cuts at {len(given[0])} labels; expected the labels of the masks, or one without masks.")
        if masks is not None and bool((masks.sum(0) > 1).any()):
            raise ValueError("a token has two labels; expected one at most.")
        share, visible = given.to(like), torch.from_numpy(graph.visible).to(like)
        seen = torch.tensor(graph.n_upstream, device=like.device)
        mostly = 2 * share.sum(3) > seen
        needed = given.flatten(0, 2).any(0)
        turned = int((mostly.flatten(0, 1).any(0) * seen).max())
        needed[:turned] = True
        return cls(
            torch.where(mostly[..., None], share - visible, share),
            mostly,
            (slice(None),) if masks is None else tuple(m.flatten().nonzero().squeeze(1).to(like.device) for m in masks),
            tuple(frozenset(own.nonzero().squeeze(1).tolist()) for own in given.any(3).any(0)),
            needed.nonzero().squeeze(1).tolist(),
            turned,
        )

    def labels_of(self, readers: Iterable[int]) -> list[int]:
        """The labels at which one of the readers has a patched edge."""
        wanted = frozenset(readers)
        return [label for label, own in enumerate(self.readers) if own & wanted]
