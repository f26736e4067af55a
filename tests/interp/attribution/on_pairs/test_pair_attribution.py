"""Pairs of tokens that make two texts similar: the paper's form written out, sums, a closed form, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.attribution.embedding_paths import Embedder
from interp.attribution.pair_attribution import PairAttribution
from interp.errors import InterpError, LayoutError, SiteError, TaskError
from interp.model.model import HookedModel
from tests.interp.model.encoders.models import hooked
from tests.interp.model.tiny import hooked as decoder
from tests.interp.model.vision.made import made, seen
from tests.interp.parts.masks import wordpiece

A, B = "the cat sat on the mat", "a good dog ran ."


@pytest.fixture(scope="module")
def model() -> HookedModel:
    """A tiny BERT in float64."""
    hf = copy.deepcopy(hooked("bert", wordpiece()).hf).double()
    return HookedModel(hf, wordpiece())


def stream(hf: Any, ids: list[int]) -> Tensor:
    """What enters the first block [pos d_model], as transformers makes it."""
    return hf.embeddings(torch.tensor([ids]))[0].detach()


def pooled(hf: Any, x: Tensor) -> Tensor:
    """Mean of the last hidden states of a stream [pos d_model], by the blocks themselves."""
    y = x[None]
    for block in hf.encoder.layer:
        y = block(y)
        y = y[0] if isinstance(y, tuple) else y
    return y[0].mean(0)


def by_the_paper(hf: Any, a: list[int], b: list[int], refs: tuple[list[int], list[int]], steps: int) -> np.ndarray:
    """(x_a - r_a)_i^T J_a^T J_b (x_b - r_b)_j with whole Jacobians, averaged over the points one by one."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    sides = []
    for ids, ref in zip((a, b), refs, strict=True):
        x, r = stream(hf, ids), stream(hf, ref)
        J = torch.zeros(())
        for t, w in zip((points + 1) / 2, weights / 2, strict=True):
            J = J + w * torch.autograd.functional.jacobian(lambda y: pooled(hf, y), r + t * (x - r))
        sides.append((J, x - r))
    (J_a, d_a), (J_b, d_b) = sides
    return torch.einsum("eid,id,efg,fg->if", J_a, d_a, J_b, d_b).numpy()


