"""Interventions as values: a site, and what becomes of the tensor there.

An edit is a pure function of the tensor at its site. It must keep shape, dtype and device; it may keep the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.errors import EditError
from interp.sites import Site, SiteLike

Index = int | slice | Tensor | list[int]


@dataclass(frozen=True)
class Edit:
    """Replace the tensor at `site` by `apply(tensor)`."""

    site: SiteLike
    apply: Callable[[Tensor], Tensor]


def patch(site: SiteLike, value: Tensor, *, heads: Index | None = None, positions: Index | None = None) -> Edit:
    """Put `value` in: the site's shape, or one that broadcasts to the part chosen by `positions` and `heads` (axis 2)."""

    def put(part: Tensor) -> Tensor:
        try:
            return value.to(part).expand_as(part)
        except RuntimeError:
            raise EditError(
                f"patch at {site}: value of shape {tuple(value.shape)}; expected {tuple(part.shape)} or what broadcasts to it."
            ) from None

    return Edit(site, _on_part(heads, positions, put))


def add(
    site: SiteLike, vector: Tensor, *, scale: float = 1.0, heads: Index | None = None, positions: Index | None = None
) -> Edit:
    """Steer: add `scale * vector` (broadcast over batch and positions)."""
    return Edit(site, _on_part(heads, positions, lambda part: part + scale * vector.to(part)))


def zero(site: SiteLike, *, heads: Index | None = None, positions: Index | None = None) -> Edit:
    """Set to zero."""
    return Edit(site, _on_part(heads, positions, torch.zeros_like))


def _on_part(heads: Index | None, positions: Index | None, f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Apply `f` to [batch, positions, heads, ...] of a tensor and leave the rest as it is."""

    def apply(x: Tensor) -> Tensor:
        if heads is None and positions is None:
            return f(x)
        part: tuple[Index, ...] = (slice(None), slice(None) if positions is None else positions)
        if heads is not None:
            if not isinstance(part[1], slice):
                raise EditError("give heads or a list of positions, not both; use a slice or one edit per position.")
            part = (*part, heads)
        new = x.clone()
        new[part] = f(x[part])
        return new

    return apply


def applied(edit: Edit, site: Site, x: Tensor) -> Tensor:
    """The edited tensor. Raises: EditError where shape, dtype or device changed."""
    new = edit.apply(x)
    if not isinstance(new, Tensor) or (new.shape, new.dtype, new.device) != (x.shape, x.dtype, x.device):
        got = f"{tuple(new.shape)} {new.dtype} {new.device}" if isinstance(new, Tensor) else type(new).__name__
        raise EditError(f"edit at {site}: gave {got}, expected {tuple(x.shape)} {x.dtype} {x.device}.")
    return new
