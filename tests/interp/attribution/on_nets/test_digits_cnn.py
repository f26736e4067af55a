"""A trained net of convolutions on scikit-learn's digits, against the numbers that another program found on it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import interp
from interp.rules.lrp import OF_NETS
from interp.rules.rules import Preset


def digits_net(path: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    net.load_state_dict(load_file(path) | {"1.num_batches_tracked": torch.tensor(0)})
    return net.eval().to(dtype)


@dataclass(frozen=True, eq=False)
class Digits:
    """The net, the held-out images with their digits as a task toward an empty image, and what the other program found."""

    net: nn.Module
    x: Tensor
    y: Tensor
    found: dict[str, Any]

    @property
    def task(self) -> interp.Task:
        empty = torch.zeros_like(self.x[0])
        pairs = [
            interp.InputPair(x, empty, int(y), names=("image", "empty")) for x, y in zip(self.x, self.y, strict=True)
        ]
        return interp.Task("digits", tuple(pairs))

    def deleted(self, values: np.ndarray) -> list[float]:
        """Accuracy with the 0, 2, ... 20 pixels of the largest values [image pixel] set to 0."""
        order, accuracies = np.argsort(-values, axis=1, kind="stable"), []
        for n in range(0, 21, 2):
            x = self.x.clone().flatten(1)
            x.scatter_(1, torch.tensor(order[:, :n].copy()), 0.0)
            with torch.no_grad():
                accuracies.append(float((self.net(x.view_as(self.x)).argmax(-1) == self.y).float().mean()))
        return accuracies


@pytest.fixture(scope="module")
def digits(assets: Path) -> Digits:
    folder = assets / "ref" / "beyond-decoders"
    if not (folder / "digits_cnn.safetensors").is_file():
        pytest.skip(f"there is no digits_cnn in {folder}")
    data = pytest.importorskip("sklearn.datasets", reason="scikit-learn has the digits").load_digits()
    held_out = torch.randperm(1797, generator=torch.Generator().manual_seed(0))[1437:]
    x = torch.tensor(data.images / 16, dtype=torch.float32)[:, None][held_out]
    found = json.loads((folder / "digits_cnn.json").read_text(encoding="utf-8"))
    return Digits(digits_net(folder / "digits_cnn.safetensors"), x, torch.tensor(data.target)[held_out], found)


@cache
def values_of(digits: Digits, method: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """[image pixel] of all held-out images, the logit of each image's digit, and what a complete method misses."""
    options = {"baseline": "zero"} if method in ("deeplift", "integrated-gradients") else {}
    found = interp.attribute_tokens(interp.load(digits.net), digits.task, method=method, metric="logit", **options)  # type: ignore[arg-type]
    return np.array(found.values), np.array(found.clean_metric), found.delta


LRP = ("epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-gamma-box", "epsilon-alpha2-beta1")


def test_the_net_reads_as_many_digits_right(digits: Digits) -> None:
    with torch.no_grad():
        right = digits.net(digits.x).argmax(-1) == digits.y
    assert float(right.double().mean()) == pytest.approx(digits.found["cnn_test_accuracy"], abs=1e-6)
    assert int(digits.y[0]) == digits.found["first_label"]


@pytest.mark.parametrize("preset", OF_NETS, ids=lambda preset: preset.name)
def test_relevance_is_that_of_the_other_program(digits: Digits, preset: Preset) -> None:
    """To 1e-6, in float64; it printed six decimals, from float32. Its `epsilon` was smaller than 1e-6: of one pixel that is 1.2e-5."""
    rules, name = preset.rules, preset.name
    if name == "epsilon":
        small = interp.LayerRule("epsilon", epsilon=1e-9)
        rules = replace(rules, linear=interp.LinearRule(small, small))
    net = copy.deepcopy(digits.net).double()
    run = interp.load(net).run(digits.x.double(), reads=["embed"], rules=rules)
    logits = run.logits[:, 0].gather(1, digits.y[:, None])[:, 0]
    (arrived,) = torch.autograd.grad(logits.sum(), run["embed"])
    values = rules.linear.relevance(run["embed"], arrived).detach()[..., 0]
    median = float((values.sum(1) / logits.detach()).median())
    assert median == pytest.approx(digits.found["lrp_relevance_over_logit_median"][name], abs=1e-6)
    assert values[0].view(8, 8)[4].tolist() == pytest.approx(digits.found["lrp_first_image_row4"][name], abs=1e-6)
    tokens, own_logits, _ = values_of(digits, name)
    assert np.median(np.abs(tokens - values.numpy())) < 1e-6
    assert np.allclose(own_logits, logits.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("method", (*LRP, "deeplift", "gradient-x-input", "integrated-gradients"))
def test_deleting_the_pixels_of_most_relevance(digits: Digits, method: str) -> None:
    """Accuracies have three decimals there: none of 360 images may be another."""
    values, _, _ = values_of(digits, method)
    name = f"lrp-{method}" if method in LRP else method
    assert digits.deleted(values) == pytest.approx(digits.found["deletion_accuracy_0_2_..20_pixels"][name], abs=5.1e-4)


def test_deeplift_is_complete_through_both_poolings(digits: Digits) -> None:
    """In float64, as the other program; captum's misses 3.1 there."""
    double = Digits(copy.deepcopy(digits.net).double(), digits.x.double(), digits.y, digits.found)
    found = interp.attribute_tokens(
        interp.load(double.net), double.task, method="deeplift", metric="logit", baseline="zero", limit=64
    )
    assert max(map(abs, found.delta or (1.0,))) < 1e-12
    gaps = digits.found["deeplift_completeness_gap"]
    assert gaps[0] < 1e-14 < 3 < gaps[1]
