"""A model can be sent to a worker: pickled and copied, and what comes back computes the same."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from interp.model.model import HookedModel
from interp.rules.activations import ACTIVATIONS
from interp.rules.rules import RELP
from tests.interp.model.tiny import ARCHITECTURES, hooked, ids


def pickled(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))  # noqa: S301


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": pickled,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def relevance(model: HookedModel) -> torch.Tensor:
    run = model.run(ids(), reads=["embed"], rules=RELP, allow_unsupported=True)
    (found,) = torch.autograd.grad(run.logits[:, -1, 5].sum(), [run["embed"]])
    return found


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_copy_computes_the_same(name: str, way: str) -> None:
    model = hooked(name)
    expected = relevance(model)
    again = COPIES[way](model)
    assert torch.equal(relevance(again), expected)
    assert again.operations == model.operations and again.layout == model.layout
    if way != "copy":
        with torch.no_grad():
            for p in again.hf.parameters():
                p.zero_()
    assert torch.equal(relevance(model), expected)  # the copy is its own


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_activations_are_found_by_name(activation: Any) -> None:
    x = torch.linspace(-3, 3, 7)
    again = pickled(activation)
    assert again == activation and torch.equal(again(x), activation(x))
