"""A subspace of a site, and the edits that it makes.

Axis words: `batch pos`; D: width of the site, r: rank. Coordinates of x are reader^T (x - mean) [r]; each edit changes them and leaves all else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from interp.errors import ProbeError
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import visible
from interp.model.edits import Edit


@dataclass(frozen=True, eq=False, repr=False)
class Subspace(Table):
    """basis, reader: [D r], equal where the projection is orthogonal; mean: [D]; centres: mean coordinates of each label [label r].

    judged, and by name `checks`: what was measured (`erase` and `circle` say which). Edits hold at all positions.
    """

    site: str
    method: str
    basis: Tensor = field(metadata=along(0))
    reader: Tensor = field(metadata=along(0))
    mean: Tensor = field(metadata=along(0))
    centres: tuple[tuple[float, ...], ...] = ()
    judged: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        check_sizes(self, reader=(self.reader.shape, self.basis.shape), mean=(self.mean.shape, self.basis.shape[:1]))

    @property
    def checks(self) -> dict[str, float]:
        """What was measured, by name."""
        return dict(self.judged)

    @property
    def rank(self) -> int:
        return int(self.basis.shape[1])

    @property
    def projection(self) -> Tensor:
        """What is left of x - mean: 1 - basis reader^T [D D]."""
        return torch.eye(len(self.basis), dtype=self.basis.dtype) - self.basis @ self.reader.T

    def coordinates(self, x: Tensor) -> Tensor:
        """Coordinates [... r] of x [... D]."""
        return (x.to(self.basis) - self.mean) @ self.reader

    def project_out(self) -> Edit:
        """Coordinates to 0, those of the mean."""
        return self._edit(torch.zeros_like)

    def keep_only(self) -> Edit:
        """Everything but the coordinates to that of the mean."""
        return Edit(
            self.site,
            self._on(lambda x: self.mean.to(x) + (x - self.mean.to(x)) @ self.reader.to(x) @ self.basis.to(x).T),
        )

    def replace(self, coordinates: Any) -> Edit:
        """Coordinates to these [r]. Raises: ProbeError for another number of them."""
        given = torch.as_tensor(coordinates, dtype=self.basis.dtype)
        if given.shape != (self.rank,) or not bool(torch.isfinite(given).all()):
            raise ProbeError(
                f"coordinates {list(given.shape)}: expected {self.rank} finite numbers, one for each dimension of the subspace."
            )
        return self._edit(lambda c: given.to(c).expand_as(c))

    def rotate(self, angle: float) -> Edit:
        """Turn the coordinates of a plane by `angle` radians, the radius kept. Raises: ProbeError for another rank."""
        self._check_plane("rotate")
        cos, sin = torch.cos(torch.tensor(float(angle))), torch.sin(torch.tensor(float(angle)))
        turn = torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])])
        return self._edit(lambda c: c @ turn.to(c))

    def move_to(self, label: int) -> Edit:
        """Coordinates to the mean of a label; of a circle to the angle of its mean, the radius kept. Raises: ProbeError for a label that it has not."""
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.centres):
            raise ProbeError(f"label {label!r}: this subspace has labels 0 to {len(self.centres) - 1}.")
        centre = torch.tensor(self.centres[label], dtype=self.basis.dtype)
        if self.method != "circle":
            return self.replace(centre)
        unit = centre / centre.norm()
        return self._edit(lambda c: c.norm(dim=-1, keepdim=True) * unit.to(c))

    def angle_to(self, other: Subspace) -> Tensor:
        """Principal angles between the two bases, in radians, the smallest first [smaller rank]. Raises: ProbeError for another width."""
        if len(other.basis) != len(self.basis):
            raise ProbeError(f"subspaces of width {len(self.basis)} and {len(other.basis)}; expected one width.")
        a, b = (torch.linalg.qr(one.basis.double()).Q for one in (self, other))
        return torch.acos(torch.linalg.svdvals(a.T @ b).clamp(-1, 1))

    def _check_plane(self, what: str) -> None:
        if self.rank != 2:
            raise ProbeError(f"{what} of a subspace of rank {self.rank}: expected a plane, rank 2.")

    def _edit(self, change: Callable[[Tensor], Tensor]) -> Edit:
        def changed(x: Tensor) -> Tensor:
            c = (x - self.mean.to(x)) @ self.reader.to(x)
            return x + (change(c) - c) @ self.basis.to(x).T

        return Edit(self.site, self._on(changed))

    def _on(self, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The change of [... D], in float32 or better, for what is at the site [batch pos ...]. Raises, when run: ProbeError for another width."""

        def apply(x: Tensor) -> Tensor:
            flat = x.flatten(2)
            if flat.shape[-1] != len(self.basis):
                raise ProbeError(
                    f"subspace of width {len(self.basis)} at {self.site!r}, which has width {flat.shape[-1]} on this model."
                )
            wide = flat if flat.dtype == torch.float64 else flat.float()
            return change(wide).to(x.dtype).reshape(x.shape)

        return apply

    def to_pandas(self) -> Any:
        """A row for each dimension of the site: unit, mean, and each vector of the basis and of the reader."""
        columns = {
            f"{name}_{i}": x[:, i].numpy()
            for name, x in (("basis", self.basis), ("reader", self.reader))
            for i in range(self.rank)
        }
        return rows_of({"unit": list(range(len(self.basis))), "mean at unit": self.mean.numpy(), **columns})

    def __str__(self) -> str:
        said = ", ".join(f"{name} {value:.3g}" for name, value in self.checks.items())
        return f"Subspace({visible(self.site, 80)}, {self.method}, rank {self.rank} of {len(self.basis)}{': ' if said else ''}{said})"
