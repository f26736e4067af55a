"""Every measure on functions whose numbers can be worked out, against slow second writings, and against captum."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.attribution.token_request import TokenOptions, plan
from interp.evaluation.infidelity import NOISY, REMOVAL, draws, infidelity
from interp.evaluation.mixing import Mixed
from interp.evaluation.removal_curves import SHARES, STEPS
from interp.evaluation.token_truth import auroc, pointing
from tests.interp.attribution.on_tokens.functions import ByHand, linear, table, task_of
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

TASK = task_of(((2, 3, 4, 5), (6, 9, 7, 8)), ((3, 4, 5, 2), (9, 10, 11, 6)))
EXACT = ("integrated-gradients", "shapley", "feature-ablation")


def counted(*weights: float) -> ByHand:
    """The sum of weights times whether a token is there: token 1 is there, token 0 is not."""
    own = torch.zeros(12, 1, dtype=torch.float64)
    own[1] = 1.0
    w = torch.tensor(weights, dtype=torch.float64)[:, None]
    return ByHand(linear(w), own)


def mixed_of(model: Any, task: Any, **options: Any) -> Mixed:
    request = plan(model, task, TokenOptions("feature-ablation", batch_size=8, **options))
    return Mixed(request.job, request.job.batch([request.pairs[0]], [0]))


@pytest.mark.parametrize("method", EXACT)
def test_of_a_linear_model_exact_values_have_no_infidelity_and_no_gap(method: str) -> None:
    model = ByHand(linear(table(4, seed=1)), table())
    found = interp.evaluate_tokens(model, TASK, method, batch_size=8)
    for measure in ("infidelity, removal", "infidelity, noisy baseline", "completeness gap"):
        assert found[method, measure].estimate.value == pytest.approx(0, abs=1e-6)
    wrong = [[1.0, 2.0, 3.0, 4.0]] * 2
    other = interp.evaluate_tokens(model, TASK, {"mine": wrong}, batch_size=8)
    assert all(row.estimate.value > 0.1 for row in other.rows if "infidelity" in row.measure)


def test_curves_of_weights_4_2_1_1_by_hand() -> None:
    """Ten percent of four is none, thirty percent one, ..., by rounding to even: 0 0 1 1 2 2 2 3 3 4 4 replaced."""
    model, task = counted(1.0, 4.0, 1.0, 2.0), task_of(((1, 1, 1, 1), (0, 0, 0, 0)))
    found = interp.evaluate_tokens(model, task, "feature-ablation", batch_size=8)
    left = [8.0, 4.0, 2.0, 1.0, 0.0]
    along = [round(share * 4) for share in STEPS]
    curves = {(c.method, c.kind): c for c in found.curves}
    assert curves["feature-ablation", "deletion"].mean == pytest.approx([left[k] for k in along])
    assert curves["feature-ablation", "insertion"].mean == pytest.approx([8 - left[k] for k in along])
    heights = [left[k] for k in along]
    area = sum((a + b) / 2 for a, b in pairwise(heights)) / 10
    assert found["feature-ablation", "deletion"].estimate.value == pytest.approx(area)
    # Of four groups the shares are 1, 1, 1, 1 and 2 of them.
    assert found["feature-ablation", "comprehensiveness"].estimate.value == pytest.approx((4 * 4 + 6) / 5)
    assert found["feature-ablation", "sufficiency"].estimate.value == pytest.approx((4 * 4 + 2) / 5)
    best = found["feature-ablation", "deletion"]
    assert best.random is not None and best.estimate.value < best.random.low


@pytest.mark.parametrize("metric", ("log_prob", "logit_diff"))
def test_order_measures_are_those_of_a_slow_second_writing(metric: str) -> None:
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2, lengths=(7,), changed=4)
    own = interp.attribute_tokens(model, task, method="gradient-x-input", metric=metric)
    found = interp.evaluate_tokens(model, task, own, baseline="corrupt", batch_size=3)
    for i, pair in enumerate(p.ids for p in task.pairs):
        differ = [p for p in range(7) if pair.clean[p] != pair.corrupt[p]]
        order = sorted(differ, key=lambda p: -own.values[i][p])

        def m(kept: list[int], pair: Any = pair, differ: list[int] = differ) -> float:
            ids = torch.tensor([[c if p in kept or p not in differ else b for p, (c, b) in enumerate(zip(pair.clean, pair.corrupt, strict=True))]])  # fmt: skip
            logits = model.hf(input_ids=ids).logits[0, -1]
            if metric == "log_prob":
                return float(torch.log_softmax(logits, -1)[pair.answers[0]])
            return float(logits[pair.answers[0]] - logits[pair.wrong[0]])

        some = [max(1, -(-round(share * 100) * len(differ) // 100)) for share in SHARES]
        gone = np.mean([m(differ) - m(order[k:]) for k in some])
        alone = np.mean([m(differ) - m(order[:k]) for k in some])
        assert found["gradient-x-input", "comprehensiveness"].per_pair[i] == pytest.approx(gone, abs=1e-8)
        assert found["gradient-x-input", "sufficiency"].per_pair[i] == pytest.approx(alone, abs=1e-8)
        along = [round(share * len(differ)) for share in STEPS]
        down = np.array([m(order[k:]) for k in along])
        assert found["gradient-x-input", "deletion"].per_pair[i] == pytest.approx((down[1:] + down[:-1]).mean() / 2)


def test_infidelity_is_captums_on_the_same_noise() -> None:
    from captum.attr import Saliency
    from captum.metrics import infidelity as theirs

    model, task = hooked("gpt2", dtype=torch.float64), toy_task(1, changed=5)
    f, x, b, args = interp.captum_function(model, task)
    gradient = Saliency(f).attribute(x.clone().requires_grad_(), additional_forward_args=args, abs=False)
    values = (gradient * (x - b)).sum(-1)[0].detach().numpy()
    mixed = mixed_of(model, task)
    for kind in (REMOVAL, NOISY):
        replaced = draws(kind, mixed.n, 12, np.random.default_rng(1))
        shares = torch.zeros(12, x.shape[1], 1, dtype=torch.float64)
        shares[:, mixed.players, 0] = torch.tensor(replaced)
        noise = shares * (x - b)
        for scaled in (False, True):
            expected = theirs(
                f,
                lambda given, noise=noise: (noise, given - noise),
                x,
                gradient,
                additional_forward_args=args,
                n_perturb_samples=12,
                normalize=scaled,
            )
            found = infidelity(mixed, values[mixed.players], replaced, scaled=scaled)
            assert found == pytest.approx(float(expected), abs=1e-6) and found > 1e-3


def test_the_best_scale_makes_multiples_equal() -> None:
    model = ByHand(lambda x: (x[..., 0].sum(-1)) ** 2, table())
    rows = [[1.0, -2.0, 0.5, 3.0], [2.0, 1.0, -1.0, 0.5]]
    given = {"once": rows, "tenfold": [[10 * v for v in row] for row in rows]}
    plain, scaled = (interp.evaluate_tokens(model, TASK, given, batch_size=8, scaled=s) for s in (False, True))
    for kind in ("infidelity, removal", "infidelity, noisy baseline"):
        once, tenfold = (scaled[name, kind].estimate.value for name in given)
        assert once == pytest.approx(tenfold) and once < min(plain[name, kind].estimate.value for name in given)
        assert plain["once", kind].estimate.value != pytest.approx(plain["tenfold", kind].estimate.value, rel=0.1)


def test_values_of_another_unit_are_judged_by_their_order_and_their_scale() -> None:
    model = ByHand(linear(table(4, seed=1)), table())
    plain, scaled = (interp.evaluate_tokens(model, TASK, "saliency", batch_size=8, scaled=s) for s in (False, True))
    for kind in ("infidelity, removal", "infidelity, noisy baseline"):
        assert plain["saliency", kind].n == 0 and scaled["saliency", kind].n == 2
    assert scaled["saliency", "completeness gap"].estimate.value is None
    assert plain["saliency", "deletion"].n == 2


def test_sizes_are_not_turned_with_a_loss() -> None:
    """Saliency is largest where the gradient is, of the log-probability as of minus it, so both orders are the same."""
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2, changed=4)
    found = [
        interp.evaluate_tokens(model, task, "saliency", metric=m, measures=["deletion"])
        for m in ("log_prob", "cross_entropy")
    ]
    assert found[0].rows[0].per_pair == pytest.approx(found[1].rows[0].per_pair, abs=1e-9)


def test_ground_truth_by_hand() -> None:
    values = np.array([3.0, 1.0, 2.0, 1.0])
    assert auroc(values, np.array([True, True, False, False])) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert auroc(values, np.ones(4, bool)) is None is auroc(values, np.zeros(4, bool))
    assert pointing(values, np.array([True, False, False, False])) == 1.0
    assert pointing(np.array([2.0, 2.0, 1.0]), np.array([True, False, False])) == 0.5
    model, task = counted(1.0, 4.0, 1.0, 2.0), task_of(((1, 1, 1, 1), (0, 0, 0, 0)))
    found = interp.evaluate_tokens(model, task, "shapley", truth=[1, 3], batch_size=8)
    assert found["shapley", "AUROC"].estimate.value == found["shapley", "pointing"].estimate.value == 1.0
    assert interp.evaluate_tokens(model, task, "shapley", truth=[0], batch_size=8)["shapley", "AUROC"].per_pair == (
        pytest.approx(1 / 6),
    )


def test_truth_may_be_a_span_of_the_task() -> None:
    model, task = hooked("gpt2"), toy_task(2, lengths=(6, 8), changed=3)
    named, given = (
        interp.evaluate_tokens(model, task, "relp", measures=["AUROC"], truth=t) for t in ("head", [[0, 1], [0, 1]])
    )
    assert named.rows == given.rows and [row.measure for row in named.rows] == ["AUROC"]


def test_intervals_are_the_bootstrap_of_the_pairs() -> None:
    model, task = hooked("llama"), toy_task(6, changed=3)
    found = interp.evaluate_tokens(model, task, "relp", measures=["comprehensiveness", "completeness gap"], seed=3)
    for row in found.rows:
        own, rng = np.array(row.per_pair), np.random.default_rng(3)
        means = [own[np.repeat(np.arange(6), rng.multinomial(6, [1 / 6] * 6))].mean() for _ in range(1000)]
        assert row.estimate.value == pytest.approx(own.mean()) and row.n == 6
        assert (row.estimate.low, row.estimate.high) == pytest.approx(
            tuple(np.quantile(means, [0.025, 0.975])), abs=0.05
        )
    one = interp.evaluate_tokens(model, task.limit(1), "relp", measures=["comprehensiveness"]).rows[0]
    assert one.estimate.low is None and one.n == 1


def test_a_set_is_run_once_and_pairs_are_apart() -> None:
    model = counted(1.0, 4.0, 1.0, 2.0)
    task = task_of(((1, 1, 1, 1), (0, 0, 0, 0)))
    interp.evaluate_tokens(model, task, {name: [[1.0, 2.0, 3.0, 4.0]] for name in "abc"}, batch_size=8, measures=["deletion", "infidelity, removal"])  # fmt: skip
    assert model.examples <= 2 + 16  # both runs, and the sixteen sets that there are


def test_less_of_a_loss_is_more() -> None:
    """Cross entropy is minus the log-probability of the answer; methods that follow the function give the same evaluation of both."""
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2, changed=4)
    found = [
        interp.evaluate_tokens(model, task, "shapley", metric=m).to_pandas() for m in ("log_prob", "cross_entropy")
    ]
    assert np.allclose(found[0].value, found[1].value, atol=1e-9)


@pytest.mark.parametrize("batch_size", (1, 5))
def test_nothing_depends_on_the_batch(batch_size: int) -> None:
    model, task = hooked("llama", dtype=torch.float64), toy_task(2, lengths=(6, 8), changed=4)
    given = ["integrated-gradients", "shapley"]
    found, whole = (interp.evaluate_tokens(model, task, given, measures="all", truth="head", batch_size=n) for n in (batch_size, 64))  # fmt: skip
    for a, b in zip(found.rows, whole.rows, strict=True):
        assert np.allclose(np.array(a.per_pair, float), np.array(b.per_pair, float), atol=1e-7, equal_nan=True)


def test_groups_are_replaced_whole() -> None:
    model, task = counted(1.0, 4.0, 1.0, 2.0), task_of(((1, 1, 1, 1), (0, 0, 0, 0)))
    found = interp.evaluate_tokens(model, task, "feature-ablation", features=[0, 1, 1, 0], batch_size=8)
    assert found.groups == 2 and found.features == "own"
    assert found["feature-ablation", "comprehensiveness"].estimate.value == pytest.approx(5.0)
    own = interp.attribute_tokens(model, task, method="feature-ablation", features=[0, 1, 1, 0], batch_size=8)
    assert interp.evaluate_tokens(model, task, own, batch_size=8).rows == found.rows
