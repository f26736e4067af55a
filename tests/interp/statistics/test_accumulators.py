"""Statistics that are added up, against two passes over all tokens at once; merges, states, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from interp.statistics.accumulator import STATISTICS, Accumulator, StatisticError, accumulator_for

WIDTH, TOKENS, WINDOW = 6, 120, 10
SETTINGS: dict[str, dict[str, Any]] = {"examples": {"k": 4}, "positions": {"window": WINDOW}}


def data(seed: int = 0) -> Tensor:
    """Vectors far from 0, so that sums of squares less squares of sums would lose digits."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(TOKENS, WIDTH, generator=generator, dtype=torch.float64) ** 3
    x[:, 0] = x[:, 0] * 1e-3 + 1000.0
    x[:, 1] = 0.0
    return x


def places(n: int = TOKENS) -> dict[str, Tensor]:
    at = torch.arange(n)
    return {"example": at // WINDOW, "position": at % WINDOW, "token": at * 7 % 50}


def made(name: str, cuts: tuple[int, ...] = (), x: Tensor | None = None) -> Accumulator:
    """One that was given the tokens in pieces that end at `cuts`."""
    x = data() if x is None else x
    found, where = accumulator_for(name, x.shape[1], **SETTINGS.get(name, {})), places(len(x))
    for start, stop in zip((0, *cuts), (*cuts, len(x)), strict=True):
        found.update(x[start:stop], {key: value[start:stop] for key, value in where.items()})
    return found


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], rtol: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=rtol, atol=1e-12, msg=key)


def test_moments_are_those_of_two_passes() -> None:
    x = data().numpy()
    found = made("moments", (1, 7, 50)).result()
    moving = [0, 2, 3, 4, 5]
    np.testing.assert_allclose(found["mean"], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["variance"], x.var(0), rtol=1e-12)
    for name, power in (("third", 3), ("fourth", 4)):
        np.testing.assert_allclose(found[name][moving], scipy.stats.moment(x, power)[moving], rtol=1e-9)
    np.testing.assert_allclose(found["skewness"][moving], scipy.stats.skew(x)[moving], rtol=1e-8)
    np.testing.assert_allclose(found["kurtosis"][moving], scipy.stats.kurtosis(x, fisher=False)[moving], rtol=1e-8)
    assert float(found["variance"][1]) == float(found["skewness"][1]) == float(found["kurtosis"][1]) == 0
    np.testing.assert_array_equal(found["least"], x.min(0))
    np.testing.assert_array_equal(found["largest"], x.max(0))


def test_covariance_is_that_of_two_passes() -> None:
    x = data().numpy()
    found = made("covariance", (3, 90)).result()
    np.testing.assert_allclose(found["covariance"], np.cov(x.T, bias=True), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["second"], x.T @ x / len(x), rtol=1e-12)


