"""Which numbers make of the stream and what is added to it what a module of the block reads: least squares, checked entry by entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from interp.model.probing.block_calls import BlockCalls
from interp.model.probing.steps import LEAST, Written, meant, near


@dataclass(frozen=True, eq=False)
class Fits:
    """What a block holds, and what is read in it."""

    block: BlockCalls

    @cached_property
    def factors(self) -> dict[str, Tensor]:
        """The numbers and vectors of the block's own, parameters and buffers, by path."""
        module, path = self.block.model.get_submodule(self.block.path), self.block.path
        every = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        sizes = 1, self.block.own.x.shape[-1]
        return {f"{path}.{n}": p.detach().flatten() for n, p in every if p.numel() in sizes and p.is_floating_point()}

    @property
    def vectors(self) -> dict[str, Tensor]:
        """Those of them that are no single numbers."""
        return {path: value for path, value in self.factors.items() if value.numel() > 1}

    @cached_property
    def goals(self) -> list[Tensor]:
        """The block's output, and what its modules read, each value once."""
        found = [self.block.own.y_value]
        for call in self.block.inside.values():
            value = call.x_value
            if value.numel() == found[0].numel() and not any(
                torch.equal(value.flatten(), own.flatten()) for own in found
            ):
                found.append(value)
        return found

    def fitted(self, goal: Tensor, x: Tensor, made: Sequence[Written]) -> tuple[float, list[float]] | None:
        """The numbers k, s with k x + s1 w1 + ... = goal to rounding; those that the block or a configuration states, or 1, where these do as
        well, of several the nearest."""
        columns = [x, *(own.value.reshape(x.shape) for own in made)]
        exact = self._least(goal, columns)
        if not all(self._counts(number, own, goal) for number, own in zip(exact, columns, strict=bool(exact))):
            return None
        stated = [*product(*map(self._meant, exact))]
        for several in (stated, [tuple(exact)]) if exact else ():
            if tried := [
                (off, numbers) for numbers in several if (off := self._off(goal, columns, numbers)) is not None
            ]:
                k, *s = min(tried, key=lambda one: one[0])[1]
                return k, s
        return None

    def _off(self, goal: Tensor, columns: Sequence[Tensor], numbers: Sequence[float]) -> float | None:
        """How far the sum of columns times numbers is from the goal, in its rounding; None where it is not the goal to rounding."""
        scaled = [number * own for number, own in zip(numbers, columns, strict=True)]
        total = sum(scaled, torch.zeros_like(goal))
        if not near(total, goal, scaled[0], scaled):
            return None
        off = (total.double() - goal.double()).flatten() * _precision(goal, columns)
        return float(off.square().sum())

    def _counts(self, number: float, column: Tensor, goal: Tensor) -> bool:
        """Whether a factor is one: not so small that rounding may have made it, unless the block holds it and what it multiplies is seen."""
        if max(LEAST, 4 * self._tolerance) < abs(number) < 1 / LEAST:
            return True
        part = abs(number) * float(column.double().abs().max())
        seen = part > 4 * self._tolerance * float(goal.double().abs().max())
        return seen and LEAST < abs(number) < 1 / LEAST and any(self._held(number))

    def name(self, number: float) -> tuple[float, str | None]:
        """A factor as (1, path) where the block holds this number."""
        if number == 1.0:
            return 1.0, None
        for path, value in self.factors.items():
            if value.numel() == 1 and abs(float(value) - number) <= 1e-4 * abs(number):
                return 1.0, path
        return number, None

    def _least(self, goal: Tensor, columns: Sequence[Tensor]) -> list[float]:
        """The numbers whose sum of columns is nearest to the goal, in half precision each entry by its rounding; none where that is far
        from it."""
        wide, g = torch.stack([own.double().flatten() for own in columns]), goal.double().flatten()
        if self._tolerance > 1e-4:
            weights = _precision(goal, columns)
            wide, g = wide * weights, g * weights
        products = wide @ wide.T
        try:
            found = torch.linalg.solve(products, wide @ g)
        except RuntimeError:  # one is a multiple of another
            return []
        left, sizes = (g - found @ wide).square().sum(), (found.square() * products.diagonal()).sum()
        return found.tolist() if left <= (self._tolerance + 1e-3) ** 2 * sizes else []  # type: ignore[no-any-return]

    def _held(self, number: float) -> Iterator[float]:
        """The numbers of the block's own that are so near."""
        held = (float(own) for own in self.factors.values() if own.numel() == 1)
        return (own for own in held if abs(own - number) <= self._tolerance * abs(number))

    def _meant(self, number: float) -> list[float]:
        """What a number may be meant to be: one that the block holds, 1 or one of the configuration, where these are so near; else itself."""
        held, stated = [*self._held(number)], meant(self.block, number, self._tolerance)
        return list(dict.fromkeys([*held, *([stated] if stated != number or not held else [])]))

    @property
    def _tolerance(self) -> float:
        return max(1e-4, 2 * torch.finfo(self.block.own.y.dtype).eps)


def _precision(goal: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """One over the size of what rounding acts on, entry by entry, in double precision."""
    sizes = sum((own.double().abs() for own in columns), goal.double().abs())
    return 1 / sizes.flatten().clamp_min(1e-30)
