"""Level `features`: which features are nodes, found in a pass over the pairs, and what the driver asks of the level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.attribution.features.changes import GATHER_BYTES
from interp.attribution.features.feature_batches import FeatureBatch, parts_of
from interp.attribution.features.groups import groups_of
from interp.attribution.features.listed import CODE_BYTES, Listed, described, portions, tokens_of
from interp.attribution.protocol.spaces import Footprint, NodeSpace
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site
from interp.tasks.ablations import ABLATIONS
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.replacements import Ablation, make_ablation

#: Bytes that an active feature of a token takes in a change and its contraction.
ENTRY_BYTES: Final = 96
#: Tensors of all features and of the error of a dictionary that a masked run has: what is there and replaces it, their difference and
#: gradient, and what is made of them on the way.
MASKED_AT_A_PLACE: Final = 8


@dataclass
class Survey:
    """The pass that found the features. `forwards`: what it took, until a method's cost takes it over."""

    forwards: float

    def taken(self) -> float:
        """The forwards, once: a later method did not need the pass again."""
        found, self.forwards = self.forwards, 0.0
        return found


@dataclass(frozen=True)
class FeatureSpace(NodeSpace):
    """The features of some dictionaries that are active in some run, and the errors."""

    listed: tuple[Listed, ...] = ()
    dictionaries: tuple[str, ...] = ()
    per_token: int = 0
    active: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool), compare=False)
    survey: Survey = field(default_factory=lambda: Survey(0.0), compare=False)

    @classmethod
    def of(
        cls,
        model: Any,
        dictionaries: Mapping[Site, Dictionary],
        pairs: Sequence[TokenPair],
        ablation: str,
        batch_size: int,
    ) -> FeatureSpace:
        """The features that are active in the base or source run of any pair, at any position.

        Cost: a forward without logits for each of the runs on clean and corrupt prompts that the ablation has.
        Raises: DictionaryError where an activation is not finite.
        """
        both = ABLATIONS[ablation].paired
        working = [_working(model, d) for d in dictionaries.values()]
        seen, most = _survey(model, working, pairs, both, batch_size)
        listed = tuple(Listed(d, torch.unique(found % d.n_features)) for d, found in zip(working, seen, strict=True))
        names = tuple(described(d) for d in dictionaries.values())
        active = np.concatenate([_table(*own, len(pairs)) for own in zip(listed, seen, strict=True)], axis=1)
        return cls(groups_of(listed), listed, names, (1 + both) * most * ENTRY_BYTES, active, Survey(1.0 + both))

    def footprint(self, size: Any) -> Footprint:
        """Its memory: also the active features of every token, the weights of those listed, and those that are made at once; in masked runs
        all features of every dictionary, several times."""
        held = sum(own.bytes for own in self.listed) + 2 * CODE_BYTES + GATHER_BYTES
        wide = sum(own.dictionary.n_features + own.dictionary.d_out for own in self.listed)
        masked = -(-MASKED_AT_A_PLACE * wide // size.d_model)
        return replace(super().footprint(size), entries=self.per_token, buffers=held, masked=masked, held=wide)

    def spent(self) -> float:
        """The forwards that finding the nodes took, the first time that it is asked for."""
        return self.survey.taken()

    def changing(self, ablation: Ablation) -> np.ndarray | None:
        """Which nodes an ablation may change in which pair, bool [pair part]; None where all of them in every pair."""
        if ablation.means:
            return None
        return self.active | self.active[list(ablation.partners)] if ablation.partners else self.active

    def named(self, wanted: Iterable[str]) -> frozenset[str]:
        """These names, all of nodes here. Raises: MethodError, which says of a feature whether it is only not active, or not there."""
        names = frozenset(wanted)
        known = {part.name for part in self.parts([None])}
        for own in self.listed:
            for name in sorted(names - known):
                place, _, number = name.rpartition(".f")
                if place != str(own.target) or not number.isdecimal():
                    continue
                if int(number) >= own.dictionary.n_features:
                    raise MethodError(
                        f"{name}: the dictionary of {place} has features 0 to {own.dictionary.n_features - 1}."
                    )
                raise MethodError(f"{name} is not active in any run of this task, so its score is 0; leave it out.")
        return super().named(names)

    def ablation(self, kind: Any, model: Any, pairs: Sequence[TokenPair], seed: int, batch_size: int) -> Ablation:
        """What the nodes are replaced by: of means those of the features and errors."""
        sites = [group.site for group in self.groups]
        with settled(model.device):
            see, every = partial(self._sums, model), partial(self._values, model)
            return make_ablation(kind, model, pairs, sites, seed, batch_size, see, every)

    def _sums(self, model: Any, ids: Tensor) -> Mapping[Any, Tensor]:
        """The sums over the tokens of `ids` [batch pos] of features and errors [1 1 ...], and the embedding."""
        with torch.no_grad():
            reads = self._reads(model, ids)
            found: dict[Any, Tensor] = {site: reads[site] for site in model.layout.entrances}
            for own in self.listed:
                codes = [(f.sum(0), error.sum(0)) for _, f, error in own.codes(reads)]
                for at, sums in zip(parts_of(own), zip(*codes, strict=True), strict=True):
                    found[at] = torch.stack(sums).sum(0)[None, None]
        return found

    def _values(self, model: Any, ids: Tensor) -> Mapping[Any, Tensor]:
        """Features and errors at each token of `ids` [batch pos ...], and the embedding."""
        with torch.no_grad():
            reads = self._reads(model, ids)
            found: dict[Any, Tensor] = {site: reads[site] for site in model.layout.entrances}
            for own in self.listed:
                codes = [(f, error) for _, f, error in own.codes(reads)]
                for at, rows in zip(parts_of(own), zip(*codes, strict=True), strict=True):
                    found[at] = torch.cat(rows).view(*ids.shape, -1)
        return found

    def _reads(self, model: Any, ids: Tensor) -> Mapping[Site, Tensor]:
        """What the dictionaries read and make up on `ids`, and the embedding."""
        sites = [at for own in self.listed for at in (own.site, own.target)]
        return model.run(ids, reads=list(dict.fromkeys([*model.layout.entrances, *sites])), logits_to_keep=1).reads  # type: ignore[no-any-return]

    def batch(self, *of: Any) -> FeatureBatch:
        """A batch: model, pairs, index, metric, direction, ablation."""
        model, *rest = of
        return FeatureBatch.of(model, self.groups, *rest)


def _working(model: Any, d: Dictionary) -> Dictionary:
    """A dictionary where the model is, in float32 or better."""
    dtype = torch.promote_types(torch.promote_types(d.dtype, model.dtype), torch.float32)
    return d if (d.dtype, d.device) == (dtype, model.device) else d.to(dtype=dtype, device=model.device)


def _survey(
    model: Any, working: Sequence[Dictionary], pairs: Sequence[TokenPair], both: bool, batch_size: int
) -> tuple[list[Tensor], int]:
    """For each dictionary which features are active in which pair, as pair * n_features + feature, each once in rising order;
    and the most that are at one token, all sites together."""
    seen = [torch.zeros(0, dtype=torch.long, device=d.device) for d in working]
    most = [0] * len(working)
    reads = list(dict.fromkeys(d.site for d in working))
    with settled(model.device), torch.no_grad():
        for index, ids in _prompts(pairs, both, batch_size):
            found = model.run(ids, reads=reads, logits_to_keep=1, vocabulary=torch.zeros(1, dtype=torch.long)).reads
            for i, d in enumerate(working):
                pair = torch.tensor(index, device=d.device).repeat_interleave(pairs[index[0]].length)
                for rows, part in _seen(d, found[d.site]):
                    token, feature = part.nonzero(as_tuple=True)
                    seen[i] = torch.unique(torch.cat([seen[i], pair[rows][token] * d.n_features + feature]))
                    most[i] = max(most[i], int(part.sum(-1).max()))
    return seen, sum(most)


def _table(listed: Listed, seen: Tensor, n_pairs: int) -> np.ndarray:
    """Which nodes of a dictionary are active in which pair, bool [pair node]: its features, and its error always."""
    n = listed.dictionary.n_features
    active = torch.zeros(n_pairs, len(listed.features) + 1, dtype=torch.bool, device=seen.device)
    active[seen // n, torch.searchsorted(listed.features, seen % n)] = True
    active[:, -1] = True
    return active.cpu().numpy()


def _prompts(pairs: Sequence[TokenPair], both: bool, batch_size: int) -> Iterator[tuple[list[int], Tensor | Inputs]]:
    for index in by_length([pair.shape for pair in pairs], batch_size):
        yield index, run_of([pairs[i].clean for i in index])
        if both:
            yield index, run_of([pairs[i].corrupt for i in index])


def _seen(d: Dictionary, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Which features are active [token feature], some tokens after the others."""
    tokens = tokens_of(x, d)
    if not bool(torch.isfinite(tokens).all()):
        raise DictionaryError(
            f"activations at {d.site} are not finite: expected numbers; try dtype float32 or float64."
        )
    for rows in portions(len(tokens), d):
        yield rows, d.encode(tokens[rows]) != 0
