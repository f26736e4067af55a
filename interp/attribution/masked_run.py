"""A model with a mask over its parts, as a function that torch can differentiate: what searches for circuits are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interp.attribution.asking.keywords import takes
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import Request, ScoreOptions
from interp.attribution.masks.masked import Masked
from interp.attribution.scoring.driver import Attribution
from interp.errors import MethodError, MetricError, unknown
from interp.given import kinds_checked
from interp.model.modules import attention
from interp.model.modules.lock import settled
from interp.option import taken
from interp.parts.graph import Part
from interp.rules.rules import GRADIENT, Rules, preset
from interp.tasks.task import Task

#: Options of scores that have no meaning for a masked run.
_OF_SCORES: Final = ("parts", "steps", "quadrature", "methods")


@dataclass(frozen=True)
class MaskedModel:
    """The metric of a task as a function of shares of all parts of a level: `masked(mask)`.

    A part with share M goes on with  source + M (now - source),  at level edges as the reader at its end sees it; `rules` stand for the
    gradient. `parts`: in the order of masks.
    """

    request: Attribution
    rules: Rules = GRADIENT

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Every part of the level, in the order of a mask."""
        return tuple(self.request.space.parts([None]))

    def mask(self, parts: Iterable[Part | str], inside: float = 1.0, outside: float = 0.0) -> Tensor:
        """A mask [part] with the share `inside` for these parts, by name or as they are, and `outside` for all others.

        Raises: MethodError for a part that is not of this level.
        """
        place = {part.name: i for i, part in enumerate(self.parts)}
        found = torch.full((len(self.parts),), outside, dtype=torch.float64)
        for part in parts:
            name = part if isinstance(part, str) else part.name
            if name not in place:
                raise MethodError(unknown("part of this level", name, place))
            found[place[name]] = inside
        return found

    def __call__(self, mask: Tensor) -> Tensor:
        """The metric of every pair [example], in the order of the task, at shares [part] from 0 to 1; with its gradient where `mask`
        requires one, to first order.

        Cost: one forward of the pairs, and a backward for the gradient; with `max_memory` also the source run, which is else kept from call to
        call. Raises: MethodError for a mask of another shape, or numbers that are no shares.
        """
        given = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        if given != (len(self.parts),) or not mask.is_floating_point():
            raise MethodError(
                f"mask of {given}: expected a tensor of {len(self.parts)} shares, one for each of `parts`."
            )
        if not bool(((mask >= 0) & (mask <= 1)).all()):
            raise MethodError("mask: expected shares from 0 to 1; at least one is outside, or no number.")
        return _Measured.apply(mask, self._measured)  # type: ignore[no-any-return,no-untyped-call]

    def _measured(self, mask: Tensor, slopes: bool) -> tuple[Tensor, Tensor | None]:
        one = attention.selected(self.request.model.hf, None) if self.request.eager else nullcontext()
        metrics, found = list[Tensor](), list[Tensor]()
        with settled(self.request.model.device), one:
            for part in self._parts():
                metric, slope = part.slopes(mask, self.rules) if slopes else (part.metric(mask), None)
                metrics.append(metric)
                found += [] if slope is None else [slope]
        return torch.cat(metrics)[self._order], torch.cat(found)[self._order] if slopes else None

    def _parts(self) -> Iterator[Masked]:
        """All batches, whose source runs are kept for the next call; or, where memory is limited, one after the other."""
        if self.request.masks.keep:
            yield self._kept
            return
        for index in self.request.indices:
            yield Masked([self.request.batch(index)], keep=False)

    @cached_property
    def _kept(self) -> Masked:
        return Masked([self.request.batch(index) for index in self.request.indices])

    @cached_property
    def _order(self) -> Tensor:
        """Where each pair of the task is among those of all batches."""
        return torch.argsort(torch.tensor([i for index in self.request.indices for i in index]))


class _Measured(torch.autograd.Function):
    """Forward: the metric, with its slopes where they will be asked for. Backward: the chain rule."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, measured: Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]) -> Tensor:
        metric, slopes = measured(mask.detach(), ctx.needs_input_grad[0])
        ctx.like = mask
        ctx.slopes = slopes
        return metric

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        return (grads[0].to(ctx.slopes) @ ctx.slopes).to(ctx.like), None


@kinds_checked
def masked(
    model: Any, task: Task | str | Path, *, level: str, rules: Rules | str = GRADIENT, **options: Any
) -> MaskedModel:
    """The model on a task with a mask over the parts of `level`.

    rules: a preset or its name, in the place of the gradient. options: as `interp.attribute` takes them (`ablation`, `metric`, `kv`,
    `dictionaries`, `batch_size`, `max_memory`, ...); the direction is `noise` where none is given: parts of the clean run are replaced.

    Raises: MethodError at level resid, whose nodes are scored apart by position, and for options of scores; MetricError for a normalised
    metric, which has a unit of scores; UnsupportedRuleError; what `interp.attribute` raises.
    Source: the relaxation of circuits by shares: Louizos et al. 2018; Cao et al. 2021; Bhaskar et al. 2024.
    """
    chosen = preset(rules) if isinstance(rules, str) else rules
    if odd := [name for name in _OF_SCORES if options.get(name) is not None]:
        raise MethodError(f"{' and '.join(odd)}: a masked run has all parts and no path; leave it out.")
    if level == "resid":
        raise MethodError(
            "level 'resid' has nodes apart by position, and a mask one share for all positions. Use 'blocks'."
        )
    request = _asked(model, task, level=level, **options)
    if request.metric.normalised:
        raise MetricError(
            f"metric {request.metric.name!r}: scores are normalised, masked runs are not. Use 'logit_diff'."
        )
    if chosen != GRADIENT and not options.get("allow_unsupported"):
        model.coverage(chosen).check()
    return MaskedModel(request, chosen)


@takes(ScoreOptions, "masked")
def _asked(model: Any, task: Task | str | Path, asked: ScoreOptions) -> Attribution:
    direction = "noise" if asked.direction is None else asked.direction
    asked = taken(Request, asked, methods=["mask-ig"], direction=direction)
    return plan(model, task, asked, called="interp.masked")
