"""Logits of a few tokens only: against the logits of all tokens, on every architecture, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.utils import output_capturing

from interp.errors import InterpError
from interp.model.edits import Edit, add
from interp.model.model import HookedModel
from interp.rules.rules import RELP
from tests.interp.model.plain import ALL, close, padded, state, unpadded
from tests.interp.model.tiny import hooked, ids, tiny
from tests.interp.rules.float64 import true_float64

SOME = torch.tensor([3, 17, 40, 63])


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return hooked("llama")


# ---------------------------------------------------------------- values and gradients


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_they_are_columns_of_all_logits_with_their_gradients(name: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        for rules in () if model.coverage(RELP).unsupported else (RELP,):
            _same(model, rules=rules)
        _same(model)
        _same(model, logits_to_keep=2)


def _same(model: HookedModel, **options: Any) -> None:
    weights = torch.randn(2, 2, len(SOME), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for vocabulary in (None, SOME):
        run = model.run(unpadded(), reads=["embed", "z"], vocabulary=vocabulary, **options)
        logits = run.logits if vocabulary is not None else run.logits[..., SOME]
        assert logits.shape == (2, options.get("logits_to_keep", 7), len(SOME)) and logits.dtype == torch.float64
        grads = torch.autograd.grad((logits[:, -2:] ** 2 * weights).sum(), list(run.reads.values()))
        found.append([logits.detach(), *grads])
    for all_, some in zip(*found, strict=True):
        close(some, all_, 1e-12)


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_their_dtype_is_the_models_own(name: str, dtype: torch.dtype) -> None:
    model = hooked(name, dtype=dtype)
    with torch.no_grad():
        expected, found = (model.run(padded(), vocabulary=only).logits for only in (None, SOME))
    assert found.dtype == expected.dtype
    close(found, expected[..., SOME], 2e-2 if dtype is torch.bfloat16 else 1e-5)


def test_parameters_get_no_gradient(model: HookedModel) -> None:
    run = model.run(unpadded(), reads=["embed"], vocabulary=SOME)
    run.logits.sum().backward()
    assert all(p.grad is None and p.requires_grad for p in model.hf.parameters())


# ---------------------------------------------------------------- what ends early leaves nothing behind


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_a_run_that_ends_early_leaves_nothing_behind(name: str) -> None:
    hf = tiny(name)
    hf.requires_grad_(True)
    model = HookedModel(hf)
    before, config = state(hf), hf.config.to_dict()
    expected = model.run(unpadded()).logits
    for rules in () if model.coverage(RELP).unsupported else (RELP,):
        model.run(unpadded(), reads=["z"], rules=rules, vocabulary=SOME)
    with torch.no_grad():
        assert not model.run(unpadded(), vocabulary=SOME).logits.requires_grad and not torch.is_grad_enabled()
    assert torch.is_grad_enabled() and state(hf) == before and hf.config.to_dict() == config
    assert output_capturing._active_collector.get() is None
    assert torch.equal(model.run(unpadded()).logits, expected)


# ---------------------------------------------------------------- where all logits must be computed


def _twice(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 2


def _on_unembedding(model: HookedModel) -> Callable[[], None]:
    return model.hf.lm_head.register_forward_hook(_twice).remove  # type: ignore[no-any-return]


def _before_unembedding(model: HookedModel) -> Callable[[], None]:
    return model.hf.lm_head.register_forward_pre_hook(lambda m, args: (args[0] * 2,)).remove  # type: ignore[no-any-return]


def _on_model(model: HookedModel) -> Callable[[], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        output.logits = output.logits * 2
        return output

    return model.hf.register_forward_hook(hook).remove  # type: ignore[no-any-return]


def _everywhere(model: HookedModel) -> Callable[[], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return output * 2 if module is model.hf.lm_head else output

    return nn.modules.module.register_module_forward_hook(hook).remove


def _patched_forward(model: HookedModel) -> Callable[[], None]:
    own = model.hf.lm_head.forward
    model.hf.lm_head.forward = lambda x: own(x) * 2
    return lambda: delattr(model.hf.lm_head, "forward")


def _own_class(model: HookedModel) -> Callable[[], None]:
    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    model.hf.lm_head.__class__ = Twice
    return lambda: setattr(model.hf.lm_head, "__class__", nn.Linear)


def _wrapped(model: HookedModel) -> Callable[[], None]:
    own = model.hf.lm_head

    class Wrapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return own(x) * 2  # type: ignore[no-any-return]

    model.hf.lm_head = Wrapped()
    return lambda: setattr(model.hf, "lm_head", own)


CHANGES = (_on_unembedding, _before_unembedding, _on_model, _everywhere, _patched_forward, _own_class, _wrapped)


@pytest.mark.parametrize("change", CHANGES)
def test_what_others_do_behind_the_unembeddings_input_is_kept(model: HookedModel, change: Any) -> None:
    plain = model.run(ids(), vocabulary=SOME).logits
    undo = change(model)
    try:
        expected, found = model.run(ids()).logits[..., SOME], model.run(ids(), vocabulary=SOME).logits
    finally:
        undo()
    close(expected, 2 * plain)
    assert torch.equal(found, expected)
    assert torch.equal(model.run(ids(), vocabulary=SOME).logits, plain)


def test_the_site_logits_is_all_of_them(model: HookedModel) -> None:
    whole = model.run(ids()).logits
    run = model.run(ids(), reads=["logits"], vocabulary=SOME)
    assert torch.equal(run["logits"], whole) and torch.equal(run.logits, whole[..., SOME])
    edited = model.run(ids(), edits=[Edit("logits", lambda x: x * 3)], vocabulary=SOME)
    assert torch.equal(edited.logits, 3 * whole[..., SOME])


def test_edits_before_it_act(model: HookedModel) -> None:
    edits = [add("resid_final", torch.linspace(-1, 1, 32))]
    expected, found = (model.run(ids(), edits=edits, vocabulary=only).logits for only in (None, SOME))
    close(found, expected[..., SOME])
    assert float((found - model.run(ids(), vocabulary=SOME).logits).abs().max()) > 0.1


@pytest.mark.parametrize("odd", [torch.tensor([64]), torch.tensor([-1, 3])])
def test_ids_that_the_model_does_not_have_are_refused(model: HookedModel, odd: Tensor) -> None:
    with pytest.raises(InterpError, match=r"this model has logits 0 to 63"):
        model.run(ids(), vocabulary=odd)


@pytest.mark.parametrize("odd", [torch.tensor([]), torch.tensor([[1]]), torch.tensor([1.0]), [1, 2]])
def test_what_is_no_list_of_ids_is_refused(model: HookedModel, odd: Any) -> None:
    with pytest.raises(InterpError, match="expected a tensor of token ids"):
        model.run(ids(), vocabulary=odd)
