"""Heads that look alike: groups by how far they are apart, and a place in the plane for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interp.errors import InterpError
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.heads.distances import HeadDistances
from interp.whole_numbers import count


@dataclass(frozen=True, eq=False, repr=False)
class HeadClusters(Table):
    """Groups of heads that look alike.

    labels: the group of each head [head], 0 the largest. places: [head 2], in the plane where distances are kept best; share: of the
    squared distances, centred, that the plane holds, 0 to 1.
    """

    heads: tuple[str, ...]
    labels: np.ndarray = field(metadata=along(0))
    places: np.ndarray = field(metadata=along(0))
    share: float
    metric: str
    model: str = ""

    def __post_init__(self) -> None:
        n = len(self.heads)
        check_sizes(self, labels=(self.labels.shape, (n,)), places=(self.places.shape, (n, 2)))

    @property
    def members(self) -> tuple[tuple[str, ...], ...]:
        """The heads of each group, the largest group first."""
        groups = range(int(self.labels.max()) + 1)
        return tuple(tuple(h for h, c in zip(self.heads, self.labels, strict=True) if c == g) for g in groups)

    def to_pandas(self) -> Any:
        """A row per head: head, cluster, x, y."""
        x, y = self.places.T
        return rows_of({"head": self.heads, "cluster": self.labels, "x": x, "y": y})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        said = {"metric": self.metric, "share": self.share, "model": self.model}
        return said | {"rows": self.to_pandas().to_dict("records")}

    def __str__(self) -> str:
        lines = [
            f"HeadClusters({len(self.heads)} heads in {len(self.members)}, by {self.metric}, {visible(self.model, 80)})"
        ]
        for i, heads in enumerate(self.members[:12]):
            more = f" and {len(heads) - 8} more" if len(heads) > 8 else ""
            lines.append(f"  {i}: {', '.join(heads[:8])}{more}")
        return printed("\n".join(lines))


def head_clusters(distances: HeadDistances, n: int) -> HeadClusters:
    """Put heads that look alike into `n` groups: average linkage of their distances; and every head into the plane, by classical scaling.

    Places are the first two eigenvectors of -J D^2 J / 2, J = 1 - 1/n, each times the root of its eigenvalue.

    Cost: n^2 log n numbers. Source: Clark et al. 2019, section 6; Torgerson 1952 (scaling).
    Raises: InterpError for no distances, or more groups than heads.
    """
    if not isinstance(distances, HeadDistances):
        raise InterpError(f"distances: given {type(distances).__name__}; expected what interp.head_distances makes.")
    heads, groups = len(distances.heads), count(n, "n")
    if groups > heads:
        raise InterpError(f"n={groups}: expected 1 to {heads}, the number of heads.")
    places, share = in_the_plane(distances.distances)
    labels = _linked(distances.distances, groups)
    return HeadClusters(distances.heads, labels, places, share, distances.metric, distances.model)


def _linked(distances: np.ndarray, n: int) -> np.ndarray:
    """The group of each head [head], the largest first, then the one of the first head."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    groups = [[i] for i in range(len(distances))]
    # Merges are made in order until n groups are left: a cut by distance leaves fewer where distances are equal.
    for first, second, *_ in linkage(squareform(distances, checks=False), method="average")[: len(distances) - n]:
        groups.append(groups[int(first)] + groups[int(second)])
        groups[int(first)], groups[int(second)] = [], []
    found = np.empty(len(distances), dtype=np.int64)
    for label, members in enumerate(sorted(filter(None, groups), key=lambda group: (-len(group), min(group)))):
        found[members] = label
    return found


def in_the_plane(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Places of points [point 2] whose distances [point point] are kept best, and the share of what is kept."""
    n = len(distances)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centre @ (distances**2) @ centre / 2)
    kept, most = np.zeros((n, 2)), values[::-1][:2].clip(0)
    kept[:, : len(most)] = vectors[:, ::-1][:, :2] * np.sqrt(most)
    # An eigenvector has no sign of its own: the largest entry is positive.
    largest = np.abs(kept).argmax(0)
    kept = kept * np.where(kept[largest, range(2)] < 0, -1, 1)
    total = np.abs(values).sum()
    return kept, float(most.sum() / total) if total > 0 else 1.0
