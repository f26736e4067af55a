"""What the phases of a run at level features cost beside what those of nodes do: encoders and decoders, and what only features have.

A runner and a request find the active features again, each for its own pairs. Of the features that are active at a token only those
change, so that decoding a change costs as many rows of a decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from circuits.anatomy.closeups import MOST_WRITES
from circuits.anatomy.feature_study import BESIDE, LOOKED_AT, prompts_of
from circuits.costs.circuit_runs import FeatureRuns, runs_of
from circuits.costs.run_costs import RunCosts, asked_by, curve_sizes
from circuits.costs.scoring import of_request
from circuits.evaluation.faithfulness import spread
from interp.attribution.auto.verified import ALONG_PATHS
from interp.attribution.features.feature_space import ENTRY_BYTES, FeatureSpace
from interp.attribution.features.groups import FeatureGroup
from interp.dictionaries.dictionary import Dictionary
from interp.errors import InterpError
from interp.ledger import BACKWARD, PASS
from interp.lenses.direct_effects import PARTS_AT_ONCE
from interp.tasks.ablations import ABLATIONS
from interp.tasks.pairs.token_pairs import TokenPair


@dataclass(frozen=True)
class FeatureCosts(RunCosts):
    """The bounds of the phases of a run at level features."""

    @cached_property
    def _given(self) -> Sequence[Dictionary]:
        return list((self.job.settings.dictionaries or {}).values())

    @cached_property
    def _space(self) -> FeatureSpace:
        found = self.job.request.space
        if not isinstance(found, FeatureSpace):
            raise RuntimeError("a run at level features has no space of features")
        return found

    @property
    def ranked(self) -> int:
        return sum(group.n_units for group in self._space.groups if isinstance(group, FeatureGroup))

    @cached_property
    def _tokens(self) -> float:
        """What a multiply-add for each token of the scored pairs is, in forwards."""
        return sum(pair.length for pair in self.job.request.pairs) / self.forward

    @cached_property
    def _coded(self) -> float:
        """Features and errors of both runs, for one call for scores."""
        return self.sides * self._tokens * sum(d.encoding + d.decoding + d.skipping for d in self._given)

    @cached_property
    def _changed(self) -> float:
        """Decoding all changes once, or reading them: a row for each feature that is active, and with means one for each listed."""
        width = max(d.d_out for d in self._given)
        rows = self._tokens * width * (self._space.per_token // ENTRY_BYTES)
        if not ABLATIONS[self.job.settings.ablation].is_fixed:
            return rows
        labels = 1 + len(self.job.request.positions.labels)
        return rows + labels * len(self.job.request.pairs) * self.ranked * width / self.forward

    @cached_property
    def _found(self) -> float:
        """Finding the active features of the scored pairs, and means."""
        return self._feature_runs(self.job.request.pairs).made / self.forward

    def loading(self) -> float:
        return self._found

    # ------------------------------------------------------------ scores

    @property
    def again(self) -> float:
        """Each call codes its runs again, and decodes what a method changes or reads."""
        return self._coded + self._changed

    def scoring(self) -> float:
        return super().scoring() + 2 * self._changed * (len(self.job.request.methods) + len(ALONG_PATHS[False]))

    def checking(self, command: str) -> float:
        found = super().checking(command)
        return found and found + self._found

    # ------------------------------------------------------------ what only features have

    def features(self) -> float:
        """The circuit without errors, circuits of other nodes, edges between the first features, and what these react to."""
        return self._without_errors() + sum(map(self._beside, BESIDE)) + self._edges() + self._seen()

    def _without_errors(self) -> float:
        runs = self._feature_runs(self.pairs(self.job.evaluation))
        sets = curve_sizes(self.ranked, self.job.settings.n, self.job.settings.n_random, runs.n)
        return (runs.made + runs.without_errors().call(sets)) / self.forward

    def _beside(self, level: str) -> float:
        """Scores of other nodes, and the tops of their ranking at the sizes of the curve."""
        settings = self.job.settings
        try:
            scored = self.fixed + of_request(self.request(settings.beside(level)))
        except InterpError:
            return 0.0  # the study will say why there are none
        other = replace(settings, level=level, dictionaries=None)
        runs = runs_of(asked_by(self.job.model, self.pairs(self.job.evaluation), other))
        own = self.ranked if settings.n is None else settings.n
        sizes = [size for size in {*spread(self.ranked), own} if settings.n is None or size <= runs.n]
        return scored + (runs.made + runs.call([min(size, runs.n) for size in sizes])) / self.forward

    def _edges(self) -> float:
        """Three runs, a backward from the metric and one from each node; features and slopes of each place, and its encoder again
        for the features and for the error, forward and from each node back."""
        nodes = LOOKED_AT + len(self._given)
        encoding = self._tokens * sum(d.encoding + d.decoding for d in self._given)
        runs = self._found + 2 + 2 * PASS + nodes * BACKWARD
        return runs + self._coded + (4 + nodes) * encoding + (1 + nodes) * self._changed

    def _seen(self) -> float:
        """What each dictionary reads and makes up on the prompts of the task, how well, and once more what the features react to."""
        prices, found = self.job.model.prices, 0
        for ids in prompts_of(self.job):
            n, length = ids.shape if isinstance(ids, Tensor) else (len(ids), self.job.model.n_positions(ids))
            run = prices.run(n, length, self.job.model.layout.d_vocab)
            found += sum(3 * run + n * length * (2 * d.encoding + d.decoding + d.skipping) for d in self._given)
        return found / self.forward

    def anatomy(self) -> float:
        """What is written by features is encoded at the last position, a few features at a time; nothing else is scored."""
        evaluation = self.pairs(self.job.evaluation)
        times = -(-MOST_WRITES // PARTS_AT_ONCE) + len(self._given)
        encoding = times * sum(d.encoding for d in self._given) + MOST_WRITES * max(d.d_out for d in self._given)
        return self.share(evaluation) + self._closely(evaluation) + 2 * len(evaluation) * encoding / self.forward

    def _feature_runs(self, pairs: Sequence[TokenPair]) -> FeatureRuns:
        found = self.runs(pairs)
        if not isinstance(found, FeatureRuns):
            raise RuntimeError("runs of another level")
        return found
