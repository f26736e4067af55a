"""What an evaluation of a dictionary says: frozen plain data and one array, to JSON and back. Nothing here knows torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from interp.dictionaries.activation import DictionaryError
from interp.files import write_text

FORMAT: Final = "dictionary evaluation 1"
#: A feature that is active on more than this share of the tokens is dense.
DENSE: Final = 0.1


@dataclass(frozen=True)
class CrossEntropies:
    """Cross-entropy of the next token: of the model as it is, and with what is at the dictionary's target replaced by the
    dictionary's output, by zero, by its mean over the tokens counted.

    Units: nats per token predicted. tokens: how many were.
    """

    clean: float
    spliced: float
    zero: float
    mean: float
    tokens: int

    @property
    def recovered(self) -> float | None:
        """(zero - spliced) / (zero - clean); None where zero does no harm."""
        return self._recovered(self.zero)

    @property
    def recovered_from_mean(self) -> float | None:
        """(mean - spliced) / (mean - clean); None where the mean does no harm."""
        return self._recovered(self.mean)

    def _recovered(self, ablated: float) -> float | None:
        return (ablated - self.spliced) / (ablated - self.clean) if ablated > self.clean else None


@dataclass(frozen=True)
class Baseline:
    """Explained variance of the first so many principal components of the target."""

    components: int
    explained_variance: float


@dataclass(frozen=True, eq=False)
class DictionaryEvaluation:
    """How well a dictionary makes up its target, and what its features do, on some text.

    tokens: those counted; BOS and padding are not. l0: mean number of active features of a token, l0_quantiles by
    share of the tokens (`"0.5"` the median). explained_variance: 1 - sum |y - y-hat|^2 / sum |y - mean(y)|^2, mean per
    dimension. mse: per token and dimension, in squared units of the activations; cosine: of y and y-hat, mean over
    tokens. counts: tokens on which each feature is active [feature]. pca: with as many components as the L0, and others
    that were asked for; pca_fit says on which tokens they were fitted.
    """

    dictionary: str
    site: str
    target: str
    activation: str
    model: str
    data: str
    d_in: int
    d_out: int
    tokens: int
    l0: float
    l0_quantiles: Mapping[str, float]
    explained_variance: float
    mse: float
    cosine: float
    counts: np.ndarray
    cross_entropies: CrossEntropies
    pca: tuple[Baseline, ...]
    pca_fit: str
    settings: Mapping[str, Any]

    @property
    def n_features(self) -> int:
        return len(self.counts)

    @property
    def densities(self) -> np.ndarray:
        """The share of the tokens on which each feature is active [feature]."""
        return self.counts / self.tokens

    @property
    def dead(self) -> int:
        """Features that are active on no token."""
        return int((self.counts == 0).sum())

    @property
    def dense(self) -> int:
        """Features that are active on more than `DENSE` of the tokens."""
        return int((self.densities > DENSE).sum())

    @property
    def dead_share(self) -> float:
        return self.dead / self.n_features

    @property
    def dense_share(self) -> float:
        return self.dense / self.n_features

    # ------------------------------------------------------------ files

    def summary(self) -> dict[str, Any]:
        """The numbers as plain data, those that follow from others too, without the counts per feature."""
        ce = self.cross_entropies
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "counts"}
        found |= {"l0_quantiles": dict(self.l0_quantiles), "settings": dict(self.settings)}
        found |= {"n_features": self.n_features, "dead": self.dead, "dead_share": self.dead_share}
        found |= {"dense": self.dense, "dense_share": self.dense_share, "pca": [asdict(b) for b in self.pca]}
        more = {"recovered": ce.recovered, "recovered_from_mean": ce.recovered_from_mean}
        return found | {"cross_entropies": asdict(ce) | more}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {"format": FORMAT, **self.summary(), "counts": self.counts.tolist()}

    def save(self, path: str | Path) -> None:
        """Write JSON at once."""
        write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))

    @classmethod
    def from_dict(cls, found: Any) -> DictionaryEvaluation:
        """The inverse of `to_dict`. Raises: DictionaryError for other data."""
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            given = found.get("format") if isinstance(found, dict) else type(found).__name__
            raise DictionaryError(f"evaluation of format {given!r}; expected {FORMAT!r}.")
        try:
            kept = {f.name: found[f.name] for f in fields(cls)}
            ce = {f.name: found["cross_entropies"][f.name] for f in fields(CrossEntropies)}
            kept |= {"cross_entropies": CrossEntropies(**ce), "counts": np.array(found["counts"], dtype=np.int64)}
            return cls(**{**kept, "pca": tuple(Baseline(**b) for b in found["pca"])})
        except (KeyError, TypeError, ValueError) as error:
            raise DictionaryError(f"evaluation is damaged: {type(error).__name__} {error}.") from error

    @classmethod
    def load(cls, path: str | Path) -> DictionaryEvaluation:
        """Read what `save` wrote. Raises: DictionaryError for another file."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DictionaryError(f"evaluation {str(path)!r} cannot be read: {error}.") from error
