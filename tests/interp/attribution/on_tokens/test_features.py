"""Groups of positions: read from texts and pictures, given by a user, and refused where they overlap or leave one out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.attribution.token_methods import METHODS
from interp.attribution.tokens.patch_masks import patch_groups
from interp.errors import MethodError
from interp.parts.named_inputs import Example
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.attribution.on_tokens.functions import ByHand, linear, table, task_of
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

TASK = task_of(((2, 3, 4, 5), (6, 9, 7, 8)))
MODEL = ByHand(lambda x: x[:, 0, 0] * x[:, 1, 0] + x[:, 2, 0] * x[:, 3, 0], table())


def groups(features: Any, task: Any = TASK, **options: Any) -> Any:
    return interp.attribute_tokens(MODEL, task, method="feature-ablation", features=features, batch_size=4, **options)


def test_a_group_is_replaced_whole() -> None:
    """f = x0 x1 + x2 x3: replacing the first two together changes their product, whatever each does alone."""
    x, b = table()[[2, 3, 4, 5], 0], table()[[6, 9, 7, 8], 0]
    expected = (float(x[0] * x[1] - b[0] * b[1]), float(x[2] * x[3] - b[2] * b[3]))
    for given in ([7, 7, 1, 1], np.array([0, 0, 5, 5]), {"a": [0, 1], "b": (2, 3)}, [{"a": [1, 0], "b": [3, 2]}]):
        found = groups(given)
        assert found.values[0] == pytest.approx(expected, abs=1e-6)
        assert found.places == ((0, 0, 1, 1),) and found.features == "own"
    assert groups({"b": (2, 3), "a": [0, 1]}).tokens == (("a", "b"),)
    shapley = interp.attribute_tokens(MODEL, TASK, method="shapley", features=[0, 0, 1, 1], batch_size=4)
    assert shapley.values[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", ("integrated-gradients", "relp", "saliency"))
def test_of_gradients_a_group_is_the_sum_of_its_positions(method: str) -> None:
    model, task = hooked("llama"), toy_task(2, lengths=(6, 8), changed=3)
    own = [[0, 0, 1, 1, 1, 2], [3, 0, 0, 1, 1, 1, 2, 2]]
    whole, alone = (interp.attribute_tokens(model, task, method=method, features=f) for f in (own, "tokens"))
    for row, values, places in zip(whole.values, alone.values, whole.places, strict=True):
        sums = [sum(v for v, p in zip(values, places, strict=True) if p == k) for k in range(len(row))]
        assert np.allclose(row, sums, atol=1e-5)


def test_spans_of_the_task_and_the_stretches_between_them() -> None:
    found = interp.attribute_tokens(hooked("gpt2"), toy_task(1, lengths=(6,)), features="spans")
    assert found.places == ((0, 0, 1, 1, 1, 2),) and found.tokens[0][::2] == ("head", "tail")


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"a": [0, 1], "b": [1, 2, 3]}, "features 'a' and 'b' overlap at position 1"),
        ({"a": [0, 1], "b": [3]}, "features leave out position 2 .*every position of 0 to 3"),
        ({"a": [0, 1, 2, 3, 4]}, "feature 'a' has position 4; expected 0 to 3"),
        ({"a": ["x"]}, "feature 'a' has position 'x'"),
        ([0, 0, 1], r"features of shape \[3\].*each of its 4 positions"),
        ([0.0, 0.5, 1.0, 1.0], "groups for 4 prompts given; expected 1"),
        (np.zeros(4), "type float64.*whole number"),
        (np.zeros((2, 2), int), r"features of shape \[2, 2\]"),
        ("wrods", "unknown features 'wrods'. Did you mean words"),
        ("words", "features='words' is of text with its tokeniser"),
        ("sentences", "features='sentences' is of text"),
        ("spans", "features='spans', and the pair names none"),
        ("patches", "its positions are no patches of a picture"),
        ("frames", "its positions are no frames of sound"),
    ],
)
def test_groups_that_are_none_are_refused(features: Any, said: str) -> None:
    with pytest.raises(MethodError, match=said):
        groups(features)


# ---------------------------------------------------------------- texts


@pytest.fixture(scope="module")
def stories(assets: Path) -> Any:
    return interp.load(assets / "models" / "stories260K")


def test_words_are_the_text_between_spaces_where_a_tokeniser_cuts_none(stories: Any) -> None:
    ids = stories.tokenize("Lily saw a frog. Then the").ids[0].tolist()
    task = interp.Task("own", (interp.Pair("", "", (), (), ids=TokenPair(tuple(ids), tuple(ids), (5,))),))
    found = interp.attribute_tokens(stories, task, method="gradient-x-input", features="words", metric="log_prob")
    said = [word.replace("\u2581", " ").strip() for word in found.tokens[0]]
    assert [word for word in said if word not in ("<s>", "")] == ["Lily", "saw", "a", "frog.", "Then", "the"]
    by_sentence = interp.attribute_tokens(
        stories, task, method="gradient-x-input", features="sentences", metric="log_prob"
    )
    assert len(by_sentence.values[0]) == 3  # the special token, and two sentences
    assert sum(by_sentence.values[0]) == pytest.approx(sum(found.values[0]), abs=1e-4)


@pytest.mark.real
def test_words_of_a_byte_level_tokeniser(real_model: Any) -> None:
    model = interp.load(real_model("smollm2"))
    pair = interp.Pair("Unbelievably, Marguerite went home. Did", "Unbelievably, Marguerite went back. Did", (" she",))
    words = interp.attribute_tokens(
        model, interp.Task("own", (pair,)), method="gradient-x-input", features="words", metric="log_prob"
    )
    assert [word.strip() for word in words.tokens[0]] == ["Unbelievably", ",", "Marguerite", "went", "home", ".", "Did"]
    assert max(words.places[0]) + 1 < len(words.places[0])


def test_tokens_that_are_called_like_patches_are_no_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.attribution.tokens.token_features.token_text", lambda tokenizer, i: f"r{i}c{i}")
    found = interp.attribute_tokens(MODEL, TASK, method="occlusion", window=1, batch_size=4)
    alone = interp.attribute_tokens(MODEL, TASK, method="feature-ablation", batch_size=4)
    assert found.tokens[0][0] == "r2c2" and found.values[0] == pytest.approx(alone.values[0], abs=1e-6)
    with pytest.raises(MethodError, match="no patches of a picture"):
        groups("patches")


# ---------------------------------------------------------------- pictures

NAMES = ("CLS", *(f"r{i}c{j}" for i in range(2) for j in range(2)))
PICTURE = Example({"pixel_values": torch.zeros(3, 4, 4)}, "pixel_values", 5)


def test_superpixels_of_patches_and_of_pixels() -> None:
    names, places = patch_groups(np.array([[1, 1], [0, 1]]), NAMES, PICTURE, "row")
    assert names == ("CLS", "s1", "s0") and places == (0, 1, 1, 2, 1)
    pixels = np.array([[4, 4, 4, 9], [4, 4, 9, 9], [4, 9, 9, 9], [9, 9, 9, 9]])
    assert patch_groups(pixels, NAMES, PICTURE, "row") == (("CLS", "s4", "s9"), (0, 1, 2, 2, 2))
    with pytest.raises(
        MethodError,
        match=r"shape \[3, 2\]; expected \[row, column\] of its patches, \[2, 2\], or of its pixels, \[4, 4\]",
    ):
        patch_groups(np.zeros((3, 2), int), NAMES, PICTURE, "row")
    pixels[0, 0] = 2
    with pytest.raises(MethodError, match="superpixel 2 has no patch of its own"):
        patch_groups(pixels, NAMES, PICTURE, "row")


def test_every_method_of_a_picture_scores_its_patches() -> None:
    from tests.interp.attribution.images.test_image_tasks import IMAGES, _task
    from tests.interp.attribution.images.test_image_tasks import hooked as picture_model

    model = picture_model(IMAGES)
    task = _task(model, 1)
    for method in ("saliency", "occlusion", "shapley", "gradient-shap", "smooth-grad"):
        options = {"samples": 2} if METHODS[method].samples else {}
        found = interp.attribute_tokens(model, task, method=method, features="patches", **options)
        assert found.tokens[0] == model.positions() and np.any(found.values[0])
    window = interp.attribute_tokens(model, task, method="occlusion", window=4)
    everything = interp.attribute_tokens(
        model, task, method="feature-ablation", features={"CLS": [0], "rest": range(1, 17)}
    )
    assert window.values[0][0] == 0 and np.allclose(window.values[0][1:], everything.values[0][1], atol=1e-5)
    quarters = np.kron(np.arange(4).reshape(2, 2), np.ones((8, 8), int))
    assert len(interp.attribute_tokens(model, task, features=quarters).values[0]) == 5


def test_a_linear_model_is_the_same_whatever_the_groups() -> None:
    w = table(4, seed=1)
    model = ByHand(linear(w), table())
    alone = interp.attribute_tokens(model, TASK, method="shapley", batch_size=4).values[0]
    both = interp.attribute_tokens(model, TASK, method="shapley", features=[0, 1, 1, 0], batch_size=4).values[0]
    assert both == pytest.approx((alone[0] + alone[3], alone[1] + alone[2]), abs=1e-6)
