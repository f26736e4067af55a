"""Which numbers make of the stream and what is added to it what a module of the block reads: least squares, checked entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
        """The numbers k, s with k x + s1 w1 + ... = goal to rounding; those that a configuration states, or 1, where these do as well."""
        columns = [x, *(own.value.reshape(x.shape) for own in made)]
        exact = self._least(goal, columns)
        if not all(max(LEAST, 4 * self._tolerance) < abs(number) < 1 / LEAST for number in exact):
            return None
        for numbers in ([self._meant(number) for number in exact], exact) if exact else ():
            scaled = [number * own for number, own in zip(numbers, columns, strict=True)]
            if near(sum(scaled, torch.zeros_like(x)), goal, scaled[0], scaled):
                return numbers[0], numbers[1:]
        return None

    def name(self, number: float) -> tuple[float, str | None]:
        """A factor as (1, path) where the block holds this number."""
        if number == 1.0:
            return 1.0, None
        for path, value in self.factors.items():
            if value.numel() == 1 and abs(float(value) - number) <= 1e-4 * abs(number):
                return 1.0, path
        return number, None

    def _least(self, goal: Tensor, columns: Sequence[Tensor]) -> list[float]:
        """The numbers whose sum of columns is nearest to the goal; none where that is far from it."""
        wide = torch.stack([own.double().flatten() for own in columns])
        g, products = goal.double().flatten(), wide @ wide.T
        try:
            found = torch.linalg.solve(products, wide @ g)
        except RuntimeError:  # one is a multiple of another
            return []
        left, sizes = (g - found @ wide).square().sum(), (found.square() * products.diagonal()).sum()
        return found.tolist() if left <= (self._tolerance + 1e-3) ** 2 * sizes else []  # type: ignore[no-any-return]

    def _meant(self, number: float) -> float:
        """A number that the block or the configuration holds, or 1, where one is so near."""
        held = (float(own) for own in self.factors.values() if own.numel() == 1)
        own = next((own for own in held if abs(own - number) <= self._tolerance * abs(number)), number)
        return meant(self.block, own, self._tolerance)

    @property
    def _tolerance(self) -> float:
        return max(1e-4, 2 * torch.finfo(self.block.own.y.dtype).eps)
