"""`interp.masked`: a metric that torch differentiates by the shares of parts."""

from __future__ import annotations

import re

import pytest
import torch

import interp
from interp.errors import InterpError, MethodError
from tests.interp.attribution.features.given_dictionaries import given, stub
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task


@pytest.mark.parametrize("level", ["edges", "heads", "blocks", "neurons", "qkv"])
def test_its_gradient_is_that_of_its_values(level: str) -> None:
    """By torch's own check of a few shares, on prompts of two lengths that are no batch in the order of the task."""
    with true_float64():
        model = hooked("llama", dtype=torch.float64)
        found = interp.masked(model, toy_task(4, (6, 7)), level=level, batch_size=3)
        start = 0.3 + 0.4 * torch.rand(
            len(found.parts), generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )

        def some(few: torch.Tensor) -> torch.Tensor:
            return found(torch.cat([few, start[3:]]))

        assert torch.autograd.gradcheck(some, (start[:3].clone().requires_grad_(),), eps=1e-5, atol=1e-6, rtol=1e-4)


def test_it_is_differentiated_at_features_too() -> None:
    with true_float64():
        model, _ = stub()
        found = interp.masked(model, toy_task(3), level="features", dictionaries=given(model))
        mask = torch.full((len(found.parts),), 0.6, dtype=torch.float64)
        few = [i for i, part in enumerate(found.parts) if i % 7 == 0]
        moved = mask.clone().requires_grad_()
        found(moved).sum().backward()
        assert moved.grad is not None and moved.grad.abs().max() > 1e-6
        for i in few:
            up, down = mask.clone(), mask.clone()
            up[i], down[i] = 0.6 + 1e-5, 0.6 - 1e-5
            slope = float((found(up) - found(down)).sum()) / 2e-5
            assert slope == pytest.approx(float(moved.grad[i]), abs=1e-5 * float(moved.grad.abs().max()) + 1e-9)


@pytest.mark.parametrize("level", ["edges", "heads"])
def test_all_shares_are_the_plain_run_and_none_the_one_with_all_replaced(level: str) -> None:
    model, task = hooked("gpt2"), toy_task(4, (6, 7))
    found = interp.masked(model, task, level=level)
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    for share, side in ((1.0, "clean"), (0.0, "corrupt")):
        metric = found(torch.full((len(found.parts),), share))
        for i, pair in enumerate(pairs):
            logits = model.run(torch.tensor([getattr(pair, side)])).logits[0, -1]
            expected = float(logits[pair.answers[0]] - logits[pair.wrong[0]])
            assert float(metric[i]) == pytest.approx(expected, abs=1e-4)


def test_rules_stand_for_the_gradient() -> None:
    model, task = hooked("llama"), toy_task(2)
    found = {}
    for rules in (interp.RELP, "relp", interp.GRADIENT):
        run = interp.masked(model, task, level="edges", rules=rules)
        mask = torch.full((len(run.parts),), 0.5, requires_grad=True)
        run(mask).sum().backward()
        found[str(rules)] = mask.grad
    relp, named, gradient = found.values()
    assert torch.equal(relp, named) and not torch.allclose(relp, gradient, rtol=0.1)


def test_a_second_derivative_is_refused() -> None:
    """Slopes are no functions of the mask for torch: what it made of them would lack most of the curvature."""
    found = interp.masked(hooked("llama"), toy_task(2), level="heads")
    mask = torch.full((len(found.parts),), 0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(found(mask).pow(2).sum(), mask, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_masks_by_name_and_what_is_refused() -> None:
    model, task = hooked("llama"), toy_task(2)
    found = interp.masked(model, task, level="heads")
    mask = found.mask(["a0.h1", found.parts[-1]], inside=0.5, outside=0.25)
    assert sorted(set(mask.tolist())) == [0.25, 0.5] and int((mask == 0.5).sum()) == 2
    for wrong, said in (
        (torch.ones(3), "expected a tensor of"),
        (torch.ones(len(found.parts), dtype=torch.int64), "expected a tensor of"),
        (1.5 * torch.ones(len(found.parts)), "shares from 0 to 1"),
        (torch.full((len(found.parts),), torch.nan), "shares from 0 to 1"),
    ):
        with pytest.raises(MethodError, match=re.escape(said)):
            found(wrong)
    with pytest.raises(MethodError, match=re.escape("a0.h1")):
        found.mask(["a0.h11"])
    for options, said in (
        ({"parts": ["a0.h1"]}, "parts"),
        ({"steps": 3}, "steps"),
        ({"metric": "normalized_logit_diff"}, "normal"),
    ):
        with pytest.raises(InterpError, match=said):
            interp.masked(model, task, level="heads", **options)
    with pytest.raises(MethodError, match="resid"):
        interp.masked(model, task, level="resid")


@pytest.mark.parametrize(
    "options",
    [
        {"level": "resid"},
        {"positions": "each"},
        {"tau": 0.1},
        {"rounds": 3},
        {"budget": "5F"},
        {"ablation": "mean", "metric": "kl_source"},
        {"max_memory": "1KiB"},
        {"nothing": 1},
    ],
    ids=lambda options: " ".join(options),
)
def test_errors_name_what_was_called(options: dict[str, object]) -> None:
    """A masked run is planned as a request of a method that its user never named."""
    with pytest.raises((InterpError, TypeError)) as raised:
        interp.masked(hooked("llama"), toy_task(2), **{"level": "heads", **options})  # type: ignore[arg-type]
    said = str(raised.value)
    assert "mask-ig" not in said and "prepare" not in said
    assert any(str(word) in said for word in (*options, *options.values()))