def test_sparsity_by_hand() -> None:
    x = torch.tensor([[3.0, 4.0, 0.0, 0.0], [1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    found = accumulator_for("sparsity", 4)
    found.update(x)
    result = found.result()
    hoyer = [(2 - 7 / 5) / 1, 0.0, 0.0]
    assert float(result["hoyer"]) == pytest.approx(sum(hoyer) / 3)
    assert float(result["positive"]) == pytest.approx((2 + 2) / 12)
    assert float(result["above_10pct"]) == pytest.approx((2 + 4) / 12)
    assert float(result["units_for_90pct"]) == pytest.approx((2 + 4) / 12)
    assert int(result["never_positive"]) == 1
    assert result["active"].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0])


def test_quantiles_are_within_a_bin() -> None:
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * torch.tensor(
        [0.1, 1.0, 5.0]
    )
    found = accumulator_for("quantiles", 3)
    found.update(x[:1000])
    found.update(x[1000:])
    shares = (0.0, 0.02, 0.3, 0.77, 1.0)
    values, exact = found.at(shares), np.quantile(x.numpy(), shares, axis=0, method="inverted_cdf").T  # type: ignore[attr-defined]
    np.testing.assert_allclose(values, exact, rtol=0.16, atol=0.003)
    np.testing.assert_array_equal(values[:, [0, -1]], exact[:, [0, -1]])
    assert int(found.result()["counts"].sum()) == 12000


def test_the_largest_values_and_where_they_are() -> None:
    x = data()
    found = made("examples", (33, 34)).result()
    values, at = x.sort(dim=0, descending=True, stable=True)
    torch.testing.assert_close(found["values"], values[:4].T)
    assert torch.equal(found["example"] * WINDOW + found["position"], at[:4].T)
    tokens = places()["token"]
    for unit in range(2, WIDTH):
        for rank in range(4):
            here, own = int(at[rank, unit]), found["tokens"][unit, rank]
            start = here // WINDOW * WINDOW
            assert own[own >= 0].tolist()[-1] == int(tokens[here])
            assert set(own[own >= 0].tolist()) <= set(tokens[start : here + 1].tolist())


def test_positions_are_those_of_the_published_code(assets: Path) -> None:
    known = json.loads((assets / "ref/language-models/s25_geometry.json").read_text())
    h = torch.tensor(known["h"], dtype=torch.float64)
    found = accumulator_for("positions", h.shape[2], window=h.shape[1])
    found.update(h[:3].flatten(0, 1))
    found.update(h[3:].flatten(0, 1))
    result = found.result()
    for name in ("mu", "pos", "ctx"):
        np.testing.assert_allclose(result[name], known[name], rtol=1e-8, atol=1e-12)
    shares = known["variance_shares"]
    for name, value in (
        ("share_pos", shares["pos"]), ("share_ctx", shares["ctx"]), ("share_rest", shares["residual"]),
        ("stable_rank_pos", known["stable_rank_pos"]), ("max_abs_cos", known["max_abs_cosine_pos_ctx"]),
        ("mean_abs_cos", known["mean_abs_cosine_pos_ctx"]),
    ):  # fmt: skip
        assert float(result[name]) == pytest.approx(value, rel=1e-8), name


def test_position_context_and_rest_are_a_cut() -> None:
    x = torch.randn(8, WINDOW, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    result = made("positions", x=x.flatten(0, 1)).result()
    mu, pos, ctx = result["mu"], result["pos"], result["ctx"]
    rest = x - mu - pos - ctx[:, None]
    for part in (pos.sum(0), ctx.sum(0), rest.sum(0), rest.sum(1)):
        torch.testing.assert_close(part, torch.zeros_like(part), rtol=0, atol=1e-12)
    whole = (x - mu).square().sum()
    assert float(rest.square().sum() / whole) == pytest.approx(float(result["share_rest"]), rel=1e-10)
    assert float(result["share_pos"] + result["share_ctx"] + result["share_rest"]) == pytest.approx(1)
    assert 0 < float(result["low_frequencies"]) <= 1 + 1e-12


def test_pairs_by_hand() -> None:
    found = accumulator_for("pairs", 3)
    found.update(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, -1.0]]))
    result = found.result()
    assert result["counts"].tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 0]]
    assert float(result["jaccard"][0, 1]) == pytest.approx(2 / 3)
    x = (data() > 0).double()
    phi = made("pairs").result()["phi"][2:, 2:]
    np.testing.assert_allclose(phi, np.corrcoef(x[:, 2:].T), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_cuts_merges_and_states_change_nothing(name: str) -> None:
    whole, cut = made(name), made(name, (10, 40, 50))
    same(cut.result(), whole.result(), 1e-10)
    first, second = made(name, x=data()[:50]), accumulator_for(name, WIDTH, **SETTINGS.get(name, {}))
    second.update(data()[50:], {key: value[50:] for key, value in places().items()})
    first.merge(second)
    same(first.result(), whole.result(), 1e-10)
    assert first.n == TOKENS
    empty = accumulator_for(name, WIDTH, **SETTINGS.get(name, {}))
    empty.load(whole.state())
    same(empty.result(), whole.result(), 0)
    held = sum(x.numel() * x.element_size() for x in whole.state().values())
    assert type(whole).bytes_for(WIDTH, **whole.settings) <= held + 200


@pytest.mark.parametrize("name", STATISTICS)
def test_what_it_cannot_take_is_refused_by_name(name: str) -> None:
    own = accumulator_for(name, WIDTH, **SETTINGS.get(name, {}))
    with pytest.raises(StatisticError, match="no tokens were added"):
        own.result()
    x = data()
    x[3, 2] = torch.nan
    with pytest.raises(StatisticError, match="unit 2 is not finite at token 3"):
        own.update(x, places())
    with pytest.raises(StatisticError, match=rf"expected \[token {WIDTH}\]"):
        own.update(data()[:, 1:], places())
    with pytest.raises(StatisticError, match="expected two of the same kind, width and options"):
        own.merge(accumulator_for(name, WIDTH + 1, **SETTINGS.get(name, {})))
    with pytest.raises(StatisticError, match="no 'n'"):
        own.load({})


def test_unknown_names_and_odd_options() -> None:
    with pytest.raises(StatisticError, match="Did you mean moments"):
        accumulator_for("moment", 3)
    with pytest.raises(StatisticError, match="whole windows of 10"):
        accumulator_for("positions", WIDTH, window=10).update(data()[:7])
    with pytest.raises(StatisticError, match="share 2; expected 0 to 1"):
        made("quantiles").at([2])  # type: ignore[attr-defined]
    with pytest.raises(StatisticError, match="no places were given"):
        accumulator_for("examples", WIDTH).update(data())
