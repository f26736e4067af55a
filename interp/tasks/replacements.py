"""What the nodes of a data set are replaced by: a kind with the partners of its pairs, or with its fixed values, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from interp.errors import MethodError
from interp.learning.optimal import Learned, Replacing
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site
from interp.tasks.ablations import ABLATIONS, Kind
from interp.tasks.clean_prompts import Prompts, See
from interp.tasks.pairs.token_pairs import TokenPair
from interp.whole_numbers import whole


@dataclass(frozen=True)
class Ablation:
    """A kind, with what it needs: the `partners` of its pairs (index -> index) or its fixed values by key (`means`).

    `learned`: how they were learned, of a kind that learns. Such an ablation is given in place of a name where other pairs than those that
    it was learned on are judged: to `circuits.evaluate` and its like.
    """

    kind: str
    partners: Sequence[int] = ()
    means: Mapping[Any, Tensor] = field(default_factory=dict)
    learned: Learned | None = None

    @property
    def has_run(self) -> bool:
        """Whether the values come from a run on other prompts."""
        known = ABLATIONS.get(self.kind)
        return known is not None and known.has_run

    def fixed(self, key: Any) -> Tensor | None:
        """The value at `key` of a kind without a run, None where that is zero. Raises: MethodError where it has none."""
        known = ABLATIONS.get(self.kind)
        if known is not None and known.is_zero:
            return None
        if key not in self.means:
            raise MethodError(f"{self.kind} ablation has no value at {key}; its function must give one for every key.")
        return self.means[key]

    def value(self, site: Any, like: Tensor) -> Tensor:
        """The replacement at `site`, in the shape of `like`, for the kinds without a run."""
        fixed = self.fixed(site)
        return torch.zeros_like(like) if fixed is None else fixed.to(like).expand_as(like)


def kind_of(ablation: str | Ablation) -> str:
    """The name of an ablation that is given by it, or as it was made."""
    return ablation.kind if isinstance(ablation, Ablation) else ablation


def make_ablation(
    kind: str | Ablation,
    model: Any,
    pairs: Sequence[TokenPair],
    sites: Sequence[Site],
    seed: int,
    batch_size: int,
    see: See | None = None,
    every: See | None = None,
    replacing: Replacing | None = None,
) -> Ablation:
    """The ablation for a data set: partners drawn, or values taken over the clean prompts.

    The value of the embedding is always taken: integrated gradients go from the base's embedding to the source's. `see`: the
    values of token ids [batch pos], by key, or their sums over both axes [1 1 ...], where they are not those of `sites` as the
    model has them; `every`: the values where `see` gives sums. `kind`: a name, or one that was learned on other pairs, which stays.
    """
    if isinstance(kind, Ablation):
        if kind.learned is not None:
            return kind
        kind = kind.kind
    chosen = ABLATIONS[kind]
    if chosen.partners is not None:
        return Ablation(kind, _checked(chosen, _lengths(kind, pairs), seed))
    if chosen.is_fixed:
        seen = see or _reader(model, sites)
        prompts = Prompts(pairs, batch_size, seen, every or seen, replacing, whole(seed, "seed"))
        found, learned = (
            chosen.learn(prompts) if chosen.learn else (chosen.values(prompts), None) if chosen.values else ({}, None)
        )
        return Ablation(kind, means=_checked_values(chosen, found), learned=learned)
    return Ablation(kind)


def _lengths(kind: str, pairs: Sequence[TokenPair]) -> list[int]:
    """The lengths of pairs, which say who may stand for whom. Raises: MethodError where inputs of one length are of several sizes."""
    if len({pair.shape for pair in pairs}) > len(found := {pair.length for pair in pairs}):
        raise MethodError(
            f"{kind} ablation: inputs of other sizes with as many positions ({', '.join(map(str, sorted(found)))}); expected inputs of one size, "
            "of which another may stand for each. Use counterfactual, mean or zero."
        )
    return [pair.length for pair in pairs]


def _checked_values(kind: Kind, found: Any) -> Mapping[Any, Tensor]:
    """The fixed values. Raises: MethodError where they are no tensors with batch and position of size 1."""
    if not isinstance(found, Mapping):
        raise MethodError(f"{kind.name} ablation gave a {type(found).__name__}; expected tensors by key.")
    for key, value in found.items():
        if not isinstance(value, Tensor) or value.shape[:2] != (1, 1):
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise MethodError(f"{kind.name} ablation gave {given} at {key}; expected a tensor [1 1 ...].")
    return found


def _checked(kind: Kind, lengths: Sequence[int], seed: int) -> list[int]:
    """The partners of all pairs. Raises: MethodError for a partner that is not there or has another length."""
    found = list(kind.partners(lengths, seed)) if kind.partners else []
    if len(found) != len(lengths):
        raise MethodError(f"{kind.name} ablation gave {len(found)} partners; expected one for each of {len(lengths)}.")
    for here, there in enumerate(found):
        if not isinstance(there, Integral) or not 0 <= there < len(lengths) or lengths[here] != lengths[there]:
            raise MethodError(
                f"{kind.name} ablation gave pair {here} partner {there}; expected one of the same length."
            )
    return [int(there) for there in found]


def _reader(model: Any, sites: Sequence[Site]) -> See:
    def see(ids: Tensor | Inputs) -> Mapping[Any, Tensor]:
        with torch.no_grad():
            return model.run(ids, reads=[*model.layout.entrances, *sites], logits_to_keep=1).reads  # type: ignore[no-any-return]

    return see
