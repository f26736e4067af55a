"""Batches of prompts of one length, so that no attribution ever sees padding; and what a batch's runs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from interp.attribution.batching.positions import positions_at
from interp.model.edits import Edit
from interp.model.modules.lock import reserved
from interp.model.modules.standing_in import recording, standing_in
from interp.model.result import Run
from interp.model.vocabulary import Columns
from interp.parts.named_inputs import Inputs
from interp.parts.nodes import Group
from interp.parts.outputs import NextToken
from interp.parts.sites import Site
from interp.rules.rules import GRADIENT, Rules
from interp.rules.secants import mean_gradient
from interp.tasks.metric import Direction, Metric
from interp.tasks.pairs.token_pairs import TokenPair, ids_of, run_of
from interp.tasks.replacements import Ablation
from interp.tasks.targets import Targets, answer_columns, at_answers, make_targets, positions_read

EMBED = Site("embed")


@dataclass
class Batch:
    """The runs of one batch, each made once and shared by all methods.

    base: the run that is patched; source: where the patched values come from. `passes` counts forwards and backwards.
    """

    model: Any
    groups: Sequence[Group]
    pairs: list[TokenPair]
    metric: Metric
    direction: Direction
    ablation: Ablation
    partners: list[TokenPair]
    forwards: float = 0
    backwards: float = 0
    _base: dict[Site, Tensor] | None = None
    _base_logits: Tensor | None = None
    _source: dict[Site, Tensor] | None = None
    _source_logits: Tensor | None = None
    _targets: Targets | None = field(default=None)
    _toward: Run | None = None
    _blocks: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Any,
        groups: Sequence[Group],
        pairs: Sequence[TokenPair],
        index: Sequence[int],
        metric: Metric,
        direction: Direction,
        ablation: Ablation,
        **more: Any,
    ) -> Self:
        """The batch of the pairs at `index`, with their partners where the ablation has some; `more`: further fields."""
        partners = [pairs[ablation.partners[i]] for i in index] if ablation.partners else []
        return cls(model, groups, [pairs[i] for i in index], metric, direction, ablation, partners, **more)

    @property
    def sites(self) -> list[Site]:
        """The sites of the groups, and the embeddings, along which integrated gradients go."""
        return list(dict.fromkeys([*self.embeds, *(group.site for group in self.groups)]))

    @cached_property
    def embeds(self) -> tuple[Site, ...]:
        """The embedding of each stack, and what else enters its blocks of the tokens."""
        return self.model.layout.entrances  # type: ignore[no-any-return]

    @property
    def hosts(self) -> list[Site]:
        """The sites where the nodes of the groups are patched."""
        return list(dict.fromkeys(group.site for group in self.groups))

    @property
    def keep(self) -> int:
        """How many positions' logits the metric needs: those that give the answers, most often the last, or (0) all."""
        return positions_read(self.pairs) if self.metric.positions == "last" else 0

    @property
    def keep_end(self) -> int:
        """How many positions, counted from the end, the metric depends on behind the last block; 0 for any."""
        return self.keep if isinstance(self.model.outputs, NextToken) else 0

    @cached_property
    def columns(self) -> Tensor | None:
        """The token ids whose logits the metric reads, in order and each once [column]; None where it reads all.

        Every run of a batch has the logits of these tokens only: `model.run(..., vocabulary=batch.columns)`.
        """
        return answer_columns(self.pairs, self.model.device) if self.metric.vocabulary == "answers" else None

    def at_metric(self, logits: Tensor) -> Tensor:
        """The logits that the metric reads, of `columns` or all tokens: [batch d_vocab] at the last position, or all
        positions, or those that give answers of several tokens [batch pos d_vocab]."""
        return at_answers(logits, self.pairs) if self.metric.positions == "last" else logits

    def values_of(self, reads: Mapping[Site, Tensor]) -> dict[Site, Tensor]:
        """The values of a run by site, without gradient."""
        return {site: reads[site].detach() for site in self.sites}

    @property
    def base_inputs(self) -> Tensor | Inputs:
        """What the base run takes: token ids [batch pos], or inputs that are no text."""
        return run_of([p.corrupt if self.direction == "denoise" else p.clean for p in self.pairs])

    @property
    def source_inputs(self) -> Tensor | Inputs:
        """The same of the run where values come from."""
        if self.partners:
            return run_of([p.clean for p in self.partners])
        return run_of([p.clean if self.direction == "denoise" else p.corrupt for p in self.pairs])

    @property
    def base_ids(self) -> Tensor:
        """The token ids of the base run [batch pos]. Raises: TaskError for a task of images or sound."""
        return torch.tensor([ids_of(p.corrupt if self.direction == "denoise" else p.clean) for p in self.pairs])

    @property
    def source_ids(self) -> Tensor:
        """The same of the source run."""
        if self.partners:
            return torch.tensor([ids_of(p.clean) for p in self.partners])
        return torch.tensor([ids_of(p.clean if self.direction == "denoise" else p.corrupt) for p in self.pairs])

    @property
    def shape(self) -> tuple[int, int]:
        """Examples and positions of a run."""
        return len(self.pairs), self.pairs[0].length

    # ------------------------------------------------------------ nodes

    def contracted(
        self, group: Group, coefficient: Mapping[Site, Tensor], positions: Tensor, base: Mapping[Site, Tensor]
    ) -> Tensor:
        """(source - base) . coefficient within each node, summed over the positions of each label [batch label unit]."""
        per_position = group.contract(self.source()[group.site] - base[group.site], coefficient[group.site])
        positions = positions_at(positions, per_position)
        return torch.einsum("lbp,bpu->blu", positions.to(per_position), per_position)

    def step(self, site: Site) -> Tensor:
        """What all nodes of a site together change there: source - base, in the shape of the site."""
        return self.source()[site] - self.base()[site]

    # ------------------------------------------------------------ runs

    def source(self) -> dict[Site, Tensor]:
        """The values to patch in, by site."""
        if self._source is None:
            if self.ablation.has_run:
                _, self._source, self._source_logits = self._plain(self.source_inputs)
            else:
                self._source = {site: self.ablation.value(site, x) for site, x in self.base().items()}
        return self._source

    def base(self) -> dict[Site, Tensor]:
        """The values of the base run, by site."""
        if self._base is None:
            _, self._base, self._base_logits = self._plain(self.base_inputs)
        return self._base

    @property
    def recorded(self) -> bool:
        """Whether a recording of the base run has all that the batch reads of it."""
        return True

    def take_base(self, reads: Mapping[Site, Tensor], logits: Tensor) -> None:
        """Take the base run from one that was made for another purpose; logits are those that the metric reads."""
        if self._base is None and self.recorded:
            self._base, self._base_logits = self.values_of(reads), logits

    def base_metric(self) -> Tensor:
        """The metric of the base run [batch]."""
        self.base()
        return self.measure(self._known(self._base_logits))

    def source_metric(self) -> Tensor | None:
        """The metric of the source run [batch]; None where there is no such run."""
        self.source()
        return None if self._source_logits is None else self.measure(self._source_logits)

    def measure(self, logits: Tensor) -> Tensor:
        """The metric of the logits that it reads (`at_metric`) -> [batch]."""
        return self.metric(logits, self.targets())

    def targets(self) -> Targets:
        """What the metric measures against, with the logits of both runs where it asks for them."""
        if self._targets is None:
            targets = make_targets(self.pairs, self.model.layout.d_vocab, self.model.device, self.columns)
            if self.metric.toward == "base" or self.metric.from_base:
                self.base()
                targets = replace(targets, base=self._base_logits)
            if self.metric.toward == "source":
                self.source()
                targets = replace(targets, source=self._source_logits)
            self._targets = targets
        return self._targets

    def record(self) -> None:
        """Keep what each block of the base run gives, so that patched runs go on from it."""
        paths = [block.path for block in self.model.layout.every_block]
        with reserved(self.model.hf), recording(self.model.hf, paths) as self._blocks:
            _, self._base, self._base_logits = self._plain(self.base_inputs)

    def patched(self, edits: Sequence[Edit], *, resume: bool = False) -> Tensor:
        """The metric of the base run with edits [batch]; resume: blocks that no edit reaches give what was recorded."""
        layout = self.model.layout
        sites = [site for edit in edits for site in self.model.resolve(edit.site)] if resume else []
        kept = layout.untouched((site.stack, site.layer) for site in sites) if resume else ()
        blocks = {path: self._blocks[path] for path in kept}
        self.forwards += 1 - self.model.prices.share(blocks, self.plain_cost // len(self.pairs), self.pairs[0].length)
        with torch.no_grad(), reserved(self.model.hf), standing_in(self.model.hf, blocks):
            run = self.model.run(self.base_inputs, edits=edits, logits_to_keep=self.keep, vocabulary=self.columns)
            return self.measure(self.at_metric(run.logits))

    def gradients(
        self, rules: Rules = GRADIENT, edits: Sequence[Edit] = (), at: Sequence[Site] = ()
    ) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
        """Values and d metric / d value at every site (or those of `at`), of the base run under `rules` (and `edits`).

        The rules were checked by the driver. Without edits the values are also kept as the base run's, whose forward is the same bit for bit.
        """
        self.model.check_gradients()
        toward = self.toward(rules)  # first: it is the source run, which the metric may ask for too
        self.targets()
        sites = list(at or self.sites)
        with torch.enable_grad():
            run = self.model.run(
                self.base_inputs,
                reads=sites,
                edits=edits,
                rules=rules,
                allow_unsupported=True,
                logits_to_keep=self.keep,
                vocabulary=self.columns,
                toward=toward,
            )
            found = self.descend(self.at_metric(run.logits), [run.reads[s] for s in sites], rules)
        self.forwards += 1
        self.backwards += 1
        values = {site: run.reads[site].detach() for site in sites}
        if self._base is None and not edits and not at:
            self._base, self._base_logits = values, self.at_metric(run.logits).detach()
        return values, {s: torch.zeros_like(values[s]) if g is None else g for s, g in zip(sites, found, strict=True)}

    def toward(self, rules: Rules) -> Run | None:
        """The source run with its operands, where rules average operations between both runs."""
        if rules.secants and self._toward is None:
            self._toward, values, logits = self._plain(self.source_inputs, keep_operands=True)
            self._source, self._source_logits = values, logits
        return self._toward if rules.secants else None

    def descend(self, logits: Tensor, places: Sequence[Tensor], rules: Rules) -> tuple[Tensor | None, ...]:
        """d metric / d place from the logits that the metric reads; under rules with secants the metric's own gradient is
        averaged between the logits of both runs too."""
        if not rules.secants:
            return torch.autograd.grad(self.measure(logits).sum(), places, allow_unused=True)
        slope = mean_gradient(self.measure, logits.detach(), self._known(self._source_logits), rules.secants)
        return torch.autograd.grad(logits, places, slope, allow_unused=True)

    @property
    def plain_cost(self) -> int:
        """The multiply-adds of a run that has the logits that the metric reads."""
        n, length = self.shape
        known = None if self.columns is None else Columns.of(self.model, self.columns)
        tokens = self.model.layout.d_vocab if known is None or known.W is None else len(known.tokens)
        return int(self.model.prices.run(n, length, (self.keep or length) * tokens))

    def _plain(self, given: Tensor | Inputs, **options: Any) -> tuple[Run, dict[Site, Tensor], Tensor]:
        self.forwards += 1
        with torch.no_grad():
            run = self.model.run(given, reads=self.sites, logits_to_keep=self.keep, vocabulary=self.columns, **options)
        return run, self.values_of(run.reads), self.at_metric(run.logits)

    @staticmethod
    def _known(logits: Tensor | None) -> Tensor:
        if logits is None:
            raise RuntimeError("the run that fills these logits was not made")
        return logits
