"""A trained vision transformer on scikit-learn's digits, against the numbers that another program found on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp


@dataclass(frozen=True)
class Digits:
    """The model, the held-out images with their digits, and what the other program found."""

    model: Any
    x: Tensor
    y: Tensor
    found: dict[str, Any]


@pytest.fixture(scope="module")
def digits(assets: Path) -> Digits:
    folder = assets / "ref" / "beyond-decoders"
    if not (folder / "digits_vit.json").is_file() or not (folder / "digits_vit").is_dir():
        pytest.skip(f"there is no digits_vit in {folder}")
    data = pytest.importorskip("sklearn.datasets", reason="scikit-learn has the digits").load_digits()
    held_out = torch.randperm(1797, generator=torch.Generator().manual_seed(0))[1437:]
    x = torch.tensor(data.images / 16, dtype=torch.float32)[:, None][held_out]
    found = json.loads((folder / "digits_vit.json").read_text(encoding="utf-8"))
    return Digits(interp.load(folder / "digits_vit"), x, torch.tensor(data.target)[held_out], found)


@pytest.fixture(scope="module")
def task(digits: Digits) -> Any:
    """Each image that is read right, with the first such of another digit: 48 pairs."""
    with torch.no_grad():
        right = (digits.model.run(digits.x).logits[:, 0].argmax(-1) == digits.y).nonzero().flatten().tolist()
    pairs = [(i, next(j for j in right if digits.y[j] != digits.y[i])) for i in right[:48]]
    x, y = digits.x, digits.y.tolist()
    return interp.Task("digits", tuple(interp.InputPair(x[i], x[j], y[i], y[j]) for i, j in pairs))


def test_the_model_reads_as_many_digits_right(digits: Digits) -> None:
    with torch.no_grad():
        right = digits.model.run(digits.x).logits[:, 0].argmax(-1) == digits.y
    assert float(right.double().mean()) == pytest.approx(digits.found["vit_test_accuracy"], abs=1e-6)


def test_scores_of_heads_and_mlps_are_those_of_the_other_program(digits: Digits, task: Any) -> None:
    """Its values have four decimals."""
    methods = {"exact": "exact_noise", "atp": "atp", "relp": "relp", "relp-ah": "relp-ah"}
    scores = interp.attribute_all(digits.model, task, methods=list(methods), level="heads", direction="noise")
    for method, name in methods.items():
        said = digits.found[name]
        own = dict(zip(map(str, scores[method].parts), scores[method].mean, strict=True))
        for part, value in said.get("values", said).items():
            assert own[part] == pytest.approx(value, abs=6e-5)
    said = scores["exact"].provenance
    assert [said.base_metric, said.source_metric] == pytest.approx(digits.found["metric_base_source"], abs=1e-5)


def test_agreement_with_exact_patching_is_that_of_the_other_program(digits: Digits, task: Any) -> None:
    methods = ["exact", "atp", "relp", "relp-ah", "deeplift"]
    scores = interp.attribute_all(digits.model, task, methods=methods, level="heads", direction="noise")
    parts = [str(part) != "embed" for part in scores["exact"].parts]
    exact = scores["exact"].mean[parts]
    for method in methods[1:4]:
        own = scores[method].mean[parts]
        assert np.corrcoef(own, exact)[0, 1] == pytest.approx(digits.found[method]["pearson"], abs=1e-3)
        error = np.abs(own - exact).mean() / np.abs(exact).mean()
        assert error == pytest.approx(digits.found[method]["mae_rel"], abs=1e-3)
