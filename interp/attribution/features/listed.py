"""Some features of a dictionary, those that are nodes: encoded and decoded as if there were no others.

Axis words: `token` runs over batch and pos together; `unit` over the listed features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import Activation, Gated, JumpRelu, Relu
from interp.dictionaries.dictionary import Dictionary
from interp.parts.sites import Site

#: Bytes of the features of the tokens that are encoded at once.
CODE_BYTES: Final = 16 << 20
#: Activations that look at each feature alone, so that those listed can be computed without the others.
_EACH_ALONE: Final = (Relu, JumpRelu, Gated)


@dataclass(frozen=True, eq=False)
class Listed:
    """`features` [unit], in rising order, of a dictionary: in float32 or better, on the device that it works on.

    What other features would write is part of the error: one that is active here by a rounding, and was not when the features
    were listed, changes no sum.
    """

    dictionary: Dictionary
    features: Tensor

    @cached_property
    def numbers(self) -> list[int]:
        """The features, as numbers."""
        return [int(u) for u in self.features.tolist()]

    @cached_property
    def own(self) -> Dictionary:
        """The dictionary without the other features; its activation is the true one where each feature is alone."""
        d, at = self.dictionary, self.features
        activation = _some(d.activation, at) if self._alone else Relu()
        return replace(d, activation=activation, W_enc=d.W_enc[:, at], b_enc=d.b_enc[at], W_dec=d.W_dec[at])

    @property
    def _alone(self) -> bool:
        return type(self.dictionary.activation) in _EACH_ALONE

    @property
    def site(self) -> Site:
        """What the dictionary reads."""
        return self.dictionary.site

    @property
    def target(self) -> Site:
        """What it makes up: where its nodes are patched."""
        return self.dictionary.target

    @property
    def bytes(self) -> int:
        """Of its own weights."""
        d = self.dictionary
        return len(self.features) * (d.d_in + d.d_out + 4) * d.W_enc.element_size()

    def codes(self, values: Mapping[Site, Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some tokens after the others: which, their features [token unit], and what they do not make up [token d_out].

        values: of a run, by site. error = target - decode(encode(site)).
        """
        x, y = (tokens_of(values[at], self.dictionary) for at in (self.site, self.target))
        for rows in portions(len(x), self.dictionary):
            found = self.encode(x[rows])
            yield rows, found, y[rows] - self.own.decode(found, x[rows])

    def encode(self, x: Tensor) -> Tensor:
        """Features [token unit] of x [token d_in]."""
        if self._alone:
            return self.own.encode(x)
        return self.dictionary.encode(x).index_select(-1, self.features)

    def encode_all(self, x: Tensor) -> Tensor:
        """Features [batch pos unit] of x [batch pos d_in], some tokens after the others."""
        tokens = x.flatten(0, 1)
        found = [self.encode(tokens[rows]) for rows in portions(len(tokens), self.dictionary)]
        return torch.cat(found).view(*x.shape[:2], -1)


def _some(activation: Activation, at: Tensor) -> Activation:
    """An activation of some features."""
    found = {f.name: getattr(activation, f.name) for f in fields(activation)}
    own: dict[str, Any] = {k: v[at] for k, v in found.items() if isinstance(v, Tensor)}
    return replace(activation, **own)


def tokens_of(x: Tensor, dictionary: Dictionary) -> Tensor:
    """What is at a site [batch pos ...] as [token d], in the dictionary's dtype; heads concatenated."""
    return x.to(dictionary.W_enc).flatten(2).flatten(0, 1)


def portions(n: int, dictionary: Dictionary) -> Iterator[slice]:
    """`n` tokens in portions whose features, of all of the dictionary, take `CODE_BYTES` at most."""
    size = max(1, CODE_BYTES // (4 * dictionary.n_features * dictionary.W_enc.element_size()))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def described(dictionary: Dictionary) -> str:
    """Where a dictionary is, its number of features, and a hash of all that decides what they are. Its name does not."""
    d = dictionary
    found = hashlib.sha256(f"{d.site} {d.target} {d.normalize} {type(d.activation).__name__}".encode())
    own = [getattr(d.activation, f.name) for f in fields(d.activation)]
    for value in (d.W_enc, d.b_enc, d.W_dec, d.b_dec, d.b_in, d.W_skip, *own):
        if isinstance(value, Tensor):
            found.update(f"{tuple(value.shape)} {value.dtype}".encode())
            found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        else:
            found.update(repr(value).encode())
    where = f"{d.site} -> {d.target}" if d.transcoder else str(d.site)
    return f"{where}: {d.n_features} features, sha256 {found.hexdigest()[:16]}"
