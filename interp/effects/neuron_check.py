"""What a run says of a ranking of neurons: the first of them zeroed, and as many random ones of the same layers.

Axis words: `example`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from interp.effects.answer_ends import Ends
from interp.lenses.effect_measures import log_probs
from interp.model.edits import Edit, zero
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.tasks.targets import make_targets


@dataclass(frozen=True)
class ZeroCheck:
    """What zeroing some neurons at every position did to the answer, mean over the prompts: `top` of a ranking, or `random`.

    log_prob (nats), logit, logit_diff (logits; 0 without wrong answers): with them zeroed less without. share_lowered: of the prompts, those
    whose log-probability of the answer fell.
    """

    which: str
    neurons: tuple[str, ...]
    log_prob: float
    logit: float
    logit_diff: float
    share_lowered: float


def zeroed(
    ranked: Sequence[Node], n: int, seed: int, draws: int, widths: dict[int, int]
) -> list[tuple[str, list[Node]]]:
    """The first `n` of a ranking, and `draws` times as many random neurons of the same layers, none of the first among them where
    the layer is wide enough."""
    top, rng = list(ranked[:n]), np.random.default_rng(seed)
    found = [("top", top)]
    for _ in range(draws):
        drawn: list[Node] = []
        for layer, size in Counter(node.layer or 0 for node in top).items():
            taken = {node.unit for node in top if node.layer == layer}
            free = [unit for unit in range(widths[layer]) if unit not in taken]
            pool = free if len(free) >= size else list(range(widths[layer]))
            drawn += [Node("neuron", layer, int(unit)) for unit in rng.choice(pool, size, replace=False)]
        found.append(("random", drawn))
    return found


def check_of(
    run: Callable[[Sequence[Edit]], Ends], base: Ends, groups: Sequence[tuple[str, Sequence[Node]]]
) -> tuple[ZeroCheck, ...]:
    """Zero each group of neurons at every position. run: the prompts under some edits. Cost: F for each group."""
    before = read_answers(base)
    rows = []
    for which, nodes in groups:
        changes = [after - was for after, was in zip(read_answers(run(zeroing(nodes))), before, strict=True)]
        log_prob, logit, diff = (float(change.mean()) for change in changes)
        lowered = float((changes[0] < 0).mean())
        rows.append(ZeroCheck(which, tuple(n.name for n in nodes), log_prob, logit, diff, lowered))
    return tuple(rows)


def zeroing(nodes: Sequence[Node]) -> list[Edit]:
    """Edits that zero neurons at every position."""
    layers: dict[int, list[int]] = {}
    for node in nodes:
        layers.setdefault(node.layer or 0, []).append(node.unit or 0)
    return [zero(Site("mlp_post", layer), neurons=units) for layer, units in layers.items()]


def read_answers(ends: Ends) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probability of the answers, their mean logit, and that less the mean logit of the wrong ones (0 without any) [example each]."""
    answers, wrong = weights_of(ends)
    logit = (ends.logits * answers).sum(-1)
    diff = logit - (ends.logits * wrong).sum(-1) if ends.has_wrong else logit * 0
    log_prob = log_probs(ends.logits[:, None], answers)[:, 0]
    return log_prob.cpu().numpy(), logit.cpu().numpy(), diff.cpu().numpy()


def weights_of(ends: Ends) -> tuple[Tensor, Tensor]:
    """Answers and wrong tokens [example d_vocab each] as weights of their mean."""
    targets: Any = make_targets(list(ends.pairs), ends.logits.shape[-1], ends.logits.device)
    return targets.answers, targets.wrong
