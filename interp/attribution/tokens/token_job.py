"""A method of token attribution, and the runs of one batch that the methods share.

Axis words: `batch pos d_model group`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from interp.attribution.tokens.draws import seed_of
from interp.attribution.tokens.entrance import Entrance
from interp.errors import MethodError, MetricError
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Inputs
from interp.progress import progress
from interp.registries import About
from interp.rules.rules import GRADIENT, Rules
from interp.tasks.lengths import by_length
from interp.tasks.metric import Metric
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.targets import Targets, last_of, make_targets

Baseline = Literal["corrupt", "zero"]
#: What replaces a token: the paired prompt, zero, or embeddings of the user's own, [d_model] or [pos d_model].
Reference = Baseline | Tensor
#: The group that each position belongs to.
Places = tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Prompts of one length. x, b: embeddings of prompt and baseline [batch pos d_model]; args: ids, answer sets, and tokens of
    answers of several (`Targets.forced`) where there are; clean: the metric of the prompts [batch]. places: the group of each position of
    each prompt; seeds: of each prompt. moved: `x` are embeddings that the model itself does not make of the ids. entrance: where they
    enter; n_inputs: how many of args are what the model reads."""

    x: Tensor
    b: Tensor
    args: tuple[Tensor, ...]
    clean: Tensor
    places: tuple[Places, ...] = ()
    seeds: tuple[int, ...] = ()
    moved: bool = False
    entrance: Entrance = field(kw_only=True)
    n_inputs: int = 1

    @property
    def targets(self) -> Targets:
        """What the metric measures against."""
        return _targets(*self.args[self.n_inputs :])

    @property
    def edits(self) -> list[Edit]:
        """What a run on the ids needs to be one on `x`."""
        return self.entrance.edits(self.x) if self.moved else []

    def one(self, i: int) -> Batch:
        """One prompt alone."""
        alone, args = slice(i, i + 1), tuple(a[i : i + 1] for a in self.args)
        places, seeds = self.places[alone], self.seeds[alone]
        x, b, clean = self.x[alone], self.b[alone], self.clean[alone]
        return replace(self, x=x, b=b, args=args, clean=clean, places=places, seeds=seeds)


