"""What makes a dictionary's features sparse: from the encoder's output u [... feature] to features [... feature].

| activation | feature | its slope where it is active |
| --- | --- | --- |
| `Relu` | max(u, 0) | 1 |
| `JumpRelu` | u where u > threshold and u > 0, else 0 | 1 |
| `TopK` | max(u, 0) at the k largest u of the token, else 0 | 1 |
| `Gated` | max(e^r u + b_mag, 0) where u + b_gate > 0, else 0 | e^r |

Which features are active is held fixed in the backward pass. For the first three the identity rule's coefficient f(u) / u is
1 on active features and 0 on the others, which is that gradient: gradients and relevance agree. A gated feature is affine in u where
it is active; its bias takes no relevance, so there too the coefficient is the slope.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from interp.errors import InterpError


class DictionaryError(InterpError):
    """A dictionary that cannot be made, read or used here."""


@dataclass(frozen=True, eq=False)
class Activation:
    """One of the rows of the table above. Tensors in it are [feature]."""

    def __call__(self, u: Tensor) -> Tensor:
        """Features [... feature] of the encoder's output."""
        raise NotImplementedError

    def slope(self, features: Tensor) -> Tensor:
        """The slope of the table at each feature [... feature]: d feature / d u, the others held fixed."""
        return (features > 0).to(features.dtype)

    def map(self, **to: Any) -> Self:
        """The same with its tensors moved: `to` as `Tensor.to` takes it."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(**to) if isinstance(v, Tensor) else v for k, v in found.items()})


@dataclass(frozen=True, eq=False)
class Relu(Activation):
    """Every feature whose encoder output is positive."""

    def __call__(self, u: Tensor) -> Tensor:
        return u.relu()


@dataclass(frozen=True, eq=False)
class JumpRelu(Activation):
    """Features above a threshold each (Rajamanoharan et al. 2024); BatchTopK dictionaries are this once trained."""

    threshold: Tensor

    def __call__(self, u: Tensor) -> Tensor:
        return u.relu() * (u > self.threshold)


@dataclass(frozen=True, eq=False)
class TopK(Activation):
    """The k largest of each token (Gao et al. 2024). Raises: DictionaryError for k below 1."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise DictionaryError(f"k={self.k}: expected 1 active feature per token or more.")

    def __call__(self, u: Tensor) -> Tensor:
        values, places = u.topk(min(self.k, u.shape[-1]), dim=-1, sorted=False)
        return torch.zeros_like(u).scatter(-1, places, values.relu())


@dataclass(frozen=True, eq=False)
class Gated(Activation):
    """A gate beside the size, with shared weights (Rajamanoharan et al. 2024, "Improving Dictionary Learning")."""

    b_gate: Tensor
    r_mag: Tensor
    b_mag: Tensor

    def __call__(self, u: Tensor) -> Tensor:
        return (self.r_mag.exp() * u + self.b_mag).relu() * (u + self.b_gate > 0)

    def slope(self, features: Tensor) -> Tensor:
        return super().slope(features) * self.r_mag.exp()
