"""How differently any two heads look, over many texts.

Axis words: `batch head q_pos k_pos`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from interp.errors import InterpError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import visible
from interp.given import kinds_checked
from interp.heads.looking import Prompts, Watched, looks, prompts_of
from interp.heads.row_measures import entropies

Distance = Literal["js", "tv"]
_LARGEST: Final = {"js": "log 2 = 0.693", "tv": "1"}


@dataclass(frozen=True, eq=False, repr=False)
class HeadDistances(Table):
    """How differently any two heads look, on average over every query of every text.

    distances: [head head], symmetric, 0 on the diagonal. metric: `js`, Jensen-Shannon divergence in nats, 0 to log 2, or `tv`, half the
    summed difference of weights, 0 to 1. n_queries: rows of patterns that were compared; n_examples: texts.
    """

    heads: tuple[str, ...]
    distances: np.ndarray = field(metadata=along(0))
    metric: Distance
    n_queries: int
    n_examples: int
    model: str = ""

    def __post_init__(self) -> None:
        check_sizes(self, distances=(self.distances.shape, (len(self.heads),) * 2))

    def nearest(self, head: str) -> tuple[tuple[str, float], ...]:
        """All other heads, the one that looks most alike first. Raises: InterpError with the near names."""
        if head not in self.heads:
            raise InterpError(unknown("head", head, self.heads))
        row = self.distances[self.heads.index(head)]
        order = [int(i) for i in np.argsort(row, kind="stable") if self.heads[i] != head]
        return tuple((self.heads[i], float(row[i])) for i in order)

    def to_pandas(self) -> Any:
        """A row per head: head, nearest (the head that looks most alike), distance to it, and mean distance to the others."""
        others = self.distances + np.diag(np.full(len(self.heads), np.inf))
        nearest, n = others.argmin(1), max(1, len(self.heads) - 1)
        found = {"head": self.heads, "nearest": [self.heads[i] for i in nearest]}
        return rows_of({**found, "distance": others.min(1), "mean": self.distances.sum(1) / n})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        names = ("metric", "n_queries", "n_examples", "model")
        return {name: getattr(self, name) for name in names} | {
            "heads": list(self.heads),
            "distances": self.distances.tolist(),
        }

    def __str__(self) -> str:
        said = (
            f"{self.metric} over {self.n_queries} queries of {self.n_examples} texts, at most {_LARGEST[self.metric]}"
        )
        return f"HeadDistances({len(self.heads)} heads, {said}, {visible(self.model, 80)})"


@kinds_checked
def head_distances(
    model: Any,
    texts: Any,
    *,
    metric: Distance = "js",
    layers: Sequence[int] | None = None,
    stack: str | None = None,
    prompts: Prompts = "clean",
    batch_size: int | None = None,
) -> HeadDistances:
    """How differently any two heads look: the mean over every query of the distance between their rows of weights.

    js(p, q) = H((p + q) / 2) - H(p) / 2 - H(q) / 2 in nats; tv(p, q) = sum |p - q| / 2. A mean, where Clark et al. sum, so that long texts and
    many of them do not make heads more different.

    texts, stack: as for `head_statistics`. Two heads or more. Cost: one forward for each text, and for each pair of heads one pass over its weights.
    Memory: the weights of one text, twice. Source: Clark et al. 2019, section 6. Raises: as `head_statistics`.
    """
    if metric not in _LARGEST:
        raise InterpError(unknown("metric of heads", metric, _LARGEST))
    watched, rows = Watched.of(model, layers, stack), prompts_of(model, texts, prompts)
    heads = watched.names
    if len(heads) < 2:
        raise InterpError(f"{len(heads)} head: expected two or more, to compare them.")
    total, queries = torch.zeros(len(heads), len(heads), dtype=torch.float64), 0
    for look in looks(watched, rows, batch_size):
        for weights in look.weights:
            total += apart(weights.double(), metric)
            queries += weights.shape[1]
    return HeadDistances(heads, (total / queries).numpy(), metric, queries, len(rows), model.name)


def apart(weights: Tensor, metric: str) -> Tensor:
    """Summed distances of the rows of any two heads [head head]. weights: [head q_pos k_pos]; rows that sum to less than 1 are compared by
    their shares."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    n, own = len(shares), entropies(shares)
    found = torch.zeros(n, n, dtype=shares.dtype)
    for i in range(n - 1):
        others = shares[i + 1 :]
        if metric == "tv":
            each = (others - shares[i]).abs().sum(-1) / 2
        else:
            each = entropies((others + shares[i]) / 2) - (own[i + 1 :] + own[i]) / 2
        found[i, i + 1 :] = each.clamp_min(0).sum(-1)
    return found + found.T
