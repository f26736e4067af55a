"""The same driver on pictures, sound and texts: ends of the curves are the plain model's, and targets of several tokens are held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from tests.interp.attribution.images.test_digits import Digits, digits, task
from tests.interp.attribution.images.test_image_tasks import _images, _logit_diff, _task
from tests.interp.attribution.images.test_image_tasks import hooked as made

__all__ = ["digits", "task"]


def test_curves_of_the_digits_end_where_the_other_program_found_both_images(digits: Digits, task: Any) -> None:
    found = interp.evaluate_tokens(digits.model, task, "gradient-x-input", measures=["deletion", "insertion"], orders=1)
    base, source = digits.found["metric_base_source"]
    for curve in found.curves:
        ends = (base, source) if curve.kind == "deletion" else (source, base)
        assert (curve.mean[0], curve.mean[-1]) == pytest.approx(ends, abs=1e-5)


@pytest.mark.parametrize("name", ("ViTForImageClassification", "ASTForAudioClassification"))
def test_curves_of_pictures_and_sound_end_at_the_plain_models_outputs(name: str) -> None:
    model, n = made(name), 2
    x = _images(model, 2 * n)
    found = interp.evaluate_tokens(model, _task(model, n), ["integrated-gradients", "relp"], draws=2, orders=2)
    clean, corrupt = (float(_logit_diff(model, part).mean()) for part in (x[:n], x[n:]))
    for curve in found.curves:
        ends = (clean, corrupt) if curve.kind == "deletion" else (corrupt, clean)
        assert (curve.mean[0], curve.mean[-1]) == pytest.approx(ends, abs=1e-4)
    assert found["integrated-gradients", "completeness gap"].estimate.value < 1e-2
    assert found.groups > 4


def test_superpixels_are_replaced_whole() -> None:
    model = made("ViTForImageClassification")
    quarters = np.kron(np.arange(4).reshape(2, 2), np.ones((8, 8), int))
    found = interp.evaluate_tokens(model, _task(model, 1), "shapley", features=quarters, draws=2, orders=2)
    assert found.groups == 4 and found["shapley", "completeness gap"].estimate.value < 1e-4


def test_a_target_of_several_tokens_is_judged_with_its_tokens_as_they_are(assets: Path) -> None:
    model = interp.load(assets / "models" / "stories260K")
    task = interp.Task("own", (interp.Pair("There was a little girl named", "There was a little boy named", ("x",)),))
    found = interp.evaluate_tokens(model, task, "shapley", target=" Lily. She", baseline="zero", draws=2, orders=2)
    assert found.metric == "log_prob" and found["shapley", "completeness gap"].estimate.value < 1e-3
    assert found.groups == len(model.tokenize(task.pairs[0].clean).ids[0])


@pytest.mark.real
def test_two_sentences_of_minilm(real_model: object) -> None:
    model = interp.load(real_model("minilm"), output=interp.similarity("A man is playing a guitar."))  # type: ignore[operator]
    pair = interp.Pair("Someone plays the guitar.", "Someone sells the guitar.", ("A man is playing a guitar.",))
    task = interp.Task("guitar", (pair,))
    words = interp.attribute_tokens(model, task, method="shapley", metric="logit", features="words", baseline="zero")
    assert [w.strip() for w in words.tokens[0]] == ["[CLS]", "someone", "plays", "the", "guitar", ".", "[SEP]"]
    found = interp.evaluate_tokens(model, task, words, baseline="zero", draws=2, orders=1)
    assert found.features == "words" and found["shapley", "completeness gap"].estimate.value < 1e-4
    assert torch.isfinite(torch.tensor([row.estimate.value for row in found.rows])).all()
