"""Learned constants against closed forms: on a model that is one part and a linear head, the best constant is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import MethodError
from interp.learning import optimal
from interp.learning.optimal import Replacing, Sides, learn

KEY = "part"


@dataclass(frozen=True)
class Linear:
    """Logits W a, with `a` what the part writes: a table by token, read at the last position."""

    W: Tensor
    table: Tensor
    ids: Tensor
    seed: int = 0
    able: bool = True

    def see(self, ids: Tensor) -> dict[Any, Tensor]:
        return {KEY: self.table[ids]}

    def means(self) -> dict[Any, Tensor]:
        return {KEY: self.see(self.ids[0])[KEY].mean((0, 1), keepdim=True)}

    def sides(self) -> list[Sides]:
        half = self.ids.shape[1] // 2
        return [
            Sides(list(range(half)), self.ids[:, :half], 1),
            Sides(list(range(half, 2 * half)), self.ids[:, half:], 1),
        ]

    @property
    def replacing(self) -> Replacing | None:
        def run(ids: Tensor, keep: int, constants: Any, out: Any) -> Tensor:
            values = self.table[ids]
            if out:
                values = torch.where(out[KEY][:, None], constants[KEY], values)
            return values @ self.W.T

        return Replacing({KEY: 1}, run, lambda: None) if self.able else None


def toy(seed: int = 0) -> Linear:
    """64 pairs of 3 tokens. The output is peaked and lopsided, so that the mean of the values is far from the best constant."""
    draws = torch.Generator().manual_seed(seed)
    W, table = (torch.randn(*shape, generator=draws, dtype=torch.float64) for shape in ((5, 6), (9, 6)))
    table[0] *= 4
    return Linear(W, table, torch.randint(9, (2, 64, 3), generator=draws))


def test_the_best_constant_gives_the_mean_of_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL(p_j || q), mean over j, is least at q = mean of p_j over the prompts of both sides, and W reaches every q."""
    monkeypatch.setattr(optimal, "STEPS", 1000)
    monkeypatch.setattr(optimal, "RATE", 0.01)
    found, said = learn(toy())
    p = (toy().table[toy().ids[:, :, -1]] @ toy().W.T).softmax(-1).flatten(0, 1)
    best, own = p.mean(0), (toy().W @ found[KEY].flatten()).softmax(-1)
    at_mean = (toy().W @ toy().means()[KEY].flatten()).softmax(-1)
    assert float((own - best).abs().max()) < 0.01 < 0.1 < float((at_mean - best).abs().max())

    def loss(q: Tensor) -> float:
        return float((p * (p.log() - q.log())).sum(-1).mean())

    assert loss(best) <= loss(own) <= 1.001 * loss(best) and loss(own) < 0.9 * loss(at_mean)
    assert said.after < said.before and said.steps == 1000 and said.n_prompts == 64


def test_constants_that_are_no_better_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimal, "RATE", 1e4)
    found, said = learn(toy())
    assert torch.equal(found[KEY], toy().means()[KEY]) and said.after == said.before
    assert "the mean stayed" in str(said)


def test_equal_seeds_give_equal_constants() -> None:
    (a, _), (b, _), (c, _) = learn(toy()), learn(toy()), learn(replace(toy(), seed=1))
    assert torch.equal(a[KEY], b[KEY]) and not torch.equal(a[KEY], c[KEY])


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(MethodError, match="features of dictionaries take mean or zero"):
        learn(replace(toy(), able=False))
    with pytest.raises(MethodError, match="not finite"):
        learn(replace(toy(), W=torch.full((5, 6), torch.nan, dtype=torch.float64)))
