"""One run with a mask over edges: reader v sees  source + sum_u M[u->v] (now_u - source_u)  in the place of the stream.

Everything between readers and writers is the model's own. An attention, an MLP or the output that sees all of every writer reads the run's own
stream, and one that sees nothing the stream of the source run: with all of the mask 1 or all 0 the run is the model's own, bit for bit.

Axis words: `reader writer batch pos d_model`; `column`: of a projection's output.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.writers import final_site
from interp.attribution.masks.attention_reads import AttentionReads
from interp.attribution.masks.mixture import Mixture
from interp.attribution.masks.stream_reads import Reading
from interp.attribution.masks.stream_writes import Writing
from interp.model.edits import Edit
from interp.rules.rules import GRADIENT, Rules


@dataclass(frozen=True)
class MaskedEdges:
    """One masked run of a batch. mask [reader writer], in float32 or better; where no edge is, anything.

    keep: hold what norms made of the copies until the backward pass, in place of making it again there: time for memory.
    """

    batch: EdgeBatch
    mask: Tensor
    rules: Rules = GRADIENT
    keep: bool = True

    def metric(self) -> Tensor:
        """The metric [batch] of the masked run."""
        with torch.no_grad():
            return self._run(self._mixture(backward=False))

    def derivative(self) -> tuple[Tensor, Tensor]:
        """The metric [batch], and d metric / d mask [batch reader writer], the coefficients of the rules for gradients.

        Raises: UnsupportedRuleError, LayoutError where a norm behind heads has no place in such a run.
        """
        self.batch.model.check_gradients()
        mixture = self._mixture(backward=True)
        with torch.enable_grad():
            found = self._run(mixture)
        mixture.meet()
        return found, mixture.derivative

    def _mixture(self, backward: bool) -> Mixture:
        known = self.batch.map
        totals, visible = self.batch.source_streams(), torch.from_numpy(known.graph.visible).to(self.mask)
        return Mixture(known.graph, self.mask * visible, totals, known.workspace, backward)

    def _run(self, mixture: Mixture) -> Tensor:
        batch, first = self.batch, mixture.token
        batch.source()
        batch.targets()
        toward = batch.toward(self.rules)
        reading = Reading(batch.model, self.rules, mixture, self.keep, None if toward is None else toward.operands)
        attention = AttentionReads(batch.map, reading)
        with ExitStack() as stack:
            stack.callback(mixture.let_go)
            reading.attach(stack)
            attention.attach(stack)
            run = batch.model.run(
                batch.base_inputs,
                edits=[
                    *Writing(batch, self.rules, mixture).edits(),
                    *attention.edits(),
                    Edit(final_site(batch.model.layout), reading.final),
                ],
                rules=self.rules,
                allow_unsupported=True,
                logits_to_keep=batch.keep,
                split_kv=bool(attention.shared) and batch.map.graph.kv == "split",
                vocabulary=batch.columns,
                toward=toward,
            )
            logits = batch.at_metric(run.logits)
            if mixture.backward:
                batch.descend(logits, [first], self.rules)
        batch.forwards += 1
        batch.backwards += mixture.backward
        return batch.measure(logits.detach())
