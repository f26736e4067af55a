"""What a node is replaced by: one object, shared by scoring and evaluation.

| kind | source value of a node | pairs with |
| --- | --- | --- |
| counterfactual | its value on the paired prompt | denoise, noise |
| mean | its mean over all positions of all clean prompts | noise |
| zero | zero | noise |
| resample | its value on another clean prompt of the same length (seeded) | noise |
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interp.errors import MethodError, TaskError, unknown
from interp.metrics import Direction
from interp.sites import Site
from interp.tasks.task import TokenPair

Kind = Literal["counterfactual", "mean", "zero", "resample"]
KINDS: Final = ("counterfactual", "mean", "zero", "resample")


@dataclass(frozen=True)
class Ablation:
    """A kind, with what it needs: the `partners` of resampling (index -> index) or the `means` of sites."""

    kind: Kind
    partners: Sequence[int] = ()
    means: Mapping[Site, Tensor] = field(default_factory=dict)

    @property
    def has_run(self) -> bool:
        """Whether the values come from a run on other prompts."""
        return self.kind in ("counterfactual", "resample")

    def value(self, site: Site, like: Tensor) -> Tensor:
        """The replacement at `site`, in the shape of `like`, for the kinds without a run."""
        return torch.zeros_like(like) if self.kind == "zero" else self.means[site].to(like).expand_as(like)


def check_direction(kind: str, direction: str | None) -> Direction:
    """The direction to use: denoise by default for counterfactual, else noise.

    Raises: MethodError for an unknown kind or direction, or where denoising has no meaning.
    """
    if kind not in KINDS:
        raise MethodError(unknown("ablation", kind, KINDS))
    if direction is None:
        return "denoise" if kind == "counterfactual" else "noise"
    if direction not in ("denoise", "noise"):
        raise MethodError(unknown("direction", direction, ("denoise", "noise")))
    if direction == "denoise" and kind != "counterfactual":
        raise MethodError(
            f"direction 'denoise' puts clean values into a corrupt run; {kind} ablation has no such values. Use 'noise'."
        )
    return direction  # type: ignore[return-value]


def make_ablation(
    kind: Kind, model: Any, pairs: Sequence[TokenPair], sites: Sequence[Site], seed: int, batch_size: int
) -> Ablation:
    """The ablation for a data set: partners drawn, or means taken over the clean prompts.

    The mean embedding is always taken: integrated gradients go from the base's embedding to the source's.
    """
    if kind == "resample":
        return Ablation(kind, partners=_derange([pair.length for pair in pairs], seed))
    if kind == "mean":
        return Ablation(kind, means=_means(model, pairs, [Site("embed"), *sites], batch_size))
    return Ablation(kind)


def _derange(lengths: Sequence[int], seed: int) -> list[int]:
    """For every pair another pair of the same length: a seeded random cycle within each length."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        by_length[length].append(i)
    if alone := [length for length, members in by_length.items() if len(members) == 1]:
        raise TaskError(
            f"resample ablation needs two prompts of every length; only one has {alone[0]} tokens. Use another ablation."
        )
    rng, partners = random.Random(seed), [0] * len(lengths)
    for members in by_length.values():
        rng.shuffle(members)
        for here, there in zip(members, members[1:] + members[:1], strict=True):
            partners[here] = there
    return partners


def _means(model: Any, pairs: Sequence[TokenPair], sites: Sequence[Site], batch_size: int) -> dict[Site, Tensor]:
    """Mean over all positions of all clean prompts, per site: [1 1 ...], in float32 or better."""
    from interp.attribution.batches import by_length

    totals: dict[Site, Tensor] = {}
    count = 0
    for index in by_length([pair.length for pair in pairs], batch_size):
        ids = torch.tensor([pairs[i].clean for i in index])
        count += ids.numel()
        with torch.no_grad():
            run = model.run(ids, reads=sites, logits_to_keep=1)
        for site, value in run.reads.items():
            wide = value.float() if value.element_size() < 4 else value
            totals[site] = totals.get(site, 0) + wide.sum((0, 1), keepdim=True)
    return {site: total / count for site, total in totals.items()}
