"""Which neurons are measured, and in which order: all, or those of the largest bound.

Axis words: `example neuron token`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from interp.effects.answer_ends import Ends
from interp.effects.neuron_check import weights_of
from interp.effects.written import Written
from interp.lenses.effect_measures import Measure
from interp.parts.nodes import Node
from interp.parts.sites import Site

#: Neurons times tokens of the vocabulary above which only some neurons are measured exactly, and how many those are.
EXACT_UP_TO: Final = 1 << 31
SCREENED: Final = 1000


def width_of(ends: Ends, layer: int) -> int:
    """How many neurons a layer has."""
    return int(ends.values[Site("mlp_post", layer)].shape[1])


@dataclass(frozen=True)
class Found:
    """What was measured of the neurons that were, the first first: see `NeuronEffects`."""

    nodes: tuple[Node, ...]
    per_example: np.ndarray
    logits: np.ndarray
    log_probs: np.ndarray
    up: np.ndarray
    up_logits: np.ndarray
    down: np.ndarray
    down_logits: np.ndarray
    n_neurons: int
    proved: int


@dataclass
class Ranking:
    """The neurons of some layers, by one measure of one run, or of its difference to a second."""

    measure: Measure
    runs: Sequence[Written]
    layers: Sequence[int]
    screen: int | None
    k: int

    def table(self) -> Found:
        """All that is measured, in the order of the measure."""
        kept, left = self._kept()
        rows = [self._of(layer, units) for layer, units in kept.items() if units]
        nodes = [Node("neuron", layer, unit) for layer, units in kept.items() for unit in units]
        arrays = [
            np.concatenate(parts, axis)
            for parts, axis in zip(zip(*rows, strict=True), (1, 1, 1, 0, 0, 0, 0), strict=True)
        ]
        order = np.argsort(-arrays[0].mean(0), kind="stable")
        arrays = [x[:, order] if i < 3 else x[order] for i, x in enumerate(arrays)]
        proved = int((arrays[0].mean(0) >= left).cumprod().sum())
        total = sum(width_of(self.runs[0].ends, layer) for layer in self.layers)
        per_example, logits, log_probs, up, up_logits, down, down_logits = arrays
        ranked = tuple(nodes[i] for i in order)
        return Found(ranked, per_example, logits, log_probs, up, up_logits, down, down_logits, total, proved)

    def _kept(self) -> tuple[dict[int, list[int]], float]:
        """The units of each layer that are measured exactly, and a bound of the measure of all others: -inf without others, inf where none is known."""
        widths = {layer: width_of(self.runs[0].ends, layer) for layer in self.layers}
        total, tokens = sum(widths.values()), self.runs[0].ends.logits.shape[-1]
        most = self.screen or (SCREENED if total * tokens > EXACT_UP_TO else total)
        if most >= total:
            return {layer: list(range(n)) for layer, n in widths.items()}, -np.inf
        scores = np.concatenate([self._screened(layer, range(n)) for layer, n in widths.items()])
        places = [(layer, unit) for layer, n in widths.items() for unit in range(n)]
        order = np.argsort(-scores, kind="stable")
        kept: dict[int, list[int]] = {layer: [] for layer in self.layers}
        for i in sorted(order[:most]):
            kept[places[i][0]].append(places[i][1])
        capped = self.runs[0].ends.model.layout.logits_softcap is not None
        known = self.measure.linear or not (capped or len(self.runs) > 1)
        return kept, float(scores[order[most]]) if known else np.inf

    def _screened(self, layer: int, units: Sequence[int]) -> np.ndarray:
        """The measure where it is linear, else its bound, mean over the examples [neuron]; of two runs the difference of these."""
        each = []
        for run in self.runs:
            if self.measure.linear:
                each.append(self._linear(run, layer, units)[-1 if self.measure.needs_wrong else 0].mean(0))
            else:
                directions = run.bound_directions(layer)
                each.append(run.linear(layer, units, directions).amax(0).mean(0))
        return (each[0] - (each[1] if len(each) > 1 else 0)).cpu().numpy()

    def _linear(self, run: Written, layer: int, units: Sequence[int]) -> torch.Tensor:
        """What units add to the mean logit of the answers, and to that less the mean of the wrong ones [2 example neuron]."""
        answers, wrong = weights_of(run.ends)
        W_U = run.head.W_U.double().T
        return run.linear(layer, units, torch.stack([answers @ W_U, (answers - wrong) @ W_U]))

    def _of(self, layer: int, units: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The measure, the logit, the log-probability [example neuron each], and the tokens raised and lowered most [neuron token each] of some units."""
        each = [(self._linear(run, layer, units), *run.log_prob(layer, units)) for run in self.runs]
        linear, log_prob, tokens = each[0]
        if len(each) > 1:
            linear, log_prob = linear - each[1][0], log_prob - each[1][1]
        k = min(self.k, tokens.shape[1])
        up, down = tokens.topk(k, 1), tokens.topk(k, 1, largest=False)
        named = {"logit": linear[0], "logit_diff": linear[1]}
        numbers = (
            named.get(self.measure.name, log_prob),
            linear[0],
            log_prob,
            up.indices,
            up.values.double(),
            down.indices,
            down.values.double(),
        )
        return tuple(x.cpu().numpy() for x in numbers)