@dataclass(frozen=True)
class Sampling:
    """What methods that draw or slide take: how many `samples`, a `window` of so many positions, the size of `noise` in standard
    deviations of the prompt's embeddings, the `seed`."""

    samples: int = 0
    window: int = 0
    noise: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """Everything that the batches of one call have in common. places: the groups of each pair's positions, all by themselves where there
    are none; held: whether the tokens of an answer of several stay as they are. grid: how positions of a picture lie in rows and columns.
    stack: whose tokens they are, by its prefix; names: what a model that reads several things calls them, the main one as `main`."""

    model: Any
    method: Method
    metric: Metric
    baseline: Reference
    steps: int
    size: int
    sampling: Sampling = Sampling()
    places: tuple[Places, ...] = ()
    held: bool = False
    grid: tuple[Places, ...] = ()
    stack: str = ""
    names: tuple[str, ...] = ()
    main: str = ""

    @cached_property
    def entrance(self) -> Entrance:
        """Where its tokens enter."""
        return Entrance.of(self.model, self.stack)

    def given(self, args: Sequence[Tensor]) -> Tensor | Inputs:
        """What the model reads, of what captum hands through."""
        return Inputs(dict(zip(self.names, args, strict=False)), self.main) if self.names else args[0]

    def score(self, pairs: Sequence[TokenPair], show: bool | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Per pair: the values of its groups, the metric of the clean prompt and (complete methods) of the baseline."""
        with settled(self.model.device):
            return self._score(pairs, show)

    def _score(self, pairs: Sequence[TokenPair], show: bool | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        rows, clean, base, corrupt = [np.empty(0)] * len(pairs), *np.zeros((3, len(pairs)))
        batches = list(by_length([pair.shape for pair in pairs], self.size))
        with progress("attributing", len(batches), show) as advance:
            for index in batches:
                batch = self.batch([pairs[i] for i in index], index)
                for i, row in zip(index, self.values(batch), strict=True):
                    rows[i] = self._finite(row, i)
                clean[index] = _numpy(batch.clean)
                if self.method.complete:
                    base[index] = _numpy(self.measured(batch.b, batch.args))
                if self.metric.normalised:
                    corrupt[index] = _numpy(self.run([pairs[i] for i in index], "corrupt")[1])
                advance(1)
        span = _span(clean, corrupt, self.metric) if self.metric.normalised else 1.0
        return [row / span for row in rows], clean / span, base / span

    def _finite(self, row: np.ndarray, i: int) -> np.ndarray:
        """Raises: MethodError for values that are no numbers."""
        if not np.isfinite(row).all():
            at = "a baseline of your own" if isinstance(self.baseline, Tensor) else f"baseline {self.baseline!r}"
            raise MethodError(
                f"token method {self.method.name!r}: values of pair {i + 1} are not finite (nan, inf) with {at}; use another baseline or method."
            )
        return row

    def values(self, batch: Batch) -> list[np.ndarray]:
        """What the method makes of each prompt of a batch: a number for each of its groups [group]."""
        found = _numpy(self.method.function(self, batch))
        if not batch.places:
            return list(found)
        return [_grouped(row, own, self.method.perturbs) for row, own in zip(found, batch.places, strict=True)]

    def batch(self, pairs: list[TokenPair], index: Sequence[int] = ()) -> Batch:
        """The embeddings of prompts and baselines, and the metric of the prompts. index: which of the job's pairs they are."""
        x, clean = self.run(pairs, "clean")
        b = self._baseline(pairs, x)
        places = tuple(self.places[i] for i in index) if self.places else ()
        seeds = tuple(seed_of(self.sampling.seed, i) for i in index)
        args, n = self.args(pairs, "clean"), max(1, len(self.names))
        return Batch(x, b, args, clean, places, seeds, entrance=self.entrance, n_inputs=n)

    def _baseline(self, pairs: list[TokenPair], x: Tensor) -> Tensor:
        """What each position is replaced by [batch pos d_model]; where the answer's tokens are held, themselves."""
        if isinstance(self.baseline, Tensor):
            b = self._own(self.baseline, x)
        else:
            b = self.run(pairs, "corrupt")[0] if self.baseline == "corrupt" else torch.zeros_like(x)
        kept = [x.shape[1] - pair.forced if self.held else x.shape[1] for pair in pairs]
        if min(kept) == x.shape[1]:
            return b
        free = torch.arange(x.shape[1], device=x.device)[None] < torch.tensor(kept, device=x.device)[:, None]
        return torch.where(free[..., None], b, x)

    def _own(self, own: Tensor, x: Tensor) -> Tensor:
        """Raises: MethodError for embeddings of another size than those of the prompts, or numbers that are not finite."""
        if own.ndim not in (1, 2) or own.shape != x.shape[x.ndim - own.ndim :]:
            raise MethodError(
                f"baseline of shape {list(own.shape)}; expected embeddings [{self.entrance.shown(x.shape[2])}], or [pos, d_model] for prompts of that length: "
                f"{list(x.shape[1:])} here."
            )
        if not bool(torch.isfinite(own).all()):
            raise MethodError("baseline: some numbers are not finite (nan, inf).")
        return own.to(x.device, x.dtype).expand_as(x)

    def args(self, pairs: list[TokenPair], which: str) -> tuple[Tensor, ...]:
        """Token ids [batch pos], or the main input of what is no text, or all that is read, and the answer sets [batch d_vocab]: what captum
        hands through to `forward`."""
        given = run_of([getattr(pair, which) for pair in pairs])
        if isinstance(given, Inputs) and self.names:
            read = [given.tensors[name].to(self.model.device) for name in self.names]
        else:
            read = [(given if isinstance(given, Tensor) else given.alone).to(self.model.device)]
        targets = make_targets(pairs, self.model.layout.d_vocab, self.model.device)
        more = () if targets.forced is None else (targets.forced,)
        return *read, targets.answers, targets.wrong, *more

    def run(self, pairs: list[TokenPair], which: str) -> tuple[Tensor, Tensor]:
        """The embeddings [batch pos d_model] and the metric [batch] of the clean or corrupt prompts."""
        args = self.args(pairs, which)
        targets = _targets(*args[max(1, len(self.names)) :])
        with torch.no_grad():
            run = self.model.run(self.given(args), reads=self.entrance.sites, logits_to_keep=targets.n_read)
        return self.entrance.values(run), self.measure(run.logits, targets)

    def measure(self, logits: Tensor, targets: Targets) -> Tensor:
        """The metric [batch] of logits [batch pos d_vocab]."""
        return self.metric(last_of(logits, targets.n_read), targets)

    def measured(self, x: Tensor, args: tuple[Tensor, ...]) -> Tensor:
        """`forward` without gradient."""
        with torch.no_grad():
            return self.forward(x, *args)

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        """The metric [batch] of the model run on embeddings `x` [batch pos d_model]: the function that captum sees."""
        targets = _targets(*args[max(1, len(self.names)) :])
        run = self.model.run(self.given(args), edits=self.entrance.edits(x), logits_to_keep=targets.n_read)
        return self.measure(run.logits, targets)


def _targets(answers: Tensor, wrong: Tensor, forced: Tensor | None = None) -> Targets:
    return Targets(answers, wrong, forced=forced)


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(x.detach().double().cpu())


def _grouped(row: np.ndarray, places: Places, perturbs: bool) -> np.ndarray:
    """[pos] -> [group]: the sum over a group; of what replaces groups whole, whose positions all have the group's value, that value."""
    own = np.array(places)
    if perturbs:
        return row[[int((own == group).argmax()) for group in range(own.max() + 1)]]
    return np.bincount(own, weights=row[: len(own)])


def _span(clean: np.ndarray, corrupt: np.ndarray, metric: Metric) -> float:
    """mean(clean) - mean(corrupt), the unit of a normalised metric."""
    span = float(clean.mean() - corrupt.mean())
    if abs(span) < 1e-9:
        raise MetricError(f"metric {metric.name!r}: clean and corrupt prompts have the same mean logit difference.")
    return span


@dataclass(frozen=True)
class Method:
    """One way to score tokens, in units of the metric. `complete`: the values sum to m(clean) - m(baseline) as the steps grow.

    perturbs: it replaces groups of positions whole, and gives every position of a group the group's value. samples, window, noise: the default
    of each option that it takes, 0 of one that it does not. unit: behind the metric's, where values are in another one. needs: a package
    that it needs and that an extra brings, as `package[extra]`.
    """

    name: str
    function: Callable[[Job, Batch], Tensor]
    baselines: tuple[Baseline, ...]
    formula: str
    cost: str
    paper: str
    rules: Rules = GRADIENT
    complete: bool = False
    perturbs: bool = False
    samples: int = 0
    window: int = 0
    noise: float = 0.0
    unit: str = ""
    needs: str = ""

    @property
    def about(self) -> About:
        return About(self.formula, f"the metric's{self.unit}", self.cost, self.paper)

    @property
    def takes_steps(self) -> bool:
        """Whether it walks a path in steps."""
        return self.complete and not self.samples
