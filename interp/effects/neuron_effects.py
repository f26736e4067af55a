"""Neurons ranked by what each writes to the answer directly, with what zeroing the first of them does.

Axis words: `example neuron token d_vocab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from interp.effects.ends import Ends, Head, Prompts, ends_of
from interp.effects.measures import MEASURES, Measure
from interp.effects.neuron_check import ZeroCheck, check_of, weights_of, zeroed
from interp.effects.neuron_table import NeuronEffects
from interp.effects.written import Written
from interp.errors import EditError, LayoutError, MetricError, SiteError
from interp.given import kinds_checked
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.parts.tokens import Texts
from interp.tasks.task import Task
from interp.whole_numbers import count, whole

WHAT: Final = "effects of neurons"
#: Neurons times tokens of the vocabulary above which only some neurons are measured exactly, and how many those are.
EXACT_UP_TO: Final = 1 << 31
SCREENED: Final = 1000


@kinds_checked
def neuron_effects(
    model: Any,
    task: Task,
    *,
    layers: Sequence[int] | None = None,
    measure: str = "log_prob_increase",
    compare: Sequence[Edit] = (),
    prompts: Prompts = "clean",
    screen: int | None = None,
    check: int = 10,
    draws: int = 5,
    seed: int = 0,
    k: int = 5,
    batch_size: int | None = None,
) -> NeuronEffects:
    """Rank neurons by what each writes to the answer where it is read, and zero the first `check` of them to see whether it matters.

    log_prob_increase = log p(answer | x + c_i w_i) - log p(answer | x), p = softmax(W_U N(.)), N the final norm frozen at the run, x the stream
    that the MLP reads, c_i w_i what the neuron adds; `logit` and `logit_diff` are linear in it (`MEASURES`). Logit and log-probability are always
    both there, since they disagree. compare: edits; the measure is then its value less that in a run with them, under the norm of the
    plain run (Yu & Ananiadou 2024 zero one head). check, draws: so many first neurons, and so many draws of random ones
    of the same layers, are zeroed at every position.

    screen: at most so many neurons are measured exactly, those of the largest bound log p(x + v) - log p(x) <= v . (W_U[answer] - E_p W_U); the value says how
    many first places that proves. By default all, and 1,000 where neurons times vocabulary are more than 2^31.
    Units: nats, logits. Cost: F, F more with `compare`, (1 + draws) F of the check; N D V once, N V for each prompt.
    Raises: MetricError for an unknown measure, or one without wrong answers; SiteError for layers without neurons; LayoutError where a norm acts
    on sums or the neurons are not what the MLP adds; TaskError for answers of several tokens.
    """
    chosen, own = MEASURES[measure], _layers(model, layers)
    check = 0 if check == 0 else count(check, "check", least=1)
    sizes = (count(k, "k"), check, count(draws, "draws"), whole(seed, "seed"))
    if screen is not None:
        count(screen, "screen")
    edits = _edits(compare)
    sites = [Site(kind, layer) for layer in own for kind in ("mlp_in", "mlp_post", "mlp_out")]

    def run(changed: Sequence[Edit], reads: Sequence[Site] = ()) -> Ends:
        return ends_of(model, task, reads, what=WHAT, prompts=prompts, edits=changed, batch_size=batch_size)

    base = run((), sites)
    if chosen.needs_wrong and not base.has_wrong:
        raise MetricError(f"measure {measure!r} needs wrong answers, which {task.name!r} lacks; use 'logit'.")
    head = Head.of(model)
    runs = [Written(base, base.stream, head)]
    if edits:
        other = run(edits, sites)
        runs.append(Written(other, other.seen_by(base), head))
    with settled(model.device), torch.no_grad():
        found = _Ranking(chosen, runs, own, screen, sizes[0]).table()
        nodes = found.nodes
        groups = zeroed(nodes, check, sizes[3], draws, {layer: _width(base, layer) for layer in own}) if check else []
        checks: tuple[ZeroCheck, ...] = check_of(run, base, groups)
    ids = {*found.up.ravel().tolist(), *found.down.ravel().tolist()}
    said = {"measure": measure, "compared": bool(edits), "texts": Texts.of(model.output_text, ids)}
    return NeuronEffects(
        **vars(found), checks=checks, model=model.name, task=task.name, prompts=prompts, **said
    )


def _edits(compare: Any) -> list[Edit]:
    """Raises: EditError for what is no list of edits."""
    found = [compare] if isinstance(compare, Edit) else list(compare)
    if other := next((one for one in found if not isinstance(one, Edit)), None):
        raise EditError(f"compare: given {other!r:.60}; expected edits, such as interp.zero('z.3', heads=1).")
    return found


def _layers(model: Any, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers with neurons that write. Raises: SiteError, LayoutError for others."""
    model.layout.check_blocks(WHAT)
    blocks = model.layout.blocks
    able = [i for i, block in enumerate(blocks) if block.mlp is not None and block.mlp.down is not None]
    found = tuple(able if layers is None else dict.fromkeys(whole(layer, "layer", SiteError) for layer in layers))
    if not found:
        raise LayoutError(f"{WHAT}: no MLP of {model.name} has one output projection, so no neuron has a direction.")
    if wrong := [layer for layer in found if layer not in able]:
        raise SiteError(f"layer {wrong[0]}: has no neurons of one output projection; expected layers among {able}.")
    return found


