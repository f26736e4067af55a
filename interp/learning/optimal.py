"""Optimal ablation: the constant for each part that does the least harm, learned by gradient descent.

The best constant of one part alone is  a* = argmin over a of E KL(plain || with the part at a). Circuits ablate many parts, so the
constants of all are learned together, for circuits of every size: for each prompt a share between 0 and 1 is drawn, then which
parts are replaced, each with that chance. Each step takes the clean or the corrupt prompt of a pair, at random: where all clean
prompts have one answer, constants that knew only these would give it. Constants begin at the mean over the clean prompts. Where they
are not better than it in the end, it stays.

Source: Li & Janson 2024, Optimal ablation for interpretability, whose constants for circuits are learned together too, for the
circuits that its search draws.

Axis words: `batch pos unit d_vocab`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from interp.errors import MethodError
from interp.precision import wide

STEPS: Final = 60
#: Of each step, in standard deviations of the values that a constant stands for.
RATE: Final = 0.1
#: Gradients much smaller than this, in nats, move nothing: they are rounding.
EPSILON: Final = 1e-5
#: Draws per prompt that constants are compared by with the mean.
DRAWS: Final = 4
#: At most what learning takes, in forwards of the prompts, a backward counted as two: means, spread, the plain runs of both sides, the
#: steps, and two comparisons.
FORWARDS: Final = 4 + 3 * STEPS + 2 * DRAWS

#: Which parts are replaced: bool [batch unit] by key.
Out = Mapping[Any, Tensor]
Constants = Mapping[Any, Tensor]


@dataclass(frozen=True)
class Replacing:
    """How a model is run with parts at constants. `units`: how many parts each key is of; `run`: (ids [batch pos], positions of
    logits kept, constants [1 1 ...], out) -> logits [batch pos d_vocab], with gradients to the constants. `check`: raises
    where gradients do not go through the model."""

    units: Mapping[Any, int]
    run: Callable[[Tensor, int, Constants, Out], Tensor]
    check: Callable[[], None]


@dataclass(frozen=True)
class Sides:
    """Clean and corrupt prompts of one length [side batch pos], which of all pairs they are, and how many positions, counted from the
    last, give their answers."""

    index: list[int]
    ids: Tensor
    keep: int


class Prompts(Protocol):
    """What constants are learned on: see `interp.tasks.clean_prompts.Prompts`, whose these are."""

    @property
    def see(self) -> Callable[[Tensor], Mapping[Any, Tensor]]: ...

    @property
    def replacing(self) -> Replacing | None: ...

    @property
    def seed(self) -> int: ...

    def means(self) -> dict[Any, Tensor]: ...

    def sides(self) -> list[Sides]: ...


@dataclass(frozen=True)
class Learned:
    """How constants were learned. `before`, `after`: the loss at the mean and at the constants, in nats, on the same draws."""

    steps: int
    seed: int
    n_prompts: int
    before: float
    after: float

    def __str__(self) -> str:
        kept = " (the mean stayed)" if self.after == self.before else ""
        return (
            f"constants learned in {self.steps} steps on {self.n_prompts} prompts, seed {self.seed}: loss {self.before:.4g} nats at the "
            f"mean, {self.after:.4g} at the constants{kept}"
        )


def learn(prompts: Prompts) -> tuple[Constants, Learned]:
    """The constants [1 1 ...] by key, and how they were found.

    Cost: at most `FORWARDS` forwards of the prompts. Raises: MethodError for parts without constants of this kind, for models that
    gradients do not pass, and for a loss that is not finite.
    """
    how = prompts.replacing
    if how is None:
        raise MethodError(
            "optimal ablation has constants of nodes and edges; features of dictionaries take mean or zero."
        )
    how.check()
    means, batches = prompts.means(), _batches(prompts, how)
    found, n = _descended(prompts, how, means, batches), sum(len(batch.index) for batch in batches)
    before, after = (_compared(how, batches, some, n, prompts.seed + 1) for some in (means, found))
    said = Learned(STEPS, prompts.seed, n, before, min(before, after))
    return (found if after < before else means), said


def _descended(prompts: Prompts, how: Replacing, means: Constants, batches: Sequence[_Batch]) -> Constants:
    """The constants after `STEPS` steps, mean over the later half of them, which leaves the noise of single draws out."""
    spread, n = _spread(prompts, means), sum(len(batch.index) for batch in batches)
    moves = {key: torch.zeros_like(means[key], requires_grad=True) for key in how.units}
    late = {key: torch.zeros_like(means[key]) for key in how.units}
    optimiser = torch.optim.Adam(list(moves.values()), lr=RATE, eps=EPSILON)
    draws = torch.Generator().manual_seed(prompts.seed)

    def constants(at: Constants) -> dict[Any, Tensor]:
        return {**means, **{key: means[key] + spread[key] * move for key, move in at.items()}}

    for step in range(STEPS):
        draw = _draw(how, n, draws)
        for batch in batches:
            with torch.enable_grad():
                (_loss(how, batch, constants(moves), draw).sum() / n).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        for key, move in moves.items() if 2 * step >= STEPS else ():
            late[key] += move.detach() / (STEPS // 2)
    return constants(late)


@dataclass(frozen=True)
class _Batch(Sides):
    """With the model's own log-probabilities where the answers are given [side batch pos d_vocab]."""

    plain: Tensor


