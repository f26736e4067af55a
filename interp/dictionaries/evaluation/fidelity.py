"""How well a dictionary makes up its target, over a stream of tokens, in float64: moments, errors, activity of features.

Axis words: `token feature d_in d_out`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_stream import encoded

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


class Moments:
    """First and second moments of y [token d] about a point near its mean, so that nothing cancels in float64.

    whole: keep the whole second moment [d d], which principal components need, instead of its diagonal [d].
    """

    def __init__(self, about: Tensor, whole: bool) -> None:
        self.about, self.n = about.double(), 0
        self.first = torch.zeros_like(self.about)
        self.second = self.first.new_zeros(*about.shape, len(about)) if whole else torch.zeros_like(self.first)

    def add(self, y: Tensor) -> None:
        y = y.double() - self.about
        self.n += len(y)
        self.first += y.sum(0)
        self.second += y.T @ y if self.second.ndim == 2 else (y * y).sum(0)

    def plus(self, other: Moments) -> Moments:
        """Of the tokens of both; `other` is about the same point."""
        found = Moments(self.about, self.second.ndim == 2)
        found.n, found.first, found.second = self.n + other.n, self.first + other.first, self.second + other.second
        return found

    @property
    def mean(self) -> Tensor:
        return self.about + self.first / self.n

    @property
    def variation(self) -> float:
        """sum |y - mean|^2 over tokens and dimensions."""
        trace = self.second.trace() if self.second.ndim == 2 else self.second.sum()
        return float(trace - self.first @ self.first / self.n)

    def spread(self, centre: Tensor) -> Tensor:
        """sum (y - centre)(y - centre)^T over the tokens [d d]."""
        d = centre - self.about
        cross = torch.outer(self.first, d)
        return self.second - cross - cross.T + self.n * torch.outer(d, d)


def unexplained(fitted: Moments, k: int, measured: Moments) -> float:
    """sum |y - mean - P (y - mean)|^2 over the tokens of `measured`: mean and first k principal components P of `fitted`."""
    directions = torch.linalg.eigh(fitted.spread(fitted.mean))[1][:, -k:]
    spread = measured.spread(fitted.mean)
    return float(spread.trace() - (directions * (spread @ directions)).sum())


class Fidelity:
    """The running sums of one dictionary. `whole`: also what principal components need, in two halves of the rows."""

    def __init__(self, dictionary: Dictionary, whole: bool) -> None:
        self.dictionary, self.whole = dictionary, whole
        self.counts = torch.zeros(dictionary.n_features, dtype=torch.int64)
        self.l0 = torch.zeros(dictionary.n_features + 1, dtype=torch.int64)
        self.squared, self.cosines, self.n = 0.0, 0.0, 0
        self.halves: tuple[Moments, Moments] | None = None

    def add(self, x: Tensor, y: Tensor, odd: Tensor) -> None:
        """x [token d_in] is what it reads, y [token d_out] what it is to make up, odd [token] which half a token is in.

        Raises: DictionaryError where an activation, or what the dictionary makes of it, is not finite.
        """
        for site, value in ((self.dictionary.site, x), (self.dictionary.target, y)):
            if not bool(torch.isfinite(value).all()):
                raise DictionaryError(f"activations at '{site}' are not finite; try dtype float32 or other data.")
        if not len(x):
            return
        if self.halves is None:
            about = y.double().mean(0)
            self.halves = Moments(about, self.whole), Moments(about, self.whole)
        for half, chosen in zip(self.halves, (~odd, odd), strict=True):
            half.add(y[chosen])
        for at, features in encoded(self.dictionary, x):
            self._compare(features, x[at], y[at])

    def _compare(self, features: Tensor, x: Tensor, y: Tensor) -> None:
        active = features > 0
        self.counts += active.sum(0).cpu()
        self.l0 += torch.bincount(active.sum(-1).cpu(), minlength=len(self.l0))
        made = self.dictionary.decode(features, x.to(features.device)).double().to(y.device)
        if not bool(torch.isfinite(made).all()):
            raise DictionaryError(
                f"{self.dictionary!r} makes numbers that are not finite; load it with dtype='float32'."
            )
        y = y.double()
        self.squared += float((y - made).square().sum())
        self.cosines += float(torch.nn.functional.cosine_similarity(y, made, dim=-1).sum())
        self.n += len(y)

    # ------------------------------------------------------------ what came of it

    @property
    def all(self) -> Moments:
        """Moments of the target over all tokens. Raises: DictionaryError where there were none."""
        if self.halves is None:
            raise DictionaryError("no tokens to evaluate on.")
        return self.halves[0].plus(self.halves[1])

    @property
    def explained_variance(self) -> float:
        """1 - sum |y - y-hat|^2 / sum |y - mean(y)|^2.

        Raises: DictionaryError where the target is the same on all tokens.
        """
        total = self.all.variation
        if not np.isfinite(self.squared):
            raise DictionaryError(
                f"{self.dictionary!r} makes numbers that are not finite; load it with dtype='float32'."
            )
        if total <= 0:
            raise DictionaryError(
                f"'{self.dictionary.target}' is the same on all {self.n:,} tokens, so no variance can be explained: use more text."
            )
        return 1 - self.squared / total

    @property
    def mean_l0(self) -> float:
        return float(self.counts.sum()) / self.n

    def l0_quantiles(self) -> dict[str, float]:
        """The smallest L0 that so large a share of the tokens does not exceed."""
        below = self.l0.cumsum(0).numpy()
        return {str(q): float(np.searchsorted(below, q * self.n)) for q in QUANTILES}

    def pca(self, k: int) -> float:
        """Explained variance of k principal components, fitted on each half of the rows and measured on the other.

        Raises: DictionaryError where a half has no tokens.
        """
        total = self.all.variation
        if self.halves is None or not all(half.n for half in self.halves):
            raise DictionaryError(
                "the text is one row; PCA is fitted on one half of the rows: use more text, or pca=None."
            )
        a, b = self.halves
        return 1 - (unexplained(a, k, b) + unexplained(b, k, a)) / total