def _width(ends: Ends, layer: int) -> int:
    return int(ends.values[Site("mlp_post", layer)].shape[1])


@dataclass(frozen=True)
class _Found:
    """What was measured of the neurons that were, the first first: see `NeuronEffects`."""

    nodes: tuple[Node, ...]
    per_example: np.ndarray
    logit: np.ndarray
    log_prob: np.ndarray
    up: np.ndarray
    up_logits: np.ndarray
    down: np.ndarray
    down_logits: np.ndarray
    n_neurons: int
    proved: int


@dataclass
class _Ranking:
    """The neurons of some layers, by one measure of one run, or of its difference to a second."""

    measure: Measure
    runs: Sequence[Written]
    layers: Sequence[int]
    screen: int | None
    k: int

    def table(self) -> _Found:
        """All that is measured, in the order of the measure."""
        kept, left = self._kept()
        rows = [self._of(layer, units) for layer, units in kept.items() if units]
        nodes = [Node("neuron", layer, unit) for layer, units in kept.items() for unit in units]
        arrays = [np.concatenate(parts, axis) for parts, axis in zip(zip(*rows, strict=True), (1, 1, 1, 0, 0, 0, 0), strict=True)]
        order = np.argsort(-arrays[0].mean(0), kind="stable")
        arrays = [x[:, order] if i < 3 else x[order] for i, x in enumerate(arrays)]
        proved = int((arrays[0].mean(0) >= left).cumprod().sum())
        total = sum(_width(self.runs[0].ends, layer) for layer in self.layers)
        return _Found(tuple(nodes[i] for i in order), *arrays, total, proved)

    def _kept(self) -> tuple[dict[int, list[int]], float]:
        """The units of each layer that are measured exactly, and a bound of the measure of all others: -inf without others, inf where none is known."""
        widths = {layer: _width(self.runs[0].ends, layer) for layer in self.layers}
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
        linear, log_prob, tokens = None, None, None
        for sign, run in zip((1, -1), self.runs, strict=False):
            added, (increase, means) = self._linear(run, layer, units), run.log_prob(layer, units)
            linear = sign * added if linear is None else linear + sign * added
            log_prob = sign * increase if log_prob is None else log_prob + sign * increase
            tokens = means if tokens is None else tokens
        assert linear is not None and log_prob is not None and tokens is not None
        k = min(self.k, tokens.shape[1])
        up, down = tokens.topk(k, 1), tokens.topk(k, 1, largest=False)
        named = {"logit": linear[0], "logit_diff": linear[1]}
        numbers = (named.get(self.measure.name, log_prob), linear[0], log_prob, up.indices, up.values.double(), down.indices, down.values.double())
        return tuple(x.cpu().numpy() for x in numbers)
