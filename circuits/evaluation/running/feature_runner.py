"""Runs sets of features on a task: what a set leaves out of each dictionary carries the ablated value.

At a place where anything is left out, of what this very run has there

    x' = x + (f' - f) W_dec + error' - error,    f'_u = f_u for u in the set, else the ablated value of u

and the error alike. A feature that is in no list (active in neither run of any pair) is outside every set, its ablated
value 0: an ablated run may wake it. A place that a set holds all of is left alone, so the full set is the plain model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from torch import Tensor

from circuits.circuit.circuit import CircuitError, is_error, listable
from circuits.evaluation.running.runner import NONE, PartSet
from interp.attribution.batching.batch_sizes import default_batch_size
from interp.attribution.batching.batches import Batch
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.features.listed import Listed
from interp.dictionaries.dictionary import Dictionary
from interp.errors import unknown
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.graph import Part
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.progress import progress
from interp.scores.scores import Scores
from interp.tasks.lengths import by_length
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation, kind_of
from interp.tasks.task import Task

Errors = Literal["kept", "removed"]
ERRORS: Final = ("kept", "removed")
#: Bytes that the features of a batch may take.
FEATURE_BYTES: Final = 1 << 29
#: Tensors of all features of a place that are there at once while it is edited: what is encoded on the way to its features, what
#: they become, and the change.
AT_A_PLACE: Final = 8
Values = Mapping[Site, Tensor]


class FeatureRunner:
    """The metric of circuits of features on clean prompts; `errors`: `kept` in every circuit, or `removed`.

    `dictionaries`: a description of each, as in `Provenance`. Raises: CircuitError for another `errors`, or a listed feature
    that the dictionaries do not have; MetricError for a metric that is not finite.
    """

    def __init__(
        self,
        model: Any,
        task: Task,
        dictionaries: Mapping[Site, Dictionary],
        *,
        ablation: str | Ablation,
        metric: Metric,
        seed: int,
        batch_size: int | None,
        most_bytes: int | None = None,
        errors: str = "kept",
        listed: Sequence[Part] = (),
    ) -> None:
        if errors not in ERRORS:
            raise CircuitError(unknown("errors", errors, ERRORS))
        self.model, self.metric, self.errors = model, metric, cast(Errors, errors)
        self.pairs = task.tokenize(model.tokenizer, model.outputs, several=metric.several)
        longest = max(p.length for p in self.pairs)
        self.batch_size = batch_size or _batch_size(model, longest, dictionaries)
        if most_bytes is not None:
            self.batch_size = min(self.batch_size, _batch_size(model, longest, dictionaries, most_bytes))
        space = FeatureSpace.of(model, dictionaries, self.pairs, kind_of(ablation), self.batch_size)
        self.dictionaries = space.dictionaries
        self.ablation: Ablation = space.ablation(ablation, model, self.pairs, seed, self.batch_size)
        found = [*space.parts([None]), *(replace(part, position=None) for part in listed)]
        self.places = [_Place.of(own, found) for own in space.listed]
        self.full: PartSet = frozenset(found)
        _check_listed(self.full, self.places)
        self.parts: tuple[Part, ...] = tuple(part for part in dict.fromkeys(found) if listable(part))

    @property
    def held(self) -> PartSet:
        """All errors, or nothing."""
        return frozenset(filter(is_error, self.full)) if self.errors == "kept" else NONE

    def with_errors(self, errors: Errors) -> FeatureRunner:
        """The same with errors `kept` or `removed`."""
        found = copy(self)
        found.errors = errors
        return found

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        """The metric of every set of features and errors on every pair [example]. Cost: one forward per set."""
        table = np.empty((len(sets), len(self.pairs)))
        batches = list(by_length([p.shape for p in self.pairs], self.batch_size))
        with (
            settled(self.model.device),
            torch.no_grad(),
            progress("evaluating circuits", len(sets) * len(batches), show_progress) as advance,
        ):
            for index in batches:
                batch = Batch.of(self.model, (), self.pairs, index, self.metric, "noise", self.ablation)
                values = self._values(batch)
                for row, parts in enumerate(sets):
                    edits = [edit for place in self.places for edit in place.edits(parts, values)]
                    table[row, index] = self._metric(batch, edits).double().cpu().numpy()
                    advance(1)
        return dict(zip(sets, table, strict=True))

    @property
    def _given(self) -> dict[Site, Dictionary]:
        return {place.site: place.dictionary for place in self.places}

    def _metric(self, batch: Batch, edits: Sequence[Edit]) -> Tensor:
        """The metric of the clean run with edits [batch]."""
        run = self.model.run(
            batch.base_inputs,
            edits=edits,
            dictionaries=self._given,
            logits_to_keep=batch.keep,
            vocabulary=batch.columns,
        )
        return batch.measure(batch.at_metric(run.logits))

    def _values(self, batch: Batch) -> Values:
        """What features and errors outside a set become, by part of a site."""
        if self.ablation.has_run:
            parts = [part for place in self.places for part in (place.features, place.error)]
            found = self.model.run(batch.source_inputs, reads=parts, dictionaries=self._given, logits_to_keep=1)
            return cast(Values, found.reads)
        return {part: x for place in self.places for part, x in place.constants(self.ablation).items()}


@dataclass(frozen=True, eq=False)
class _Place:
    """One dictionary in the evaluation of circuits: its features that are parts, by node, and the node of its error."""

    listed: Listed
    nodes: Mapping[Part, int]
    left_out: Part

    @classmethod
    def of(cls, listed: Listed, parts: Sequence[Part]) -> _Place:
        at = listed.target
        own = {part: cast(Node, part) for part in parts if part.kind == f"{at.kind}.feature" and part.layer == at.layer}
        units = {part: node.unit or 0 for part, node in own.items()}
        return cls(listed, units, Node(f"{at.kind}.error", at.layer))

    @property
    def site(self) -> Site:
        return self.listed.target

    @property
    def dictionary(self) -> Dictionary:
        return self.listed.dictionary

    @property
    def features(self) -> Site:
        return replace(self.site, part="features")

    @property
    def error(self) -> Site:
        return replace(self.site, part="error")

    def edits(self, parts: PartSet, values: Values) -> list[Edit]:
        """Ablate every feature that is not in `parts`, and the error where it is not; none where all are."""
        inside = [unit for node, unit in self.nodes.items() if node in parts]
        whole = len(inside) == len(self.nodes)
        if whole and self.left_out in parts:
            return []
        keep = torch.zeros(self.dictionary.n_features, dtype=torch.bool, device=self.dictionary.device)
        keep[inside] = True
        found = [Edit(self.features, lambda f: torch.where(keep, f, values[self.features]))]
        if self.left_out not in parts:
            found.append(Edit(self.error, lambda e: values[self.error].expand_as(e)))
        return found

    def constants(self, ablation: Ablation) -> dict[Site, Tensor]:
        """Zero, or the means: features [feature], those that are not listed 0; error [d_out]."""
        features = torch.zeros(self.dictionary.n_features, dtype=self.dictionary.dtype, device=self.dictionary.device)
        error = torch.zeros(self.dictionary.d_out, dtype=self.dictionary.dtype, device=self.dictionary.device)
        means = ablation.fixed(self.features), ablation.fixed(self.error)
        if means[0] is not None and means[1] is not None:
            features[self.listed.features] = means[0].to(features).flatten()
            error += means[1].to(error).flatten()
        return {self.features: features, self.error: error}


def with_silent(scores: Scores, parts: Sequence[Part]) -> Scores:
    """The scores with those of `parts` that they lack: of features silent on every pair that was scored, so exactly 0."""
    silent = tuple(dict.fromkeys(part for part in parts if part not in frozenset(scores.parts)))
    if not silent:
        return scores
    table = np.concatenate([scores.per_example, np.zeros((len(scores.per_example), len(silent)))], axis=1)
    return Scores((*scores.parts, *silent), table, scores.provenance)


def _check_listed(parts: PartSet, places: Sequence[_Place]) -> None:
    """Refuse features that no dictionary has. Raises: CircuitError."""
    known = {part for place in places for part in (*place.nodes, place.left_out)}
    sizes = {f"{place.site.kind}.feature": place.dictionary.n_features for place in places}
    for part in parts:
        unit = part.unit if isinstance(part, Node) else None
        if part not in known or (unit is not None and not 0 <= unit < sizes[part.kind]):
            has = ", ".join(f"{place.site} with {place.dictionary.n_features} features" for place in places)
            raise CircuitError(f"{part.name} is not a feature of these dictionaries, which are {has}.")


def _batch_size(
    model: Any, length: int, dictionaries: Mapping[Site, Dictionary], most_bytes: int = FEATURE_BYTES
) -> int:
    """Prompts per batch so that features stay near `most_bytes`: the ablated ones of all dictionaries, and those of one that is edited."""
    sizes = [d.n_features * max(4, d.dtype.itemsize) for d in dictionaries.values()]
    per_prompt = length * (sum(sizes) + AT_A_PLACE * max(sizes, default=0))
    return max(1, min(default_batch_size(model, length), most_bytes // max(1, per_prompt)))
