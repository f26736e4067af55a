"""What cannot be judged is refused before any work, with what was given, what was expected and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import interp
from interp.errors import MethodError, MetricError
from tests.interp.attribution.on_tokens.functions import ByHand, linear, table, task_of
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

TASK = task_of(((2, 3, 4, 5), (6, 9, 7, 8)), ((3, 4, 5, 2), (9, 10, 11, 6)))
MODEL = ByHand(linear(table(4, seed=1)), table())
OWN = interp.attribute_tokens(MODEL, TASK, method="shapley", batch_size=4)
ROWS = [[1.0, 2.0, 3.0, 4.0]] * 2


@pytest.mark.parametrize(
    ("attributions", "options", "said"),
    [
        ("shapely", {}, "Did you mean shapley"),
        ([], {}, "attributions: none given"),
        (["shapley", OWN], {}, "'shapley' is there twice; give them by names of your own"),
        (None, {}, "given None; expected names"),
        (["shapley", "relpp"], {}, "Did you mean relp"),
        (replace(OWN, metric="normalized_logit_diff"), {}, "one of all pairs together"),
        ("shapley", {"truth": 9}, "truth of pair 1: position 9"),
        ([ROWS], {}, "expected names of token methods"),
        ({"mine": ROWS[:1]}, {}, "attribution 'mine': 1 prompts; expected 2"),
        ({"mine": [[1.0, 2.0]] * 2}, {}, r"numbers of shape \[2\] for prompt 1; expected 2 prompts, \[4\] there"),
        ({"mine": [[1.0, 2.0, 3.0, float("nan")]] * 2}, {}, "some numbers are not finite"),
        ({"mine": ROWS}, {"measures": ["max-sensitivity"]}, "runs the method again, and 'mine' are numbers alone"),
        ("shapley", {"measures": ["deletoin"]}, "unknown measure 'deletoin'. Did you mean deletion"),
        ("shapley", {"measures": ["AUROC"]}, "measure 'AUROC' needs truth="),
        ("shapley", {"truth": "subject"}, "truth 'subject': pair 1 has no such span"),
        ("shapley", {"truth": [7]}, "truth of pair 1: position 7; expected some of 0 to 3"),
        ("shapley", {"truth": [[1]]}, "positions for 1 prompts given; expected 2"),
        ("shapley", {"truth": [[], [1]]}, "truth of pair 1: no position"),
        ("shapley", {"orders": 0}, "orders=0"),
        ("shapley", {"draws": 0}, "draws=0"),
        ("shapley", {"radius": -1.0}, "radius=-1.0: expected a positive number"),
        ("shapley", {"features": {"a": [0, 1], "b": [1, 2, 3]}}, "overlap at position 1"),
        ("shapley", {"features": {"a": [0, 1]}}, "leave out position 2"),
        ("shapley", {"baseline": torch.zeros(5, 3)}, r"baseline of shape \[5, 3\]"),
        ("shapley", {"baseline": "mean"}, "baseline 'mean' with feature-ablation: expected 'corrupt' or 'zero'"),
        (replace(OWN, metric="log_prob"), {"metric": "logit_diff"}, "is of metric 'log_prob', and metric 'logit_diff' is judged"),
        (OWN, {"limit": 1}, r"is of other prompts or groups \(2 prompts"),
        (OWN, {"features": [0, 0, 1, 1]}, "is of other prompts or groups"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged(attributions: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises((MethodError, MetricError), match=said):
        interp.evaluate_tokens(MODEL, TASK, attributions, batch_size=4, **options)


def test_metrics_that_are_of_no_prompt_alone() -> None:
    for metric, said in (("kl_source", "distance to another run"), ("normalized_logit_diff", "all pairs together")):
        with pytest.raises(MetricError, match=said):
            interp.evaluate_tokens(hooked("gpt2"), toy_task(2), "relp", metric=metric)


def test_prompts_that_equal_their_baselines_have_nothing_to_replace() -> None:
    same = task_of(((2, 3, 4), (2, 3, 4)))
    with pytest.raises(MethodError, match="no token of any prompt differs from its baseline"):
        interp.evaluate_tokens(MODEL, same, "shapley", batch_size=4)
    some = task_of(((2, 3, 4, 5), (2, 3, 4, 5)), ((3, 4, 5, 2), (9, 10, 11, 6)))
    found = interp.evaluate_tokens(MODEL, some, "shapley", batch_size=4)
    row = found["shapley", "deletion"]
    assert row.per_pair[0] is None and row.per_pair[1] is not None and row.n == 1


def test_all_leaves_out_what_numbers_alone_do_not_have() -> None:
    found = interp.evaluate_tokens(MODEL, TASK, {"mine": ROWS}, measures=["deletion"], batch_size=4)
    with pytest.raises(MethodError, match=r"no \('mine', 'AUROC'\); there are methods mine and measures deletion"):
        found["mine", "AUROC"]


def test_values_that_are_no_numbers_are_an_error() -> None:
    model = ByHand(lambda x: x[:, 0, 0] * torch.where(x[:, 0, 0] == 0, torch.nan, 1.0), table())
    with pytest.raises(Exception, match="not finite"):
        interp.attribute_tokens(model, TASK, method="feature-ablation", baseline="zero", batch_size=4)
