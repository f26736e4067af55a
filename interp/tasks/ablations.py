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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interp.errors import MethodError, TaskError, unknown
from interp.parts.sites import Site
from interp.tasks.lengths import by_length
from interp.tasks.metrics import Direction
from interp.tasks.task import TokenPair

Kind = Literal["counterfactual", "mean", "zero", "resample"]
KINDS: Final = ("counterfactual", "mean", "zero", "resample")


@dataclass(frozen=True)
class Ablation:
    """A kind, with what it needs: the `partners` of resampling (index -> index) or the `means` of sites."""

    kind: Kind
    partners: Sequence[int] = ()
    means: Mapping[Any, Tensor] = field(default_factory=dict)

    @property
    def has_run(self) -> bool:
        """Whether the values come from a run on other prompts."""
        return self.kind in ("counterfactual", "resample")

    def value(self, site: Any, like: Tensor) -> Tensor:
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


See = Callable[[Tensor], Mapping[Any, Tensor]]


def make_ablation(
    kind: Kind,
    model: Any,
    pairs: Sequence[TokenPair],
    sites: Sequence[Site],
    seed: int,
    batch_size: int,
    see: See | None = None,
) -> Ablation:
    """The ablation for a data set: partners drawn, or means taken over the clean prompts.

    The mean embedding is always taken: integrated gradients go from the base's embedding to the source's. `see`: the
    values of token ids [batch pos], by key, or their sums over both axes [1 1 ...], where they are not those of `sites` as the
    model has them.
    """
    if kind == "resample":
        return Ablation(kind, partners=_derange([pair.length for pair in pairs], seed))
    if kind == "mean":
        return Ablation(kind, means=_means(pairs, see or _reader(model, sites), batch_size))
    return Ablation(kind)


def _reader(model: Any, sites: Sequence[Site]) -> See:
    def see(ids: Tensor) -> Mapping[Any, Tensor]:
        with torch.no_grad():
            return model.run(ids, reads=[Site("embed"), *sites], logits_to_keep=1).reads  # type: ignore[no-any-return]

    return see


def _derange(lengths: Sequence[int], seed: int) -> list[int]:
    """For every pair another pair of the same length: a seeded random cycle within each length."""
    buckets: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        buckets[length].append(i)
    if alone := [length for length, members in buckets.items() if len(members) == 1]:
        raise TaskError(
            f"resample ablation needs two prompts of every length; only one has {alone[0]} tokens. Use another ablation."
        )
    rng, partners = random.Random(seed), [0] * len(lengths)
    for members in buckets.values():
        rng.shuffle(members)
        for here, there in zip(members, members[1:] + members[:1], strict=True):
            partners[here] = there
    return partners


def _means(pairs: Sequence[TokenPair], see: See, batch_size: int) -> dict[Any, Tensor]:
    """Mean over all positions of all clean prompts, per key: [1 1 ...], in float32 or better."""
    totals: dict[Any, Tensor] = {}
    count = 0
    for index in by_length([pair.length for pair in pairs], batch_size):
        ids = torch.tensor([pairs[i].clean for i in index])
        count += ids.numel()
        for key, value in see(ids).items():
            wide = value.float() if value.element_size() < 4 else value
            totals[key] = totals.get(key, 0) + wide.sum((0, 1), keepdim=True)
    return {key: total / count for key, total in totals.items()}
