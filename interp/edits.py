"""Interventions as values: a site, and what becomes of the tensor there.

An edit is a pure function of the tensor at its site. It must keep shape, dtype and device; it may keep the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.errors import EditError
from interp.sites import Site, SiteLike, kind_of

Index = int | slice | Tensor | list[int]
HEAD_KINDS = ("q", "k", "v", "z", "pattern")
_all = slice(None)


@dataclass(frozen=True)
class Edit:
    """Replace the tensor at `site` by `apply(tensor)`."""

    site: SiteLike
    apply: Callable[[Tensor], Tensor]


def patch(site: SiteLike, value: Tensor, *, heads: Index | None = None, positions: Index | None = None) -> Edit:
    """Put `value` in: the site's shape, or one that broadcasts to the part chosen by `positions` and `heads`."""

    def put(part: Tensor) -> Tensor:
        try:
            return value.to(part).expand_as(part)
        except RuntimeError:
            raise EditError(
                f"patch at {site}: value of shape {tuple(value.shape)}; expected {tuple(part.shape)} or what broadcasts to it."
            ) from None

    return Edit(site, _on_part(site, heads, positions, put))


def add(
    site: SiteLike, vector: Tensor, *, scale: float = 1.0, heads: Index | None = None, positions: Index | None = None
) -> Edit:
    """Steer: add `scale * vector` (broadcast over batch and positions)."""
    return Edit(site, _on_part(site, heads, positions, lambda part: part + scale * vector.to(part)))


def zero(site: SiteLike, *, heads: Index | None = None, positions: Index | None = None) -> Edit:
    """Set to zero."""
    return Edit(site, _on_part(site, heads, positions, torch.zeros_like))


def _on_part(
    site: SiteLike, heads: Index | None, positions: Index | None, f: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Apply `f` to some positions (query positions of a pattern) and heads of a tensor and leave the rest as it is."""
    kind = kind_of(site)
    if heads is not None and kind not in HEAD_KINDS:
        raise EditError(f"heads={heads!r} at {site}: only {', '.join(HEAD_KINDS)} have heads.")
    if heads is not None and positions is not None and not (isinstance(positions, slice) or isinstance(heads, slice)):
        raise EditError("give heads or positions as a slice when both are given, or make one edit for each.")

    def apply(x: Tensor) -> Tensor:
        if heads is None and positions is None:
            return f(x)
        at: tuple[Index, Index] = (_all if positions is None else positions, _all if heads is None else heads)
        part = (_all, *(reversed(at) if kind == "pattern" else at if heads is not None else at[:1]))
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
