"""Metrics of programs, in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from interp.errors import MetricError
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS
from interp.tasks.targets import Targets

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


def sets(d_vocab: int = 7) -> Targets:
    """Two examples: answers 1, 2 or 0; wrong ones 5 or 3, 4, 6."""
    answers, wrong = torch.zeros(2, 2, d_vocab, dtype=torch.float64)
    answers[0, [1, 2]], answers[1, 0] = 1 / 2, 1
    wrong[0, 5], wrong[1, [3, 4, 6]] = 1, 1 / 3
    return Targets(answers, wrong)


def test_logsumexp_and_prob_diff_in_closed_form() -> None:
    weights = torch.tensor([[1.0, 2, 3, 4, 5, 6, 4], [8, 1, 1, 2, 2, 1, 5]], dtype=torch.float64)
    logits = weights.log() + torch.tensor([[900.0], [-40.0]])
    odds = [math.log((2 + 3) / 6), math.log(8 / (2 + 2 + 5))]
    assert METRICS["logsumexp"](logits, sets()).tolist() == pytest.approx(odds, rel=1e-12)
    difference = [(2 + 3 - 6) / 25, (8 - (2 + 2 + 5)) / 20]
    assert METRICS["prob_diff"](logits, sets()).tolist() == pytest.approx(difference, rel=1e-12)
    assert (METRICS["logsumexp"].unit, METRICS["prob_diff"].unit) == ("logits", "probability")


def test_of_one_answer_each_logsumexp_is_the_logit_difference() -> None:
    logits = torch.randn(1, 7, dtype=torch.float64)
    answers, wrong = torch.eye(7, dtype=torch.float64)[[2]], torch.eye(7, dtype=torch.float64)[[6]]
    both = [METRICS[name](logits, Targets(answers, wrong)).item() for name in ("logsumexp", "logit_diff")]
    assert both[0] == pytest.approx(both[1], rel=1e-12)


@pytest.mark.parametrize("name", ["logsumexp", "prob_diff"])
def test_slopes_of_metrics_of_answer_sets_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    leaf = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(METRICS[name](leaf, sets()).sum(), [leaf])
    step, x = 1e-6, leaf.detach()
    for i in range(2):
        for j in range(7):
            apart = torch.zeros_like(x)
            apart[i, j] = step
            change = METRICS[name](x + apart, sets()) - METRICS[name](x - apart, sets())
            assert slope[i, j].item() == pytest.approx(change[i].item() / (2 * step), rel=1e-6, abs=1e-9)
