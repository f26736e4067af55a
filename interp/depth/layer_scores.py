"""The registry of scores by which parts of layers are dropped: how much is lost without each, by its own measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.attribution.request import attribute
from interp.depth.material import Material, Prompts
from interp.depth.outcomes import log_probabilities, outcome
from interp.depth.removal import UNITS, Part, blocks_left, run_without, stream_sites, streams_of
from interp.depth.stream_measures import Seams, StreamSums, void_shares
from interp.errors import MethodError
from interp.precision import wide
from interp.registries import About, Registry
from interp.tasks.metric import Metric
from interp.tasks.targets import make_targets
from interp.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Question:
    """What a score is asked. removed: parts that are already left out; parts: those to score; best: only the lowest is wanted, so that a score
    may stop at what cannot be it and give infinity there."""

    material: Material
    given: Any
    unit: str
    removed: tuple[Part, ...]
    parts: tuple[Part, ...]
    metric: Metric
    alpha: float | None
    best: bool = False

    @property
    def model(self) -> Any:
        return self.material.model


Function = Callable[[Question], dict[Part, float]]


@dataclass(frozen=True)
class LayerScore:
    """How much is lost without a part, the lowest dropped first. units: what it scores; needs_task: it has no meaning for texts; again: it can be
    taken anew where parts are left out, as a greedy search does."""

    name: str
    function: Function
    about: About
    units: tuple[str, ...] = tuple(UNITS)
    needs_task: bool = False
    again: bool = True

    def check(self, unit: str, task: bool, search: str, alpha: float | None) -> None:
        """Raises: MethodError where it does not fit the other options."""
        if unit not in self.units:
            raise MethodError(f"score {self.name!r} scores {', '.join(self.units)}; given unit={unit!r}.")
        if self.needs_task and not task:
            raise MethodError(
                f"score {self.name!r} needs a task, whose metric it measures; of a text take 'influence' or 'perplexity'."
            )
        if search == "greedy" and not self.again:
            raise MethodError(
                f"score {self.name!r} is of the full model; a greedy search needs one that is taken again: 'influence', 'perplexity', 'exact'."
            )
        if (self.name == "lac") != (alpha is not None):
            raise MethodError(
                "alpha belongs to score 'lac', which needs it: no default is published; give for example alpha=0.5."
            )


#: A registered score: parts are dropped in the order of its numbers, the lowest first.
LAYER_SCORES: Final[Registry[LayerScore]] = Registry("layer score", "interp.layer_scores", MethodError)


def layer_score(name: str, about: About, **more: Any) -> Callable[[Function], Function]:
    """Register a score."""

    def register(function: Function) -> Function:
        LAYER_SCORES.add(LayerScore(name, function, about, **more))
        return function

    return register


@layer_score(
    "influence",
    About(
        "mean over tokens of 1 - cos(x, y): how little the part turns the stream x into y",
        "1 - cosine",
        "1 F",
        "Men et al. 2024 (ShortGPT); He et al. 2024",
    ),
)
def influence(asked: Question) -> dict[Part, float]:
    """Of the streams of one run without what was removed; the same prompts, no logits."""
    gone = {part.layer for part in asked.removed if part.kind == "block"}
    seams = Seams(asked.model, tuple(part for part in asked.parts if part.layer not in gone))
    sums = StreamSums()
    for prompts in asked.material:
        run = run_without(asked.model, prompts, asked.removed, reads=seams.sites, keep=1)
        sums.add(seams, run.reads, prompts.first)
    return {part: sums.mean(part, "influence") for part in asked.parts}


@layer_score(
    "perplexity",
    About(
        "cross-entropy without the part, less that with it",
        "nats",
        "F from the part's layer on, for each part",
        "Zhong et al. 2024 (BlockPruner)",
    ),
)
def perplexity(asked: Question) -> dict[Part, float]:
    """Each part is run without, from its layer on."""
    return compared(
        asked, lambda prompts, logits: outcome(prompts, log_probabilities(prompts, logits)).cross_entropy.double()
    )


@layer_score(
    "exact",
    About(
        "the metric of the task, less that without the part",
        "metric",
        "F from the part's layer on, for each part",
        "exact patching with zero",
    ),
    needs_task=True,
)
def exact(asked: Question) -> dict[Part, float]:
    """The same of the metric of a task, which falls."""
    sign = -1.0 if asked.metric.higher_is_better else 1.0

    def lost(prompts: Prompts, logits: Tensor) -> Tensor:
        last = logits[:, -1]
        targets = make_targets(list(prompts.pairs), last.shape[-1], last.device)
        return sign * asked.metric(last, targets).double()[:, None]

    return compared(asked, lost)


@layer_score(
    "relp",
    About(
        "relevance of the part by `relp` where it is replaced by zero: an estimate of `exact`; of a layer the sum of its parts",
        "metric",
        "1 F + 1 B",
        "RelP",
    ),
    needs_task=True,
    again=False,
)
def relp(asked: Question) -> dict[Part, float]:
    """The scores of `interp.attribute` with the method `relp`."""
    if not isinstance(asked.given, Task):
        raise MethodError("score 'relp' needs a task.")
    found = attribute(
        asked.model,
        asked.given,
        method="relp",
        level="blocks",
        ablation="zero",
        direction="noise",
        metric=asked.metric.name,
        show_progress=False,
    )
    sign = -1.0 if asked.metric.higher_is_better else 1.0
    kinds = {"attn_out": "attention", "mlp": "mlp"}
    lost = {
        Part(int(p.layer or 0), kinds[p.kind]): sign * float(v)
        for p, v in zip(found.parts, found.mean, strict=True)
        if p.kind in kinds
    }
    whole = {
        Part(n, "block"): sum(v for p, v in lost.items() if p.layer == n) for n in range(asked.model.layout.n_layers)
    }
    return {part: (lost | whole)[part] for part in asked.parts}


@layer_score(
    "lac",
    About(
        "share of tokens for which the layer is no void: the stream grows by alpha of the range of its growths or more",
        "share of tokens",
        "1 F",
        "Shemiranifar 2025 (L2 adaptive computation)",
    ),
    units=("block",),
    again=False,
)
def lac(asked: Question) -> dict[Part, float]:
    """Of the lengths of the streams of one run."""
    layers = range(asked.model.layout.n_layers)
    voids, tokens = np.zeros(len(layers)), 0
    for prompts in asked.material:
        run = run_without(asked.model, prompts, (), reads=stream_sites(layers), keep=1)
        streams = streams_of(run.reads, layers, len(layers))
        norms = torch.stack(
            [wide(streams[i])[:, prompts.first :].norm(dim=-1).flatten() for i in range(len(layers) + 1)]
        )
        voids += norms.shape[1] * void_shares(norms, float(asked.alpha or 0.0), True).cpu().numpy()
        tokens += norms.shape[1]
    return {part: 1 - float(voids[part.layer] / tokens) for part in asked.parts}


# ---------------------------------------------------------------- runs without each part

#: A candidate is given up where it is worse than the best by this many standard errors of the difference, over prompts, of which so many were seen.
_ERRORS: Final = 4.0
_LEAST: Final = 16


def compared(asked: Question, lost: Callable[[Prompts, Tensor], Tensor]) -> dict[Part, float]:
    """What is lost without each part more, `lost(prompts, logits)` [batch read], mean over all places, less the same with it.

    Each run begins at the first layer that the part changes. Where only the best is wanted, a part is given up when it is worse, prompt by
    prompt, than the best so far by four standard errors on sixteen prompts or more.
    """
    n = asked.model.layout.n_layers
    left = blocks_left(n, asked.removed)
    losses: dict[Part, list[Tensor]] = {part: [] for part in asked.parts}
    base: list[Tensor] = []
    for prompts in asked.material:
        run = run_without(asked.model, prompts, asked.removed, reads=stream_sites(left))
        streams = streams_of(run.reads, left, n)
        base.append(lost(prompts, run.logits))
        for part in losses:
            losses[part].append(lost(prompts, without(asked.model, prompts, asked.removed, part, streams)))
        if asked.best:
            losses = {part: losses[part] for part in _open(losses)}
    before = _mean(base)
    return {part: _mean(losses[part]) - before if part in losses else float("inf") for part in asked.parts}


def _open(losses: dict[Part, list[Tensor]]) -> list[Part]:
    """The parts that may still be the best."""
    if sum(len(x) for x in next(iter(losses.values()))) < _LEAST:
        return list(losses)
    each = {part: torch.cat([x.sum(1) for x in found]) for part, found in losses.items()}
    best = min(each, key=lambda part: float(each[part].mean()))
    gaps = {part: found - each[best] for part, found in each.items()}
    bound = {part: float(gap.mean() - _ERRORS * gap.std() / len(gap) ** 0.5) for part, gap in gaps.items()}
    return [part for part in losses if part == best or bound[part] <= 0]


def _mean(losses: Sequence[Tensor]) -> float:
    return float(sum(float(x.sum()) for x in losses) / sum(x.numel() for x in losses))


def without(model: Any, prompts: Prompts, removed: Sequence[Part], part: Part, streams: dict[int, Tensor]) -> Tensor:
    """The logits without one part more than those that were left out of the run that `streams` is of."""
    behind = part.layer + (part.kind == "block")
    run = run_without(model, prompts, [*removed, part], streams={**streams, behind: streams[part.layer]}, start=behind)
    return run.logits
