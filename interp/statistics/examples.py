"""The largest values of each unit, with the tokens where they are."""

from __future__ import annotations

from typing import Any, Final, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, StatisticError, Where, checked
from interp.whole_numbers import count

#: Tokens of a text that are kept of each example: the one of the value, and those before it.
CONTEXT: Final = 12
_HELD: Final = ("values", "example", "position", "tokens")


class Examples(Accumulator):
    """The `k` largest values of each unit [d k], the largest first; of equal ones that which came first. `tokens` [d k context]: the ids up to the
    one where the value is, -1 before the text begins. What is not filled yet has example -1."""

    name = "examples"

    def __init__(self, width: int, k: int = 10) -> None:
        super().__init__(width, k=count(k, "k", StatisticError))
        self.values = torch.full((width, k), -torch.inf, dtype=torch.float64)
        self.example, self.position = (torch.full((width, k), -1) for _ in range(2))
        self.tokens = torch.full((width, k, CONTEXT), -1)

    def update(self, x: Tensor, where: Where | None = None) -> None:
        if where is None:
            raise StatisticError("examples: no places were given; expected example, position and token of each vector.")
        if not len(checked(x, self.width, self.name)):
            return
        values, at = (
            found[: self.settings["k"]] for found in x.double().cpu().sort(dim=0, descending=True, stable=True)
        )
        own = {name: where[name][at].T for name in ("example", "position")}
        self._add(values.T, own["example"], own["position"], _before(where)[at].transpose(0, 1))
        self.n += len(x)

    def _merged(self, other: Self) -> None:
        self._add(*(getattr(other, name) for name in _HELD))
        self.n += other.n

    def _add(self, values: Tensor, example: Tensor, position: Tensor, tokens: Tensor) -> None:
        every = torch.cat([self.values, values], 1)
        order = every.sort(dim=1, descending=True, stable=True).indices[:, : self.settings["k"]]
        for name, more in zip(_HELD, (values, example, position, tokens), strict=True):
            joined = torch.cat([getattr(self, name), more], 1)
            index = order[..., None].expand(-1, -1, CONTEXT) if joined.ndim == 3 else order
            setattr(self, name, joined.gather(1, index))

    def result(self) -> dict[str, Tensor]:
        """values, example, position [d k], tokens [d k context]."""
        self._check_some()
        return {name: getattr(self, name) for name in _HELD}

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), **{name: getattr(self, name) for name in _HELD}}

    @classmethod
    def bytes_for(cls, width: int, k: int = 10, **settings: Any) -> int:
        return 8 * width * k * (3 + CONTEXT)


def _before(where: Where) -> Tensor:
    """The ids up to each token of a batch [token context], -1 where its text, or the batch, has not begun."""
    token, example = where["token"], where["example"]
    steps = torch.arange(len(token))[:, None] - torch.arange(CONTEXT - 1, -1, -1)
    inside = steps.clamp(min=0)
    same = (steps >= 0) & (example[inside] == example[:, None])
    return torch.where(same, token[inside], -1)
