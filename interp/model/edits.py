"""Interventions as values: a site, and what becomes of the tensor there.

An edit is a pure function of the tensor at its site. It must keep shape, dtype and device; it may keep the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from interp.errors import EditError
from interp.parts.sites import MODULE, Site, SiteLike, kind_of, part_of

Index = int | slice | Tensor | list[int]
#: A part of what is at the site of a module: of the axes behind the batch, or a mask of truth values over them.
Part = Index | tuple[int | slice | list[int] | Tensor, ...]
Value = Tensor | float
HEAD_KINDS = ("q", "k", "v", "z", "pattern")
NEURON_KINDS = ("mlp_pre", "mlp_up", "mlp_post")
_all = slice(None)


@dataclass(frozen=True)
class Edit:
    """Replace the tensor at `site` by `apply(tensor)`. Raises: EditError where `apply` cannot be called."""

    site: SiteLike
    apply: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.apply):
            raise EditError(
                f"edit at {self.site}: given {self.apply!r:.80}; expected a function of the tensor there; interp.patch puts a value in."
            )


def patch(
    site: SiteLike,
    value: Value,
    *,
    heads: Index | None = None,
    positions: Index | None = None,
    features: Index | None = None,
    neurons: Index | None = None,
    index: Part | None = None,
) -> Edit:
    """Put `value` in: a number, the site's shape, or one that broadcasts to the part chosen by the indices.

    `patch("resid_post.3.features", 5.0, features=117)` clamps a feature of a dictionary, `patch("mlp_post.3", 5.0, neurons=17)` a neuron. index: at the site of a module
    (`patch("module:features.4", 0.0, index=3)`) a part of the axes behind the batch, or a mask over them.
    """

    _check_value("patch", site, value)

    def put(part: Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            return torch.full_like(part, value)
        return _fitted("patch", site, "value", value, part)

    return Edit(site, _on_part(site, heads, positions, put, features, neurons, index))


def add(
    site: SiteLike,
    vector: Value,
    *,
    scale: float = 1.0,
    heads: Index | None = None,
    positions: Index | None = None,
    features: Index | None = None,
    neurons: Index | None = None,
    index: Part | None = None,
) -> Edit:
    """Steer: add `scale * vector` (a number, or broadcast over batch and positions)."""

    _check_value("add", site, vector)

    def added(part: Tensor) -> Tensor:
        if not isinstance(vector, Tensor):
            return part + scale * vector
        return part + scale * _fitted("add", site, "vector", vector, part)

    return Edit(site, _on_part(site, heads, positions, added, features, neurons, index))


def _fitted(act: str, site: SiteLike, name: str, value: Tensor, part: Tensor) -> Tensor:
    """A value with the type, the device and the shape of what it is put into. Raises: EditError for one that does not broadcast."""
    try:
        return value.to(part).expand_as(part)
    except RuntimeError:
        raise EditError(
            f"{act} at {site}: {name} of shape {tuple(value.shape)}; expected {tuple(part.shape)} or what broadcasts to it."
        ) from None


def zero(
    site: SiteLike,
    *,
    heads: Index | None = None,
    positions: Index | None = None,
    features: Index | None = None,
    neurons: Index | None = None,
    index: Part | None = None,
) -> Edit:
    """Set to zero: ablate."""
    return Edit(site, _on_part(site, heads, positions, torch.zeros_like, features, neurons, index))


def _check_value(what: str, site: SiteLike, value: object) -> None:
    if not isinstance(value, Tensor | Real):
        raise EditError(f"{what} at {site}: given {value!r:.80}; expected a tensor or a number.")


def _on_part(
    site: SiteLike,
    heads: Index | None,
    positions: Index | None,
    f: Callable[[Tensor], Tensor],
    features: Index | None = None,
    neurons: Index | None = None,
    index: Part | None = None,
) -> Callable[[Tensor], Tensor]:
    """Apply `f` to some positions (query positions of a pattern) and heads, or features or neurons, or to an index behind the batch, of a tensor
    and leave the rest as it is."""
    kind = kind_of(site)
    if kind == MODULE or index is not None:
        others = {"heads": heads, "positions": positions, "features": features, "neurons": neurons}
        return _of_module(site, others, index, f)
    if features is not None or neurons is not None:
        return _on_part(site, None, positions, _on_last(_last_axis(site, heads, features, neurons), f, site))
    kind = kind.removeprefix("cross_")  # of attention to another stack
    if heads is not None and (kind not in HEAD_KINDS or part_of(site)):
        raise EditError(f"heads={heads!r} at {site}: only {', '.join(HEAD_KINDS)} have heads.")
    if heads is not None and positions is not None and not (isinstance(positions, slice) or isinstance(heads, slice)):
        raise EditError("give heads or positions as a slice when both are given, or make one edit for each.")

    def apply(x: Tensor) -> Tensor:
        if heads is None and positions is None:
            return f(x)
        at: tuple[Index, Index] = (_all if positions is None else positions, _all if heads is None else heads)
        part = (_all, *(reversed(at) if kind == "pattern" else at if heads is not None else at[:1]))
        new = x.clone()
        new[part] = f(_chosen(x, part, site, heads, positions, kind == "pattern"))
        return new

    return apply


def _of_module(
    site: SiteLike, others: dict[str, Index | None], index: Part | None, f: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Apply `f` to a part of what is at a module. Raises: EditError for what belongs to other sites, and for an index elsewhere."""
    if given := [f"{name}={value!r:.40}" for name, value in others.items() if value is not None]:
        raise EditError(f"{given[0]} at {site}: the value of a module has its own axes; choose of them with index=.")
    if kind_of(site) != MODULE:
        raise EditError(
            f"index={index!r:.40} at {site}: only sites of modules ('module:PATH') have it; use positions= and heads=."
        )
    if index is None:
        return f

    def apply(x: Tensor) -> Tensor:
        part: Any = (_all, *index) if isinstance(index, tuple) else (_all, index)
        try:
            if isinstance(index, Tensor) and index.dtype == torch.bool and index.shape != x.shape[1 : 1 + index.ndim]:
                raise IndexError
            chosen = x[tuple(map(_no_truth, part))]
        except (IndexError, TypeError):
            raise EditError(
                f"index={index!r:.60} at {site}: the axes behind the batch have {list(x.shape[1:])} entries; expected whole numbers, slices or "
                "a mask of them."
            ) from None
        new = x.clone()
        new[part] = f(chosen)
        return new

    return apply


