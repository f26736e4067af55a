"""Fixed points against closed forms: contractions, a double well, the Jacobian's formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interp.errors import InterpError
from interp.recurrent import fixed_points


def contraction(n: int = 12, norm: float = 0.6) -> tuple[nn.RNNCell, Tensor]:
    """A cell whose step shrinks distances, so that it has one fixed point; and an input."""
    generator = torch.Generator().manual_seed(0)
    cell = nn.RNNCell(3, n).double()
    W = torch.randn(n, n, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for p in cell.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.5)
        cell.weight_hh.copy_(norm * W / torch.linalg.matrix_norm(W, 2))
    return cell, torch.randn(3, generator=generator, dtype=torch.float64)


def test_a_contraction_has_one_fixed_point_from_everywhere() -> None:
    cell, x = contraction()
    found = fixed_points(cell, x, starts=20, tol=1e-9)
    h = torch.zeros(1, 12, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(300):
            h = cell(x[None], h)
    assert found.points.shape == (1, 12) and found.found.tolist() == [20] and found.lost == 0
    assert np.abs(found.points[0] - h[0].numpy()).max() < 1e-8 and found.speed[0] < 1e-16 and bool(found.stable[0])
    W = cell.weight_hh.detach().numpy()
    J = (1 - np.tanh(np.arctanh(found.points[0])) ** 2)[:, None] * W  # at h = tanh(...): 1 - h^2
    assert np.abs(found.jacobians[0] - J).max() < 1e-8
    own = np.array(sorted(np.linalg.eigvals(J), key=lambda v: -abs(v)))
    assert np.allclose(np.abs(found.eigenvalues[0]), np.abs(own), atol=1e-7) and "20 starts" in str(found)
    assert len(found.to_pandas()) == 1


def test_two_wells_and_the_top_between_them() -> None:
    """h = tanh(2 h): 0, which moves away by 2, and +-.9575, towards which all else goes."""
    found = fixed_points(lambda h: torch.tanh(2 * h), starts=torch.tensor([[0.5], [-0.7], [0.9], [0.0]]))
    assert found.points[:, 0] == pytest.approx([0.957504, -0.957504, 0.0], abs=1e-6) or found.points[
        0, 0
    ] == pytest.approx(0.957504, abs=1e-6)
    by_point = {
        round(float(p), 3): (bool(s), abs(e[0]))
        for p, s, e in zip(found.points[:, 0], found.stable, found.eigenvalues, strict=True)
    }
    assert by_point[0.0] == (False, pytest.approx(2.0)) and by_point[0.958][0] and by_point[-0.958][0]
    assert by_point[0.958][1] == pytest.approx(2 * (1 - 0.957504**2), abs=1e-5)


@pytest.mark.parametrize("kind", (nn.LSTMCell, nn.GRUCell))
def test_a_step_that_stays_is_a_fixed_point_of_the_module(kind: Any) -> None:
    torch.manual_seed(0)
    cell = kind(2, 4).double()
    x = torch.tensor([0.3, -1.0], dtype=torch.float64)
    found = fixed_points(cell, x, starts=5)
    state = torch.tensor(found.points[0])[None]
    with torch.no_grad():
        after = torch.cat(cell(x[None], state.chunk(2, -1)), -1) if kind is nn.LSTMCell else cell(x[None], state)
    assert float((after - state).abs().max()) < 1e-6 and found.jacobians.shape[1:] == (state.shape[1],) * 2
    layers = nn.GRU(3, 4, num_layers=2).double()
    assert fixed_points(layers, layer=1, starts=3).points.shape[1] == 4


def test_starts_that_come_to_rest_nowhere_are_lost() -> None:
    found = fixed_points(lambda h: h + 1 + h.square(), starts=torch.zeros(2, 1))  # h = h + 1 + h^2 has no real solution
    assert found.lost == 2 and len(found.points) == 0 and found.eigenvalues.shape == (0, 1) and "2 lost" in str(found)
    assert len(found.to_pandas()) == 0


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: fixed_points(nn.Linear(2, 2)), "Linear given; expected nn.LSTM"),
        (lambda: fixed_points(nn.GRUCell(2, 3), torch.ones(3)), r"expected \[2\] finite numbers"),
        (lambda: fixed_points(nn.GRUCell(2, 3), starts=torch.ones(4, 2)), r"expected \[start, 3\]"),
        (lambda: fixed_points(nn.GRUCell(2, 3), tol=0), "between 0 and 1"),
        (lambda: fixed_points(nn.GRU(2, 3), layer=1), "layers 0 to 0"),
        (lambda: fixed_points(torch.tanh), "give the states to begin at"),
        (lambda: fixed_points(torch.tanh, torch.ones(2), torch.ones(1, 2)), "x belongs to cells"),
        (lambda: fixed_points(lambda h: h / 0, starts=torch.ones(1, 2)), "not finite"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], Any], said: str) -> None:
    with pytest.raises(InterpError, match=said):
        act()
