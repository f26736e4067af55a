"""Layers, or their attention or MLPs, left out one after the other: in which order, and what is left of the model after each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import torch

from interp.depth.layer_scores import LAYER_SCORES, Question
from interp.depth.material import Material
from interp.depth.outcomes import Sums, log_probabilities, outcome
from interp.depth.removal import Part, Unit, parts_of, run_without
from interp.errors import MethodError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.precision import wide
from interp.tasks.metrics import METRICS
from interp.tasks.task import Task
from interp.whole_numbers import count

Way = Literal["once", "greedy", "consecutive"]
SEARCHES: Final = ("once", "greedy", "consecutive")


@dataclass(frozen=True, eq=False, repr=False)
class DroppedLayers(Table):
    """The parts of a model in the order in which they were left out, and what is left of it after each step.

    removed: names, `attn.2`, `mlp.0` or `block.3`; layers, kinds: of each. scores: by which each was chosen, the lowest first, at its step (nan
    of a block among consecutive ones, which are chosen together). curve: [step, (cross_entropy, kl, accuracy, low, high)], step 0 the full
    model: cross-entropy in nats with its 95 % bootstrap interval over prompts, the KL divergence from the full model, and how often the most probable
    token is right. judged: 'chosen' where the curve is of the very prompts that the order was chosen on, 'other' where it is of others.
    """

    removed: tuple[str, ...]
    layers: tuple[int, ...]
    kinds: tuple[str, ...]
    scores: tuple[float | None, ...]
    curve: np.ndarray = field(metadata=along(0, finite=False))
    n: int
    n_layers: int
    unit: str
    score: str
    search: str
    judged: Literal["chosen", "other"]
    model: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        n = len(self.removed)
        sizes = {name: ((len(getattr(self, name)),), (n,)) for name in ("layers", "kinds", "scores")}
        check_sizes(self, curve=(self.curve.shape, (n + 1, 5)), **sizes)

    @property
    def cross_entropy(self) -> np.ndarray:
        """In nats, of the full model and after each step [step]."""
        return np.asarray(self.curve[:, 0])

    @property
    def chain(self) -> tuple[int, ...]:
        """The layers that are left, as `model.run` takes them (`layers=`); all where only attention or MLPs were left out."""
        gone = {layer for layer, kind in zip(self.layers, self.kinds, strict=True) if kind == "block"}
        return tuple(layer for layer in range(self.n_layers) if layer not in gone)

    def to_pandas(self) -> Any:
        """A row per step, the full model first: step, removed, score, cross_entropy, kl, accuracy, low, high."""
        scores = [None, *self.scores]
        return rows_of(
            {
                "step": list(range(len(self.removed) + 1)),
                "removed": ["", *self.removed],
                "score": np.array([np.nan if s is None else s for s in scores]),
                **{name: self.curve[:, i] for i, name in enumerate(("cross_entropy", "kl", "accuracy", "low", "high"))},
            }
        )

    def __str__(self) -> str:
        where = "the prompts it was chosen on" if self.judged == "chosen" else "other prompts than it was chosen on"
        lines = [
            f"DroppedLayers({self.unit} by {self.score}, {self.search}, {visible(self.model, 80)}; judged on {self.n} prompts, {where})"
        ]
        for name, row in zip(("full model", *self.removed), self.curve, strict=True):
            lines.append(
                f"  {name:<12} cross-entropy {row[0]:.3f} [{row[3]:.3f}, {row[4]:.3f}], KL {row[1]:.3f}, right {row[2]:.1%}"
            )
        return printed("\n".join(lines))


@kinds_checked
def drop_layers(
    model: Any,
    text: Any,
    *,
    unit: Unit = "block",
    score: str = "influence",
    n: int = 1,
    search: Way = "once",
    judge: Any = None,
    metric: str = "logit_diff",
    alpha: float | None = None,
    keep_bos: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
) -> DroppedLayers:
    """Leave out `n` parts, those first without which least is lost by a score, and measure what is left after each.

    text: texts, ids or a task, on which the order is chosen; judge: others, on which the curve is measured (by default the same, and the value says
    so: which text they are decides which layers go). unit: `attention`, `mlp`, `both` (each of either) or `block`, the whole layer, which is
    then not called at all (`model.run(..., layers=)`); attention and MLPs add zero. score: a name of `LAYER_SCORES`. search: `once` scores all parts in the full
    model; `greedy` again after each; `consecutive` (blocks by influence or perplexity) takes n in a row. metric: of the task, for `exact` and `relp`. alpha: for `lac`.
    Cost: `once` that of the score; `greedy` with perplexity or exact of m of n parts m (n - (m - 1) / 2) runs, each from its layer on, and none to the
    end for a part that is clearly not the best; the curve n + 1 forwards.
    Source: Men et al. 2024; He et al. 2024; Zhong et al. 2024. Raises: MethodError for options that do not fit; TaskError; LayoutError.
    """
    if score not in LAYER_SCORES.names():
        raise MethodError(unknown("layer score", score, LAYER_SCORES.names()))
    if search not in SEARCHES:
        raise MethodError(unknown("search", search, SEARCHES))
    material = Material.of(model, text, keep_bos=keep_bos, batch_size=batch_size, what="drop_layers")
    judges = (
        material if judge is None else Material.of(model, judge, keep_bos=keep_bos, batch_size=batch_size, what="judge")
    )
    for one in (material, judges):
        one.check_predicts("drop_layers")
    parts, steps = parts_of(model, unit), count(n, "n")
    _check_n(steps, parts, unit)
    LAYER_SCORES[score].check(unit, material.task, search, alpha)
    asked = Question(material, text, unit, (), parts, METRICS[metric], alpha)
    with settled(model.device), torch.no_grad():
        order = _ORDERS[search](asked, score, steps)
        curve = drop_curve(judges, [part for part, _ in order], seed)
    return DroppedLayers(
        tuple(part.name for part, _ in order),
        tuple(part.layer for part, _ in order),
        tuple(part.kind for part, _ in order),
        tuple(value for _, value in order),
        curve,
        len(judges),
        model.layout.n_layers,
        unit,
        score,
        search,
        "chosen" if judge is None else "other",
        model.name,
        text.name if isinstance(text, Task) else "",
    )


def _check_n(n: int, parts: Sequence[Part], unit: str) -> None:
    """Raises: MethodError for more parts than can be left out; one layer must be left."""
    most = len(parts) - (unit == "block")
    if n > most:
        kept = ", of which one must be left" if unit == "block" else ""
        raise MethodError(f"n={n}: this model has {len(parts)} parts for unit={unit!r}{kept}; expected 1 to {most}.")


# ---------------------------------------------------------------- in which order

Order = list[tuple[Part, float | None]]


def _once(asked: Question, score: str, n: int) -> Order:
    with torch.enable_grad():
        found = LAYER_SCORES[score].function(asked)
    return [(part, found[part]) for part in sorted(asked.parts, key=lambda part: found[part])[:n]]


def _greedy(asked: Question, score: str, n: int) -> Order:
    order: Order = []
    for _ in range(n):
        removed = tuple(part for part, _ in order)
        open_ = tuple(part for part in asked.parts if part not in removed)
        found = LAYER_SCORES[score].function(replace(asked, removed=removed, parts=open_, best=True))
        best = min(open_, key=lambda part: found[part])
        order.append((best, found[best]))
    return order


def _consecutive(asked: Question, score: str, n: int) -> Order:
    """The n layers in a row without which least is lost: by how little they turn the stream together, or by cross-entropy.

    Source: Gromov et al. 2024, "The unreasonable ineffectiveness of the deeper layers".
    """
    if asked.unit != "block" or score not in ("influence", "perplexity"):
        raise MethodError(
            "search='consecutive' takes whole layers in a row by 'influence' or 'perplexity'; give unit='block' and one of these."
        )
    starts = range(asked.model.layout.n_layers - n + 1)
    lost = _turned(asked, n) if score == "influence" else [_lost(asked, start, n) for start in starts]
    first = min(starts, key=lambda start: lost[start])
    return [(Part(layer, "block"), lost[first] if layer == first else None) for layer in range(first, first + n)]


def _turned(asked: Question, n: int) -> list[float]:
    """1 - cosine of what enters each layer and what leaves the n-th from it, mean over tokens."""
    layers = range(asked.model.layout.n_layers)
    total, tokens = np.zeros(len(layers) - n + 1), 0
    for prompts in asked.material:
        reads = [*(Site(kind, layer) for layer in layers for kind in ("resid_pre", "resid_post"))]
        run = run_without(asked.model, prompts, (), reads=reads, keep=1)
        for start in range(len(total)):
            x, y = (
                wide(run[site])[:, prompts.first :]
                for site in (Site("resid_pre", start), Site("resid_post", start + n - 1))
            )
            total[start] += float((1 - torch.cosine_similarity(x, y, dim=-1)).double().sum())
        tokens += len(prompts.places) * (prompts.length - prompts.first)
    return [float(v) for v in total / tokens]


def _lost(asked: Question, start: int, n: int) -> float:
    """The cross-entropy without n layers in a row, less that of the full model."""
    *others, last = (Part(layer, "block") for layer in range(start, start + n))
    sums, full = Sums(len(asked.material)), Sums(len(asked.material))
    for prompts in asked.material:
        for own, removed in ((sums, (*others, last)), (full, ())):
            found = log_probabilities(prompts, run_without(asked.model, prompts, removed).logits)
            own.add(prompts.places, outcome(prompts, found))
    return float(sums.mean[0] - full.mean[0])


_ORDERS: Final = {"once": _once, "greedy": _greedy, "consecutive": _consecutive}

# ---------------------------------------------------------------- what is left


def drop_curve(material: Material, order: Sequence[Part], seed: int = 0) -> np.ndarray:
    """[step, (cross_entropy, kl, accuracy, low, high)] of the full model and after each part that is left out, in order."""
    steps = [tuple(order[:i]) for i in range(len(order) + 1)]
    sums = [Sums(len(material)) for _ in steps]
    for prompts in material:
        full = None
        for own, removed in zip(sums, steps, strict=True):
            found = log_probabilities(prompts, run_without(material.model, prompts, removed).logits)
            full = found if full is None else full
            own.add(prompts.places, outcome(prompts, found, full))
    return np.array([[*own.mean, *own.interval(seed)] for own in sums])
