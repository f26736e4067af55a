"""One batch at level `edges`: the differences of its writers, the scores of a gradient run, and runs with edges patched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import isqrt, prod
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.edges.contraction import Contraction
from interp.attribution.edges.edge_maps import POSITION, EdgeMap
from interp.attribution.edges.interventions import PatchedRun
from interp.attribution.edges.readers import Stream
from interp.attribution.edges.sums import Sums
from interp.attribution.edges.writers import EMBED, Values, final_site
from interp.model.edits import Edit
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import Rules

SETS_BYTES: Final = 16 << 20
TERM_BYTES: Final = 32 << 20

#: Edits of the base run, and how much its gradients count.
Point = tuple[Sequence[Edit], float]


@dataclass
class EdgeBatch(Batch):
    """A batch whose values are those of the writers."""

    map: EdgeMap = None  # type: ignore[assignment]
    _differences: tuple[Values, Tensor] | None = None
    _position: Tensor | None = None
    _streams: dict[int, Tensor] = field(default_factory=dict)
    _offsets: dict[str, Tensor | float] = field(default_factory=dict)

    @property
    def sites(self) -> list[Site]:
        """The sites of the writers."""
        return self.map.writers.sites

    def values_of(self, reads: Mapping[Site, Tensor]) -> Values:
        """What the writers wrote in a run, in float32 or better."""
        return self.map.writers.seen(reads)

    # ------------------------------------------------------------ what is patched in

    def differences(self) -> tuple[Values, Tensor]:
        """source - base of every writer; the embedding writers apart, [batch writer pos d_model]."""
        if self._differences is None:
            source, base = self.source(), self.base()
            values = {site: source[site] - base[site] for site in self.sites}
            self._differences = values, self.source_embeds() - self.embeds_of(base)
        return self._differences

    def position(self) -> Tensor | None:
        """The position embedding [1 pos d_model] where it is a writer of its own."""
        if not self.map.graph.split_positions:
            return None
        if self._position is None:
            self._position = self.map.writers.position_part(self.base_inputs, self.base()[EMBED])
        return self._position

    def source_embeds(self) -> Tensor:
        """The values to patch in of the embedding writers [batch writer pos d_model]."""
        position = self.position()
        if position is None or self.ablation.has_run:
            return self.embeds_of(self.source())
        embed = self.source()[EMBED]
        part = self.ablation.value(POSITION, position.expand_as(embed))
        return torch.stack([embed - part, part], dim=1)

    def embeds_of(self, values: Values) -> Tensor:
        """What the embedding writers wrote [batch writer pos d_model]."""
        embed, position = values[EMBED], self.position()
        if position is None:
            return embed[:, None]
        return torch.stack([embed - position, position.expand_as(embed)], dim=1)

    def source_streams(self) -> dict[int, Tensor]:
        """By how many writers a reader sees, the stream [batch pos d_model] in which every part is replaced: that of the source run,
        else the sum of what is patched in and of what attention adds besides its heads."""
        if not self._streams:
            self._streams = self._streams_of_run() if self.ablation.has_run else self._sums_of_sources()
        return self._streams

    def _streams_of_run(self) -> dict[int, Tensor]:
        graph = self.map.graph
        sites = {step.sees: graph.read_at(step) for step in graph.steps}
        sites[len(graph.writers)] = final_site(self.model.layout)
        with torch.no_grad():
            run = self.model.run(
                self.source_inputs,
                reads=[*self.sites, *sites.values()],
                logits_to_keep=self.keep,
                vocabulary=self.columns,
            )
        self.forwards += 1
        if self._source is None:
            self._source, self._source_logits = self.values_of(run.reads), self.at_metric(run.logits)
        return {n: wide(run.reads[site]) for n, site in sites.items()}

    def _sums_of_sources(self) -> dict[int, Tensor]:
        source, writers = self.source(), self.map.writers
        total = self.source_embeds().sum(1)
        found = {writers.first: total}
        for step in self.map.graph.steps:
            total = total + writers.total(step, source)
            rest = writers.rest(step.layer, source[step.site]) if step.kind == "head" else None
            total = found[step.writers.stop] = total if rest is None else total + rest
        return found

    # ------------------------------------------------------------ runs

    def contract(
        self,
        scores: Tensor,
        masks: Tensor | None,
        rules: Rules,
        *,
        points: Sequence[Point] = (((), 1.0),),
        only: range | None = None,
        advance: Callable[[int], None] = lambda steps: None,
    ) -> None:
        """Add sum over points of weight * d_u . g_v to `scores` [batch label reader writer], g from one forward and backward of
        the base run with the point's edits under `rules`. `only`: the writers to score, all by default. `advance` is told
        of each point."""
        self.model.check_gradients()
        self.toward(rules)  # first: it is the source run
        self.targets()
        if self.ablation.has_run:
            self.source()
        if any(edits for edits, _ in points):
            self.base()  # every other run comes before the hooks of these
        size = self._points_at_once(rules)
        for start in range(0, len(points), size):
            some = points[start : start + size]
            found: list[Contraction] = []
            begin = partial(self._begin, found, scores, masks, some[0][1] if len(some) == 1 else 1.0, only)
            sums = self._sums() if len(some) > 1 else None
            for edits, weight in some:
                self._pass(rules, edits, weight, sums, found, begin)
                advance(1)
            if sums:
                sums.hand_on(found[0].add)
            found[0].flush()

    def _begin(
        self, found: list[Contraction], scores: Tensor, masks: Tensor | None, weight: float, only: range | None
    ) -> None:
        """Make the contraction where there is none yet: after the first forward pass the base run is known."""
        if not found:
            values, embeds = self.differences()
            found.append(Contraction(self.map.writers, values, embeds, masks, scores, self.map.workspace, weight, only))

    def _points_at_once(self, rules: Rules) -> int:
        """How many points are added up before they are contracted: one where readers share columns, or rules stand between two runs."""
        if rules.secants or not all(p.one_pass for p in self.map.projections.values()):
            return 1
        layout = self.model.layout
        kept = 4 * prod(self.shape) * layout.d_model * layout.n_layers if rules.norm == "gradient" else 1
        return max(1, TERM_BYTES // kept)

    def _sums(self) -> Sums:
        return Sums(self.model, self.map.graph, self.map.projections, self.map.workspace, self.base()[EMBED])

    def _pass(
        self,
        rules: Rules,
        edits: Sequence[Edit],
        weight: float,
        sums: Sums | None,
        found: Sequence[Contraction],
        begin: Callable[[], None],
    ) -> None:
        """One forward and backward, `begin` between them; what readers get goes to `sums`, else to the contraction."""
        if sums:
            sums.weight = weight
        toward = self.toward(rules)
        stream = Stream(
            self.model,
            self.map.graph,
            self.map.projections,
            rules,
            len(self.pairs),
            sums.at_stream if sums else lambda *reader: found[0].add(*reader),
            self.map.workspace,
            sums.at_columns if sums else None,
            toward=None if toward is None else toward.operands,
            offsets=self._offsets,
        )
        with torch.enable_grad(), ExitStack() as stack:
            stream.attach(stack)
            stack.callback(stream.close)
            run = self._run_for_gradients(stream, rules, edits)
            stream.listen(run.reads)
            begin()
            self.descend(self.at_metric(run.logits), [run.reads[EMBED]], rules)
        self.forwards += 1
        self.backwards += 1

    def _run_for_gradients(self, stream: Stream, rules: Rules, edits: Sequence[Edit]) -> Any:
        """The base run with `edits`; without them its values are kept as the base run's, which they are bit for bit."""
        mixed = any(not p.one_pass for p in self.map.projections.values())
        keep_values = self._base is None and not edits
        run = self.model.run(
            self.base_inputs,
            reads=[EMBED, *stream.reads(), *(self.sites if keep_values else ())],
            edits=edits,
            rules=rules,
            allow_unsupported=True,
            logits_to_keep=self.keep,
            split_kv=mixed and self.map.graph.kv == "split",
            vocabulary=self.columns,
            toward=self.toward(rules),
        )
        if keep_values:
            self._base, self._base_logits = self.values_of(run.reads), self.at_metric(run.logits).detach()
        return run

    def patched_edges(self, cuts: Tensor, masks: Tensor | None = None) -> Tensor:
        """The metric [set batch] of the base run with sets of edges patched from the source.

        cuts: bool [set reader writer], at all positions; or [set label reader writer], with masks [label batch pos]: the positions of each
        label, none of which share a token. A set of one label may leave its axis out.
        """
        found = PatchedRun(
            self.map.writers, self.map.projections, self.source(), self.source_embeds(), cuts, masks, self.position()
        )
        logits = found.logits(self.base_inputs, self.keep, self.columns)
        self.forwards += len(cuts)
        return torch.stack([self.measure(self.at_metric(one)) for one in logits])

    def sets_at_once(self, labels: int = 1) -> int:
        """How many circuits go through as one batch, so that what their writers wrote stays near `SETS_BYTES`; at several labels of
        positions it is held again for the tokens of one."""
        graph, again = self.map.graph, 1 + (labels > 1)
        return max(1, self._vectors // (again * len(graph.writers) + (1 + again) * graph.n_attention_readers))

    def edges_at_once(self) -> int:
        """The same for sets of one edge each: n of them have up to n senders, and n x n values are held."""
        return max(1, isqrt(self._vectors))

    @property
    def _vectors(self) -> int:
        """How many tensors [batch pos d_model] fit into `SETS_BYTES`."""
        return int(SETS_BYTES // (4 * prod(self.shape) * self.model.layout.d_model))
