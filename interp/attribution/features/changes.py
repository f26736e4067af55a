"""What patching does to the features of one dictionary, and to its error, in one batch: sparse, and contracted sparsely.

    change of feature u at token t = f_u(source) - f_u(base)        written as  scale_t * change * W_dec[u]
    change of the error at t       = eps_t(source) - eps_t(base)    written as it is

Axis words: `token` runs over batch and pos together; `unit` over the listed features; `entry` over changes that are not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from interp.attribution.features.listed import Listed, tokens_of
from interp.ledger import product, spend
from interp.parts.sites import Site

#: Bytes of the rows of W_dec that are gathered at once.
GATHER_BYTES: Final = 16 << 20


@dataclass(frozen=True, eq=False)
class Change:
    """`value` [entry] is what feature `unit` [entry] changes by at `token` [entry], each pair once, in rising order.

    constant [unit]: what is added to that at every token (a mean that is patched in); None for nothing. error [batch pos d_out].
    scale: [token 1] or 1, of the base run's tokens.
    """

    W_dec: Tensor
    token: Tensor
    unit: Tensor
    value: Tensor
    constant: Tensor | None
    error: Tensor
    scale: Tensor | float

    @property
    def n_units(self) -> int:
        return len(self.W_dec)

    def some(self, units: Tensor) -> Change:
        """The same of some of the units [unit], in their order."""
        place = torch.full((self.n_units,), -1, dtype=torch.long, device=self.unit.device)
        place[units] = torch.arange(len(units), device=place.device)
        own = place[self.unit] >= 0
        entries = {"token": self.token[own], "unit": place[self.unit[own]], "value": self.value[own]}
        constant = None if self.constant is None else self.constant[units]
        return replace(self, W_dec=self.W_dec[units], constant=constant, **entries)

    # ------------------------------------------------------------ scores

    def scores(self, rho: Tensor, positions: Tensor) -> Tensor:
        """sum_t change * scale_t * (W_dec[u] . rho_t) over the tokens of each label -> [batch label unit].

        rho [batch pos d_out]: gradients or relevance coefficients; positions: bool [label batch pos].
        """
        size, masks = (rho.shape[0], len(positions), self.n_units), positions.to(rho.device)
        scaled = rho.flatten(0, 1) * self.scale
        products = torch.cat([self.value[:0], *self._products(scaled)])
        label, entry = masks.flatten(1)[:, self.token].nonzero(as_tuple=True)
        example = self.token[entry] // rho.shape[1]
        places = (example * size[1] + label) * size[2] + self.unit[entry]
        found = products.new_zeros(size).view(-1).index_add_(0, places, products[entry]).view(size)
        if self.constant is None:
            return found
        total = torch.einsum("lbp,bpd->bld", masks.to(scaled), scaled.view(rho.shape))
        return found + product(total, self.W_dec.T) * self.constant

    def _products(self, rho: Tensor) -> Iterator[Tensor]:
        """value * (W_dec[u] . rho_t), some entries after the others."""
        for some in self._portions():
            rows = self.W_dec[self.unit[some]]
            spend(rows.numel())
            yield (rows * rho[self.token[some]]).sum(-1) * self.value[some]

    def _portions(self) -> Iterator[slice]:
        size = max(1, GATHER_BYTES // (2 * self.W_dec.shape[1] * self.W_dec.element_size()))
        for start in range(0, len(self.token), size):
            yield slice(start, min(start + size, len(self.token)))

    def error_scores(self, rho: Tensor, positions: Tensor) -> Tensor:
        """sum_t change of the error . rho_t over the tokens of each label -> [batch label 1]."""
        products = (self.error * rho).sum(-1)
        return torch.einsum("lbp,bp->bl", positions.to(products), products)[..., None]

    # ------------------------------------------------------------ what is written

    def written(self) -> Tensor:
        """What all features and the error together add at the target [batch pos d_out]."""
        total = torch.zeros_like(self.error).flatten(0, 1)
        for some in self._portions():
            rows = self.W_dec[self.unit[some]]
            spend(rows.numel())
            total.index_add_(0, self.token[some], rows * self.value[some, None])
        if self.constant is not None:
            total = total + self.constant @ self.W_dec
            spend(self.W_dec.numel())
        return (total * self.scale).view_as(self.error) + self.error

    def apart(self, units: Tensor, positions: Tensor) -> Apart:
        """Each of `units` [unit] patched alone at `positions` [batch pos], in as few runs as can be.

        Prompts of a batch do not meet, so a run may patch another feature in each of them.
        """
        n_examples, n_pos = positions.shape
        wanted = torch.zeros(self.n_units, dtype=torch.bool, device=units.device)
        wanted[units] = True
        at = (positions.flatten()[self.token] & wanted[self.unit]).nonzero()[:, 0]
        token, unit, value = self.token[at], self.unit[at], self.value[at]
        if self.constant is None:
            owners, patch = _packed(token // n_pos, unit, n_examples, self.n_units)
        else:
            owners = units[:, None].expand(-1, n_examples)
            patch = (torch.cumsum(wanted, 0) - 1)[unit]
        order = torch.argsort(patch, stable=True)
        patch, token, unit, value = (x[order] for x in (patch, token, unit, value))
        moved = positions.clone() if self.constant is not None else torch.zeros_like(positions)
        moved.view(-1)[token] = True

        def added(some: slice) -> Tensor:
            first, last = torch.searchsorted(patch, torch.tensor([some.start, some.stop], device=patch.device)).tolist()
            own = slice(first, last)
            total = self.W_dec.new_zeros(some.stop - some.start, n_examples * n_pos, self.W_dec.shape[1])
            rows = value[own, None] * self.W_dec[unit[own]]
            spend(rows.numel())
            total[patch[own] - some.start, token[own]] = rows
            if self.constant is not None:
                each = self.constant[units[some], None] * self.W_dec[units[some]]
                spend(each.numel())
                total += each[:, None] * positions.view(1, -1, 1)
            return (total * self.scale).view(-1, n_examples, n_pos, total.shape[-1])

        return Apart(owners, moved, added)

    def error_apart(self, positions: Tensor) -> Apart:
        """The error patched at `positions` [batch pos]."""
        change = self.error * positions[..., None]
        moved = (change != 0).any(-1)
        owners = torch.where(moved.any(1), 0, -1)[None]
        return Apart(owners if bool(moved.any()) else owners[:0], moved, lambda some: change[None][some])


@dataclass(frozen=True, eq=False)
class Apart:
    """Runs that each patch one unit, or another one in each prompt.

    owners [patch batch]: the unit that a run patches in a prompt, -1 for none. moved [batch pos]: where any run adds anything.
    added(some) [patch batch pos d_out]: what some of them add.
    """

    owners: Tensor
    moved: Tensor
    added: Callable[[slice], Tensor]


def _packed(example: Tensor, unit: Tensor, n_examples: int, n_units: int) -> tuple[Tensor, Tensor]:
    """Owners [patch batch] that give every (example, unit) a patch, and the patch of each entry."""
    pairs, which = torch.unique(example * n_units + unit, return_inverse=True)
    counts = torch.bincount(pairs // n_units, minlength=n_examples)
    rank = torch.arange(len(pairs), device=unit.device) - (torch.cumsum(counts, 0) - counts)[pairs // n_units]
    owners = unit.new_full((int(counts.max()), n_examples), -1)
    owners[rank, pairs // n_units] = pairs % n_units
    return owners, rank[which]


def change_between(listed: Listed, base: Mapping[Site, Tensor], source: Mapping[Site, Tensor]) -> Change:
    """What the values of another run, by site, change in the base run."""
    entries: list[tuple[Tensor, Tensor, Tensor]] = []
    errors = []
    for (rows, before, eps), (_, after, new) in zip(listed.codes(base), listed.codes(source), strict=True):
        entries.append(_entries(after - before, rows.start))
        errors.append(new - eps)
    return _change(listed, base, entries, errors, None)


def change_to(listed: Listed, base: Mapping[Site, Tensor], features: Tensor | None, error: Tensor | None) -> Change:
    """What the same features [unit] and error [d_out] at every token change in the base run; None for zero."""
    entries: list[tuple[Tensor, Tensor, Tensor]] = []
    errors = []
    for rows, before, eps in listed.codes(base):
        entries.append(_entries(-before, rows.start))
        errors.append(-eps if error is None else error.to(eps) - eps)
    return _change(listed, base, entries, errors, features)


def _entries(change: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
    token, unit = change.nonzero(as_tuple=True)
    return token + start, unit, change[token, unit]


def _change(
    listed: Listed,
    base: Mapping[Site, Tensor],
    entries: list[tuple[Tensor, Tensor, Tensor]],
    errors: list[Tensor],
    constant: Tensor | None,
) -> Change:
    token, unit, value = (torch.cat(parts) for parts in zip(*entries, strict=True))
    error = torch.cat(errors).view(*base[listed.target].shape[:2], -1)
    scale = listed.own.scale(tokens_of(base[listed.site], listed.dictionary))
    constant = None if constant is None else constant.to(error)
    return Change(listed.own.W_dec, token, unit, value, constant, error, scale)
