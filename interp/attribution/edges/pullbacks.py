"""The way of a gradient from what reads a norm back to the stream: through W and the norm, many readers at once.

Axis words: `reader batch pos column d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.edges.workspace import Workspace
from interp.model.modules.linear import linear, norm_at
from interp.precision import wide
from interp.rules.rules import Norm, Rules
from interp.rules.secants import norm_middle

Fill = Callable[[Tensor], None]
Consume = Callable[[Sequence[int], Fill], None]
Term = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Pullback:
    """From the gradient at what a norm makes of the stream to the gradient at the stream, with the norm's own rule.

    Full gradient: g -> (g' - mean(g') - y' mean(g' y')) / sigma with g' = w g and y' = (x - mean(x)) / sigma; frozen scale:
    without the last term; averaged between two runs: `norm_middle`. Without a norm the gradient is what it is; an RMSNorm
    subtracts no mean. `terms`: where the last term is known already, of each of several passes along [reader batch pos] and
    y' [batch pos d_model], to take off along y'.
    """

    norm: Norm | None
    weight: Tensor | float
    inverse_sigma: Tensor | float
    normed: Tensor | None
    terms: Sequence[Term] = ()

    @classmethod
    def of(cls, model: Any, path: str | None, x: Tensor, rules: Rules, other: Tensor | None = None) -> Pullback:
        """The pullback through the norm at `path` for the stream `x` [batch pos d_model]; for rules with secants also for the
        stream of the `other` run."""
        if path is None:
            return NO_NORM
        norm, x = norm_at(model, path), wide(x.detach())
        weight = norm.weight(model.hf.get_submodule(path))
        if other is not None:
            return cls(norm, weight, *norm_middle(norm, x, wide(other)))
        inverse_sigma = norm.inverse_sigma(x)
        normed = None
        if rules.norm == "gradient":
            normed = (x - x.mean(-1, keepdim=True) if norm.centred else x) * inverse_sigma
        return cls(norm, weight, inverse_sigma, normed)

    def for_readers(self, chosen: Sequence[int]) -> Pullback:
        """The way back of some of the readers: but for the terms the same for all."""
        if not self.terms:
            return self
        return replace(self, terms=[(along[list(chosen)], normed) for along, normed in self.terms])

    def scaled(self, g: Tensor, given: Tensor | None, columns: Sequence[Tensor]) -> tuple[Tensor, Pullback]:
        """h = g / sigma [batch pos column], and the rest of the way, whose last term then needs no sum over d_model:

            along = sum_column h (W (w y')) / d_model.

        g: at the output of a projection, with the `columns` of each reader. given: W (w y'), what the projection gave less its
        `offset`; None where the way has no such term."""
        h, terms = g * self.inverse_sigma, list[Term]()
        if self.normed is not None and given is not None:
            terms = [(summed(h * given, columns) / self.normed.shape[-1], self.normed)]
        return h, replace(self, inverse_sigma=1.0, normed=None, terms=terms)

    def into(self, place: Tensor, g: Tensor) -> None:
        """Write to `place` the gradient at the norm's input, from g [reader batch pos d_model] at its output."""
        if self.norm is None:
            place.copy_(g)
            return
        torch.mul(g, self.weight * self.inverse_sigma, out=place)
        if self.norm.centred:
            place.sub_(place.mean(-1, keepdim=True))
        self._less_scale(place)

    def through(self, place: Tensor, g: Tensor, W: Tensor, workspace: Workspace) -> None:
        """The same from g [reader batch pos column] at the output of W [reader column d_model], which reads the norm.

        The weight of the norm and its subtraction of the mean go into W, its scale into g, so that one product writes what takes
        four passes over `place` otherwise.
        """
        if self.norm is None:
            torch.bmm(g.flatten(1, 2), W, out=place.flatten(1, 2))
            return
        own = torch.mul(W, self.weight, out=_laid_out_as(W, workspace))
        if self.norm.centred:
            own.sub_(own.mean(-1, keepdim=True))
        torch.bmm((g * self.inverse_sigma).flatten(1, 2), own, out=place.flatten(1, 2))
        self._less_scale(place)

    def _less_scale(self, place: Tensor) -> None:
        """Take off the part that goes through the norm's scale, unless a rule freezes it."""
        if self.normed is not None:
            along = torch.einsum("rbpd,bpd->rbp", place, self.normed) / place.shape[-1]
            place.addcmul_(along[..., None], self.normed, value=-1)
        for along, normed in self.terms:
            place.addcmul_(along[..., None], normed, value=-1)


NO_NORM: Final = Pullback(None, 1.0, 1.0, None)


def hand_on(
    readers: Sequence[int],
    columns: Sequence[Tensor],
    g: Tensor,
    W: Tensor,
    pullback: Pullback,
    workspace: Workspace,
    consume: Consume,
) -> None:
    """Give readers to `consume`, from the gradient g [batch pos column] at the output of W [column d_model]; `columns`: those
    of each reader."""
    for same, chosen in _of_one_size(columns):
        own = gathered(g, 2, chosen).permute(2, 0, 1, 3)
        way = pullback.for_readers(same)
        consume([readers[k] for k in same], partial(way.through, g=own, W=gathered(W, 0, chosen), workspace=workspace))


def _laid_out_as(W: Tensor, workspace: Workspace) -> Tensor:
    """Memory [reader column d_model] with the axis innermost that is so in `W`: copies between both run along it."""
    readers, columns, d_model = W.shape
    if W.stride(-1) == 1:
        return workspace.take("W", W.shape, W)
    return workspace.take("W", (d_model, readers, columns), W).permute(1, 2, 0)


def offset(model: Any, norm: str | None, path: str) -> Tensor | float:
    """What the projection at `path` gives [column] where the norm before it gives its bias alone."""
    W, bias = linear(model, path)
    shift = None if norm is None else getattr(model.hf.get_submodule(norm), "bias", None)
    found = 0.0 if shift is None else wide(shift.detach()) @ wide(W)
    return found if bias is None else found + wide(bias)


def summed(x: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """[batch pos column] -> [reader batch pos]: the sum over the columns of each reader."""
    found = x.new_empty(len(columns), *x.shape[:-1])
    for same, chosen in _of_one_size(columns):
        found[same] = gathered(x, 2, chosen).sum(-1).permute(2, 0, 1)
    return found


def _of_one_size(columns: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """Readers that see the same number of columns, by their place in `columns`, and these [reader column]."""
    for size in dict.fromkeys(map(len, columns)):
        same = [k for k, own in enumerate(columns) if len(own) == size]
        yield same, torch.stack([columns[k] for k in same])


def gathered(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """`x` with its axis `dim` replaced by the two axes of `index`; a view where the index runs through without a gap."""
    first, n = int(index[0, 0]), index.numel()
    if torch.equal(index.flatten(), torch.arange(first, first + n)):
        return x.narrow(dim, first, n).unflatten(dim, index.shape)  # type: ignore[no-any-return,no-untyped-call]
    return x.index_select(dim, index.flatten().to(x.device)).unflatten(dim, index.shape)  # type: ignore[no-any-return,no-untyped-call]
