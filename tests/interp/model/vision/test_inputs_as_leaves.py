"""Inputs that are numbers are leaves where they require gradients: the graph of a run reaches them, bit for bit that of the model alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import InterpError, TaskError
from interp.model.edits import add
from interp.parts.named_inputs import Inputs
from tests.interp.model.tiny import hooked as text_model
from tests.interp.model.vision.made import NAMES, seen
from tests.interp.model.vision.test_reads_of_images import hooked


def _leaf(name: str) -> tuple[Any, str, Tensor]:
    model = hooked(name)
    ((main, x),) = seen(model.hf).items()
    return model, main, x.requires_grad_()


def _slope(of: Tensor, at: Tensor) -> Tensor:
    """The gradient of a weighted sum, the weights of different sizes."""
    (found,) = torch.autograd.grad((of * torch.linspace(-1, 1, of.numel()).reshape(of.shape)).sum(), at)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_read_has_the_gradient_that_the_model_alone_has(name: str) -> None:
    model, main, x = _leaf(name)
    want = _slope(model.hf(**{main: x}, output_hidden_states=True).hidden_states[1], x)
    run = model.run({main: x}, reads=["resid_pre.1", "embed"])
    assert torch.equal(_slope(run["resid_pre.1"], x), want) and bool(want.any())
    assert not run["embed"].is_leaf
    assert all(parameter.grad is None for parameter in model.hf.parameters())


def test_whichever_way_they_are_given_and_in_whichever_precision() -> None:
    model, main, x = _leaf("ViTForImageClassification")
    wide = x.detach().double().requires_grad_()
    want = _slope(model.hf(x).logits[:, None], x)
    for given in (x, {main: x}, Inputs({main: x}, main)):
        assert torch.equal(_slope(model.run(given).logits, x), want)
    found = _slope(model.run(wide).logits, wide)
    assert found.dtype == torch.float64 and torch.equal(found, want.double())


def test_behind_an_edit_the_gradient_is_that_of_the_edited_run() -> None:
    model, _, x = _leaf("ViTForImageClassification")
    edits = [add("resid_pre.1", 3.0)]
    found = _slope(model.run(x, edits=edits).logits, x)
    assert not torch.equal(found, _slope(model.run(x).logits, x))
    held = [add("resid_pre.1", 3.0), add("embed", 0.0)]
    torch.testing.assert_close(found, _slope(model.run(x, edits=held).logits, x))


def test_without_gradients_there_is_no_graph() -> None:
    model, _, x = _leaf("ViTForImageClassification")
    with torch.no_grad():
        assert not model.run(x).logits.requires_grad
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(model.run(x.detach()).logits.sum(), x)


def test_whole_numbers_and_embeddings_of_text_are_refused() -> None:
    model, _, x = _leaf("ViTForImageClassification")
    with pytest.raises(TaskError, match="whole numbers"):
        model.run((255 * x.detach()).long())
    decoder = text_model("gpt2")
    with pytest.raises(InterpError):
        decoder.run(torch.rand(1, 5).requires_grad_())  # ids in the disguise of numbers
    with pytest.raises(TaskError, match="inputs_embeds"):
        decoder.run({"inputs_embeds": torch.rand(1, 5, decoder.layout.d_model).requires_grad_()})
    assert decoder.run([3, 4], reads=["embed"])["embed"].is_leaf  # the leaf of a model of text