@dataclass(frozen=True)
class _Draw:
    """For every pair a side [pair] and which parts are replaced [pair unit], whatever the batches."""

    side: Tensor
    out: Out


def _draw(how: Replacing, n: int, draws: torch.Generator) -> _Draw:
    side, share = torch.randint(2, (n,), generator=draws), torch.rand(n, 1, generator=draws)
    return _Draw(side, {key: torch.rand(n, units, generator=draws) < share for key, units in how.units.items()})


def _batches(prompts: Prompts, how: Replacing) -> list[_Batch]:
    found = []
    for some in prompts.sides():
        with torch.no_grad():
            plain = [_read(how.run(ids, some.keep, {}, {}), some.keep) for ids in some.ids]
        found.append(_Batch(some.index, some.ids, some.keep, torch.stack(plain)))
    return found


def _read(logits: Tensor, keep: int) -> Tensor:
    return wide(logits[:, -keep:]).log_softmax(-1)


def _loss(how: Replacing, batch: _Batch, constants: Constants, draw: _Draw) -> Tensor:
    """KL(plain || with parts at constants) [batch], mean over the positions that give answers."""
    side, rows = draw.side[batch.index], torch.arange(len(batch.index))
    out = {key: chosen[batch.index] for key, chosen in draw.out.items()}
    found = _read(how.run(batch.ids[side, rows], batch.keep, constants, out), batch.keep)
    target = batch.plain[side.to(found.device), rows.to(found.device)]
    loss = (target.exp() * (target - found)).sum(-1).mean(1)
    if not bool(torch.isfinite(loss).all()):
        raise MethodError("the loss of optimal ablation is not finite; try dtype float32 or float64, or mean ablation.")
    return loss


def _compared(how: Replacing, batches: Sequence[_Batch], constants: Constants, n: int, seed: int) -> float:
    """The loss, mean over pairs, on the same draws whatever the constants."""
    draws, total = torch.Generator().manual_seed(seed), 0.0
    with torch.no_grad():
        for _ in range(DRAWS):
            draw = _draw(how, n, draws)
            total += sum(float(_loss(how, batch, constants, draw).sum()) for batch in batches)
    return total / (DRAWS * n)


def _spread(prompts: Prompts, means: Constants) -> dict[Any, Tensor]:
    """The standard deviation of the values of each key, over tokens and directions: how far a step goes."""
    found: dict[Any, list[Tensor]] = {}
    for batch in prompts.sides():
        for key, value in prompts.see(batch.ids[0]).items():
            centred = (value - means[key]).double()
            found.setdefault(key, []).append(torch.stack([centred.square().sum(), centred.new_tensor(value.numel())]))
    sums = {key: torch.stack(parts).sum(0) for key, parts in found.items()}
    return {key: (total / n).sqrt().float() for key, (total, n) in sums.items()}
