"""The estimate of what is not patched: its least squares by another writing, its laws, and that it beats each preset where theory says so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from interp.attribution.auto.blend import EVERY, STRENGTH, Towards, _drawn, blend

THEORY = Towards(("gradient",), ("secant",))


def made(seed: int, n: int = 400, known: int = 60) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Effects over four decades. The gradient misses what is of second order, in size; the secant is off by a factor of
    its own for each part, the third by another. tables [1 part], exact [part], known [part]."""
    rng = np.random.default_rng(seed)
    exact = rng.choice([-1, 1], n) * 10 ** rng.uniform(-4, 0, n)
    gradient = exact * (1 + 3 * np.sqrt(np.abs(exact)) * rng.normal(size=n))
    secant = exact * np.exp(0.4 * rng.normal(size=n))
    other = exact * rng.uniform(0.2, 1.5, n)
    tables = {"secant": secant[None], "gradient": gradient[None], "other": other[None]}
    return tables, exact, np.isin(np.arange(n), rng.choice(n, known, replace=False))


def one_kind(n: int) -> np.ndarray:
    return np.array(["neuron"] * n)


def test_weights_are_the_bounded_least_squares_of_another_solver() -> None:
    """With `strength` average parts for each weight, written as a sum over these; none is below zero."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y, of = rng.normal(size=(50, 4)), rng.normal(size=50), rng.random(50) < 0.4
        towards = rng.random(4)

        def loss(
            w: np.ndarray, x: np.ndarray = x, y: np.ndarray = y, of: np.ndarray = of, to: np.ndarray = towards
        ) -> float:
            extra = sum(3.0 * np.mean((x[:, j] * (w[j] - to[j])) ** 2) for j in range(4))
            return float(((y - x @ w)[of] ** 2).sum() + extra)

        slow = minimize(
            loss, towards, bounds=[(0, None)] * 4, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}
        )
        np.testing.assert_allclose(_drawn(x, y, of, towards, 3.0, robust=False), slow.x, atol=1e-5)


def test_without_a_part_that_is_known_the_weights_are_those_of_theory() -> None:
    tables, exact, known = made(0)
    found = blend(one_kind(400), tables, exact, known & False, np.ones(400, dtype=bool), THEORY)
    assert found.weights["neuron"].tolist() == [[0, 1, 0], [1, 0, 0]]
    even = blend(one_kind(400), tables, exact, known & False, np.ones(400, dtype=bool), EVERY)
    assert np.allclose(even.weights["neuron"], 1 / 3)


def test_a_few_parts_move_the_weights_by_a_few_parts_worth() -> None:
    """All parts alike and of size 1, m of them known to be three times the estimate: 1 -> (S + 3 m) / (S + m), of all kinds first and
    then of the kind, where all parts are at the large end."""
    for m in (1, 8, 100):
        tables, known = {"a": np.ones((1, 200))}, np.arange(200) < m
        found = blend(one_kind(200), tables, np.full(200, 3.0), known, np.ones(200, dtype=bool), EVERY)
        start = (1 + 3 * m) / (1 + m)
        pooled = (STRENGTH * start + 3 * m) / (STRENGTH + m)
        assert found.weights["neuron"][1, 0] == pytest.approx((STRENGTH * pooled + 3 * m) / (STRENGTH + m))


def test_a_kind_goes_its_own_way_as_far_as_its_own_parts_say_so() -> None:
    """Of one kind the estimates are twice too small; one that is not in the sample has the weights of all."""
    rng = np.random.default_rng(1)
    estimates = 10 ** rng.uniform(-2, 0, 600)
    kinds = np.repeat(["head", "mlp", "unseen"], 200)
    exact = np.where(kinds == "mlp", 2.0, 1.0) * estimates
    known = (np.arange(600) % 4 == 0) & (kinds != "unseen")
    found = blend(kinds, {"a": estimates[None]}, exact, known, np.ones(600, dtype=bool), EVERY)
    head, mlp, unseen = (found.weights[kind].mean() for kind in ("head", "mlp", "unseen"))
    assert 1 < head < 1.15 < unseen < 1.7 < mlp < 2


def test_the_unit_and_the_order_of_methods_do_not_matter_and_examples_add_up() -> None:
    tables, exact, known = made(3)
    every, kinds = np.ones(400, dtype=bool), np.repeat(["head", "mlp"], 200)
    found = blend(kinds, tables, exact, known, every, THEORY).estimates(kinds, tables)
    bigger = {name: 1000 * table for name, table in tables.items()}
    scaled = blend(kinds, bigger, 1000 * exact, known, every, THEORY).estimates(kinds, bigger)
    turned = dict(reversed(tables.items()))
    np.testing.assert_allclose(scaled, 1000 * found, rtol=1e-6)
    again = blend(kinds, turned, exact, known, every, THEORY).estimates(kinds, turned)
    np.testing.assert_allclose(again, found, rtol=1e-6)
    rng = np.random.default_rng(0)
    two = {
        name: np.vstack([table + (noise := rng.normal(size=(1, 400))), table - noise]) for name, table in tables.items()
    }
    both = blend(kinds, two, exact, known, every, THEORY).estimates(kinds, two)
    np.testing.assert_allclose(both.mean(0), found[0], rtol=1e-6, atol=1e-12)


def test_nothing_at_all_is_estimated_as_nothing() -> None:
    tables = {"a": np.zeros((2, 30)), "b": np.zeros((2, 30))}
    found = blend(one_kind(30), tables, np.zeros(30), np.arange(30) < 5, np.ones(30, dtype=bool), EVERY)
    assert not found.estimates(one_kind(30), tables).any()


def test_it_is_nearer_than_the_best_preset_on_parts_that_are_not_known() -> None:
    """By rank, by correlation and by distance, in the median over draws, where a gradient is right for small effects and a secant for
    large ones; and the best preset is chosen with hindsight."""
    from scipy.stats import spearmanr

    gains = []
    for seed in range(40):
        tables, exact, known = made(seed)
        estimates = blend(one_kind(400), tables, exact, known, np.ones(400, dtype=bool), THEORY).estimates(
            one_kind(400), tables
        )[0]
        rest = ~known
        judges = (
            lambda e, x: np.corrcoef(e, x)[0, 1],
            lambda e, x: spearmanr(np.abs(e), np.abs(x))[0],
            lambda e, x: -np.abs(e - x).mean(),
        )
        gains.append(
            [j(estimates[rest], exact[rest]) - max(j(t[0][rest], exact[rest]) for t in tables.values()) for j in judges]
        )
    assert (np.median(gains, axis=0) > 0).all()