def references(tokenizer: Any, *texts: str) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids, and the same with padding for all but the first and the last."""
    ids = [tokenizer.encode(text) for text in texts]
    return ids, [[one[0], *[tokenizer.pad_token_id] * (len(one) - 2), one[-1]] for one in ids]


def test_it_is_the_form_of_the_paper(model: HookedModel) -> None:
    (a, b), refs = references(model.tokenizer, A, B)
    found = interp.attribute_pairs(model, A, B, similarity="dot", steps=3)
    np.testing.assert_allclose(found.matrix(), by_the_paper(model.hf, a, b, tuple(refs), 3), atol=1e-12)  # type: ignore[arg-type]
    assert found.tokens_a[0][:3] == ("[CLS]", "the", "cat")


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("reference", ["pad", "mask"])
def test_the_sum_is_what_the_four_similarities_say(model: HookedModel, similarity: Any, reference: Any) -> None:
    found = interp.attribute_pairs(model, A, B, similarity=similarity, reference=reference, steps=24)
    ids = [model.tokenizer.encode(text) for text in (A, B)]
    filling = model.tokenizer.convert_tokens_to_ids(f"[{reference.upper()}]")
    refs = [[one[0], *[filling] * (len(one) - 2), one[-1]] for one in ids]
    with torch.no_grad():
        e_a, e_b, r_a, r_b = (pooled(model.hf, stream(model.hf, one)) for one in (*ids, *refs))
    by = float(e_a.norm() * e_b.norm()) if similarity == "cosine" else 1.0
    four = [float(x @ y) / by for x, y in ((e_a, e_b), (r_a, e_b), (e_a, r_b), (r_a, r_b))]
    np.testing.assert_allclose(found.similarities[0], four, atol=1e-12)
    wanted = four[0] - four[1] - four[2] + four[3]
    np.testing.assert_allclose(found.matrix().sum(), wanted, rtol=1e-5)
    assert found.delta[0] == pytest.approx(wanted - found.matrix().sum(), abs=1e-12)


def test_more_points_come_nearer(model: HookedModel) -> None:
    gaps = [abs(interp.attribute_pairs(model, A, B, steps=n).delta[0]) for n in (1, 4, 16)]
    assert gaps[0] > 10 * gaps[1] > 100 * gaps[2]


@pytest.mark.parametrize("layer", [0, 1])
def test_swapped_texts_give_the_transpose(model: HookedModel, layer: int) -> None:
    found, swapped = (interp.attribute_pairs(model, *texts, layer=layer, steps=2) for texts in ((A, B), (B, A)))
    np.testing.assert_allclose(found.matrix(), swapped.matrix().T, atol=1e-14)
    assert found.similarities[0][1] == pytest.approx(swapped.similarities[0][2])


def test_both_directions_of_the_derivative_agree(model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = interp.attribute_pairs(model, A, B, reference="zero", layer=1, steps=2)

    def none(*given: Any) -> Tensor:
        raise NotImplementedError

    monkeypatch.setattr(Embedder, "_forward", none)
    again = interp.attribute_pairs(model, A, B, reference="zero", layer=1, steps=2)
    np.testing.assert_allclose(found.matrix(), again.matrix(), atol=1e-12)


def test_a_linear_encoder_has_a_closed_form(model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """e(x) = mean(x) W: A_ij = (x_i - r_i) W . (y_j - r_j) W / (n m), from one point."""
    W = torch.randn(32, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 10
    monkeypatch.setattr(Embedder, "embedded", lambda self, prompt, x: x.mean(1) @ W)
    (a, b), refs = references(model.tokenizer, A, B)
    u, v = ((stream(model.hf, x) - stream(model.hf, r)) @ W / len(x) for x, r in zip((a, b), refs, strict=True))
    found = interp.attribute_pairs(model, A, B, similarity="dot", steps=1)
    np.testing.assert_allclose(found.matrix(), (u @ v.T).numpy(), atol=2e-15)
    assert abs(found.delta[0]) < 2e-15


def test_several_pairs_and_a_file(model: HookedModel, tmp_path: Path) -> None:
    both = interp.attribute_pairs(model, [A, B], [B, B], steps=1)
    assert len(both) == 2 and both.matrix(1).shape == (7, 7)
    np.testing.assert_allclose(both.matrix(1), interp.attribute_pairs(model, B, B, steps=1).matrix())
    np.testing.assert_allclose(both.matrix(1), both.matrix(1).T, atol=1e-14)
    one, other, value = both.largest(1, 1)[0]
    assert abs(value) == np.abs(both.matrix(1)).max() and one in both.tokens_a[1] and other in both.tokens_b[1]
    both.save(tmp_path / "pairs.parquet")
    assert PairAttribution.load(tmp_path / "pairs.parquet") == both
    assert len(both.to_pandas()) == 8 * 7 + 7 * 7


def test_patches_of_an_image() -> None:
    """A tower of images with itself: names of patches, and the zero vector as the reference, behind the first block."""
    model = HookedModel(made("CLIPVisionModelWithProjection"))
    x = {name: one[:1] for name, one in seen(model.hf).items()}
    found = interp.attribute_pairs(model, x, x, reference="zero", layer=1, steps=1)
    assert found.tokens_a[0][1] == "r0c0"
    assert found.similarities[0][0] == pytest.approx(1, abs=1e-5)
    with pytest.raises(TaskError, match="reference='zero'"):
        interp.attribute_pairs(model, x, x)


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"similarity": "l2"}, TaskError, "unknown similarity"),
        ({"pooling": "max"}, TaskError, "unknown pooling"),
        ({"reference": "noise"}, TaskError, "unknown reference"),
        ({"layer": 9}, SiteError, "layer 9"),
        ({"steps": 0}, InterpError, "steps=0"),
        ({"texts_b": [A, B]}, TaskError, "1 and 2 texts"),
    ],
)
def test_what_cannot_be_asked(model: HookedModel, options: dict[str, Any], error: Any, why: str) -> None:
    given = {"texts_a": A, "texts_b": B, **options}
    with pytest.raises(error, match=why):
        interp.attribute_pairs(model, **given)


def test_models_that_embed_nothing(model: HookedModel) -> None:
    with pytest.raises(LayoutError, match="gives logits"):
        interp.attribute_pairs(decoder("gpt2"), [3, 4], [4, 5])
    tower = HookedModel(made("CLIPVisionModelWithProjection"))
    x = {name: one[:1] for name, one in seen(tower.hf).items()}
    with pytest.raises(LayoutError, match="as many of both"):
        interp.attribute_pairs(model, A, x, model_b=tower, reference="zero", layer=1, steps=1)


def test_an_embedding_without_a_direction(model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedder, "embedded", lambda self, prompt, x: x.mean(1) * 0)
    with pytest.raises(TaskError, match="no direction"):
        interp.attribute_pairs(model, A, B, steps=1)


@pytest.mark.real
def test_words_of_a_real_sentence_encoder(real_model: Callable[[str], Path]) -> None:
    """The same word and two forms of one are most of what makes sentences similar; the similarity is that of transformers alone."""
    model = interp.load(real_model("minilm"))
    a, b = "A man is eating food.", "The man eats bread."
    found = interp.attribute_pairs(model, a, b, layer=4, steps=6)
    with torch.no_grad():
        e, f = (model.hf(**model.tokenizer(t, return_tensors="pt")).last_hidden_state.mean(1)[0] for t in (a, b))
    assert found.similarities[0][0] == pytest.approx(float(torch.cosine_similarity(e, f, 0)), abs=1e-5)
    assert abs(found.delta[0]) < 0.03 * found.matrix().sum()
    assert {("man", "man"), ("eating", "eats")} <= {pair[:2] for pair in found.largest(0, 3)}