def _chosen(
    x: Tensor, part: tuple[Index, ...], site: SiteLike, heads: Index | None, positions: Index | None, pattern: bool
) -> Tensor:
    """The part of [batch pos head ...], or of [batch head pos ...]. Raises: EditError for indices out of range."""
    try:
        return x[tuple(map(_no_truth, part))]
    except (IndexError, TypeError):
        has = [f"positions 0 to {x.shape[2 if pattern else 1] - 1}"] if positions is not None else []
        has += [f"heads 0 to {x.shape[1 if pattern else 2] - 1}"] if heads is not None else []
        given = {"heads": heads, "positions": positions}
        said = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        raise EditError(f"{said} at {site}: this run has {' and '.join(has)} there, as whole numbers.") from None


def _no_truth(index: Index) -> Index:
    """An index, as it is. Raises: TypeError for one truth value, which torch takes for all of an axis or nothing of it."""
    if isinstance(index, bool) or (getattr(index, "ndim", 1) == 0 and "bool" in str(getattr(index, "dtype", ""))):
        raise TypeError(f"{index!r} is no whole number")
    return index


def _last_axis(site: SiteLike, heads: Index | None, features: Index | None, neurons: Index | None) -> tuple[str, Index]:
    """Which entries of the last axis an edit is of: their name and which. Raises: EditError where the site has no such."""
    given = {"heads": heads, "features": features, "neurons": neurons}
    (name, index), *others = [(name, value) for name, value in given.items() if value is not None]
    if others:
        raise EditError(f"{name}= and {others[0][0]}= at {site}: give one of them.")
    if name == "features" and part_of(site) != "features":
        raise EditError(
            f"features={index!r} at {site}: only the features of a dictionary have them, '{site}.features'."
        )
    if name == "neurons" and (kind_of(site) not in NEURON_KINDS or part_of(site)):
        raise EditError(f"neurons={index!r} at {site}: only {', '.join(NEURON_KINDS)} have neurons.")
    return name, index


def _on_last(chosen: tuple[str, Index], f: Callable[[Tensor], Tensor], site: SiteLike) -> Callable[[Tensor], Tensor]:
    """Apply `f` to some features or neurons [... d]. Raises: EditError for one that does not exist."""
    name, index = chosen

    def apply(x: Tensor) -> Tensor:
        new = x.clone()
        try:
            part = x[..., _no_truth(index)]
        except (IndexError, TypeError):
            owner = "dictionary" if name == "features" else "layer"
            raise EditError(
                f"{name}={index!r} at {site}: this {owner} has {name} 0 to {x.shape[-1] - 1}, given as whole numbers."
            ) from None
        new[..., index] = f(part)
        return new

    return apply


def applied(edit: Edit, site: Site, x: Tensor) -> Tensor:
    """The edited tensor. Raises: EditError where shape, dtype or device changed."""
    new = edit.apply(x)
    if not isinstance(new, Tensor) or (new.shape, new.dtype, new.device) != (x.shape, x.dtype, x.device):
        got = f"{tuple(new.shape)} {new.dtype} {new.device}" if isinstance(new, Tensor) else type(new).__name__
        raise EditError(f"edit at {site}: gave {got}, expected {tuple(x.shape)} {x.dtype} {x.device}.")
    return new
