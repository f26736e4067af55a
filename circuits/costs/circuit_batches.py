"""What the runs of circuits are of: pairs of a model in batches, and what a plain run of such a batch costs, in multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from circuits.evaluation.running.runners import share_of
from interp.attribution.batching.batch_sizes import default_batch_size, survey_batch
from interp.attribution.batching.batches import Batch
from interp.attribution.exact.forecast import starts_at
from interp.attribution.exact.machine import find_restart
from interp.attribution.methods.node_patching import readout
from interp.dictionaries.dictionary import Dictionary
from interp.parts.sites import Site
from interp.tasks.ablations import ABLATIONS
from interp.tasks.lengths import by_length
from interp.tasks.metrics import METRICS, get_metric
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation


@dataclass(frozen=True)
class Shape:
    """`batch` prompts of `length` tokens whose values can differ from position `start` on; of `read` positions of each the logits
    are read, each as dear as `tokens` logits. index: which of the pairs."""

    index: tuple[int, ...]
    length: int
    start: int
    read: int
    tokens: int

    @property
    def batch(self) -> int:
        return len(self.index)

    @property
    def rows(self) -> int:
        """Positions of all its prompts."""
        return self.batch * self.length

    @property
    def redone(self) -> int:
        """Those that can differ."""
        return self.batch * (self.length - self.start)


@dataclass(frozen=True)
class Asked:
    """What the runs of circuits are of: pairs of a model, and how circuits are judged on them. learned: whether values that are learned are
    there already."""

    model: Any
    pairs: Sequence[TokenPair]
    level: str
    ablation: str
    metric: str
    batch_size: int | None = None
    max_memory: int | str | None = None
    dictionaries: Mapping[Site, Dictionary] | None = None
    learned: bool = False

    @cached_property
    def longest(self) -> int:
        return max(pair.longest for pair in self.pairs)

    @property
    def at_once(self) -> int:
        """Prompts of a batch."""
        if self.max_memory is not None:
            return survey_batch(self.model, self.longest, self.batch_size, self.max_memory)
        return self.batch_size or default_batch_size(self.model, self.longest)

    @property
    def share(self) -> int | None:
        """Bytes that circuits which run together may take, None for the usual."""
        return share_of(self.max_memory, self.level)

    @cached_property
    def shapes(self) -> list[Shape]:
        """The batches of a runner."""
        return [self._shape(index) for index in by_length([pair.shape for pair in self.pairs], self.at_once)]

    def _shape(self, index: Sequence[int]) -> Shape:
        metric = get_metric(self.metric)
        metric = METRICS["logit_diff"] if metric.normalised else metric
        batch = Batch.of(self.model, (), self.pairs, index, metric, "noise", Ablation(self.ablation))
        length, machine = self.pairs[index[0]].length, find_restart(self.model).machine
        paired = ABLATIONS[self.ablation].paired
        start = 0 if machine is None else starts_at(batch.base_inputs, batch.source_inputs if paired else None, machine)
        read = batch.keep_end or length
        return Shape(
            tuple(index),
            length,
            min(start, length - batch.keep_end if batch.keep_end else length - 1),
            read,
            readout(batch).computed,
        )

    @property
    def paired(self) -> bool:
        """Whether ablated values come from another run, not from the base run."""
        return ABLATIONS[self.ablation].has_run

    @property
    def based(self) -> bool:
        """Whether the metric needs the base run beside that."""
        metric = get_metric(self.metric)
        return self.paired and (metric.toward == "base" or metric.from_base)

    def plain(self, shape: Shape) -> int:
        """A run of a batch that ends at the logits that are read."""
        return int(self.model.prices.run(shape.batch, shape.length, shape.read * shape.tokens))

    def short(self, shape: Shape) -> int:
        """A run that is made for what it reads: all logits of the last position, or of those that give answers where values are learned."""
        read = shape.read if ABLATIONS[self.ablation].learn is not None else 1
        return int(self.model.prices.run(shape.batch, shape.length, read * self.model.layout.d_vocab))
