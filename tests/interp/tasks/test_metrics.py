"""Metrics of programs, in closed form."""

from __future__ import annotations

import pytest
import torch

from interp.errors import MetricError
from interp.tasks.metrics import METRICS, Metric, Targets

NONE = torch.zeros(0)


def test_largest_change_and_projection_in_closed_form() -> None:
    base = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [0.0, 0.0]]], dtype=torch.float64)
    source = base + torch.tensor([[[50.0, 50.0], [3.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    now = base + torch.tensor([[[-80.0, 0.0], [1.0, -7.0], [2.0, 5.0]]], dtype=torch.float64)
    targets = Targets(NONE, NONE, source, base)
    assert METRICS["largest_change"](now, targets).tolist() == [7.0]
    assert METRICS["projection"](now, targets).item() == pytest.approx((1 * 3 + 5 * 4) / 5)
    assert METRICS["projection"](base, targets).tolist() == [0.0]
    assert METRICS["projection"](source, targets).item() == pytest.approx(5.0)
    leaf = base.clone().requires_grad_()
    (slope,) = torch.autograd.grad(METRICS["projection"](leaf, targets).sum(), [leaf])
    torch.testing.assert_close(slope[0], torch.tensor([[0, 0], [0.6, 0], [0, 0.8]], dtype=torch.float64))


def test_projection_is_zero_with_a_zero_slope_where_both_runs_are_equal() -> None:
    base = torch.ones(2, 3, 4)
    leaf = (base + 1).requires_grad_()
    value = METRICS["projection"](leaf, Targets(NONE, NONE, base, base))
    (slope,) = torch.autograd.grad(value.sum(), [leaf])
    assert not value.any() and not slope.any()


def test_both_say_more_is_more_important_in_either_direction() -> None:
    for name in ("largest_change", "projection"):
        assert [METRICS[name].importance_sign(d) for d in ("denoise", "noise")] == [1, 1]
    for name, sign in (("kl_source", -1), ("l2_source", -1), ("kl_base", 1), ("l2_base", 1)):
        assert [METRICS[name].importance_sign(d) for d in ("denoise", "noise")] == [sign, sign]


def test_metrics_refuse_the_logits_of_other_positions_and_wrong_use() -> None:
    whole, last = torch.zeros(2, 3, 4), torch.zeros(2, 4)
    targets = Targets(last, last, whole, whole)
    with pytest.raises(MetricError, match=r"all positions: expected \[batch, pos, d_vocab\]"):
        METRICS["projection"](last, targets)
    with pytest.raises(MetricError, match=r"last position: expected \[batch, d_vocab\]"):
        METRICS["logit_diff"](whole, targets)
    with pytest.raises(MetricError, match="exact methods only"):
        METRICS["largest_change"](whole.clone().requires_grad_(), targets)
    with pytest.raises(MetricError, match="no source run"):
        METRICS["projection"](whole, Targets(last, last, None, whole))
    with pytest.raises(MetricError, match="Valid: all, last"):
        Metric("m", lambda x, t: x.sum((1, 2)), "", "", positions="some")  # type: ignore[arg-type]
