"""A model that is loaded or scored under somebody's mode of torch is recognised and scored as without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

import interp
from tests.interp.model.tiny import ids, tiny


@contextmanager
def by_default(dtype: torch.dtype) -> Iterator[None]:
    old = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(old)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "bfloat16": lambda: by_default(torch.bfloat16),
    "float64": lambda: by_default(torch.float64),
    "meta": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_modules_compute_is_recognised_in_every_mode(name: str, mode: str) -> None:
    hf = tiny(name)
    plain = interp.load(hf)
    with MODES[mode]():
        model = interp.load(hf)
    assert plain.operations.norms and plain.operations.activations
    assert (model.layout, model.operations) == (plain.layout, plain.operations)
    again = interp.load(hf)
    assert again.operations == plain.operations  # nothing of the mode is left


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_gives_the_same_model_in_every_mode(mode: str) -> None:
    plain, tokens = interp.load("demo"), ids()
    with MODES[mode]():
        model = interp.load("demo")
    assert model.operations == plain.operations and model.dtype == plain.dtype
    assert not any(p.is_inference() for p in model.hf.parameters())
    assert torch.equal(model.run(tokens).logits, plain.run(tokens).logits)
    model.run(tokens, rules=interp.RELP).logits.sum().backward()  # gradients can go through what was loaded there
