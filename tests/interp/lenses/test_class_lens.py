"""The lens of classifiers: at the last layer the model's own answer, before it the head by hand; ranks and pictures of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import InterpError, LayoutError, SiteError, TaskError
from interp.model.model import HookedModel
from tests.interp.model.encoders.models import hooked as encoder
from tests.interp.model.plain import close
from tests.interp.model.tiny import hooked as decoder
from tests.interp.model.vision.made import made
from tests.interp.parts.masks import wordpiece

TEXTS = ["the cat sat on a mat", "a dog ran"]


def _images() -> tuple[HookedModel, Tensor]:
    model = HookedModel(made("ViTForImageClassification"))
    return model, torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_on_images_it_is_norm_and_classifier_at_each_position() -> None:
    model, x = _images()
    lens = interp.logit_lens(model, x, sites=["resid_pre.0", "resid_post"])
    run = model.run(x, reads=["resid_pre.0", "resid_post"])
    for site, logits in zip(lens.sites, lens.logits, strict=True):
        close(logits, model.hf.classifier(model.hf.vit.layernorm(run[site])))
    assert lens.read == 0 and torch.equal(lens.output, model.hf(x).logits)
    close(lens.logits[-1][:, 0], lens.output)
    assert lens.positions[0][:2] == ("CLS", "r0c0") and str(lens.sites[0]) == "resid_pre.0"


@torch.no_grad()
def test_on_texts_it_is_the_whole_head_and_padding_is_no_number() -> None:
    """BERT's head is a pooler with tanh, and a classifier."""
    model = encoder("bert-classes", wordpiece())
    lens, hf = interp.logit_lens(model, TEXTS), model.hf
    run = model.run(TEXTS, reads=["resid_post"])
    by_hand = hf.classifier(torch.tanh(hf.bert.pooler.dense(run["resid_post.0"])))
    real = run.tokens.mask
    close(lens.logits[0][real], by_hand[real])
    assert bool(lens.logits[0][~real].isnan().all()) and len(lens.positions[1]) == int(real[1].sum())
    close(lens.logits[-1][:, 0], run.logits[:, 0])
    assert np.isnan(lens.rank(0)[:, 1, -1]).all() and not np.isnan(lens.rank(0)[:, 0]).any()


@torch.no_grad()
def test_where_all_positions_are_averaged_their_mean_is_the_answer() -> None:
    model = encoder("by-hand-mean", wordpiece())
    lens = interp.logit_lens(model, TEXTS[0])
    close(lens.logits[-1].mean(1), lens.output)
    assert lens.read is None


def test_ranks_are_counted_and_identifiability_is_their_share() -> None:
    model, x = _images()
    lens = interp.logit_lens(model, x)
    n = lens.logits.shape[-1]
    order = lens.logits.argsort(-1, descending=True)
    for label in range(n):
        wanted = 1 + (order == label).int().argmax(-1).double().numpy()
        assert np.array_equal(lens.rank(label), wanted) and np.array_equal(lens.rank(lens.names[label]), wanted)
        assert lens.identifiability(label) == pytest.approx(1 - (wanted - 1) / n)
    each = lens.rank([0, 1, 0])
    assert np.array_equal(each[:, 1], lens.rank(1)[:, 1]) and np.array_equal(each[:, 2], lens.rank(0)[:, 2])


def test_some_positions_are_those_of_all() -> None:
    model, x = _images()
    whole, some = interp.logit_lens(model, x), interp.logit_lens(model, x, positions=["r1c2", "CLS"])
    places = [whole.positions[0].index("r1c2"), 0]
    close(some.logits, whole.logits[:, :, places])
    assert some.read == 1 and some.positions[0] == ("r1c2", "CLS")
    assert interp.logit_lens(model, x, positions=3).read is None


def test_an_image_has_the_logit_of_the_answer_at_each_position() -> None:
    model, x = _images()
    lens = interp.logit_lens(model, x)
    drawn = lens.image(1, example=2)
    own = lens.logits[1, 2]
    answer = int(lens.output[2].argmax())
    assert drawn.values == pytest.approx((own[:, answer] - own.mean(-1)).tolist())
    assert drawn.positions == lens.positions[2] and lens.image("resid_post.1", lens.names[0]).what.startswith(
        lens.names[0]
    )
    frame = lens.to_pandas(k=2)
    assert len(frame) == lens.logits[..., 0].numel() * 2 and set(frame["class"]) <= set(lens.names)


def test_a_picture_is_of_one_input_with_a_number_for_each_position() -> None:
    model, x = _images()
    values = [0.5] * len(model.positions())
    found = interp.picture(model, x[:1], values, unit="logits", what="scores")
    assert found.values == tuple(values) and found.picture.placed and "data:image/png" in found._repr_html_()
    assert "data:image/png" in interp.logit_lens(model, x)._repr_html_()
    for given, wrong, said in (
        (x, values, "3 examples"),
        (x[:1], values[1:], "values for"),
        (x[:1], [float("nan")] * len(values), "finite"),
    ):
        with pytest.raises(InterpError, match=said):
            interp.picture(model, given, wrong)


# ---------------------------------------------------------------- what components write


def _image_task(model: HookedModel, x: Tensor) -> interp.Task:
    pairs = [interp.InputPair(x[i : i + 1], x[2], 0, 1, names=(f"a{i}", "b")) for i in range(2)]
    return interp.Task("images", tuple(pairs))


def test_what_components_write_at_the_position_read_is_the_answer() -> None:
    """All together the model's own logit difference, and each by the formula of the frozen norm."""
    model, x = _images()
    found = interp.direct_logit_attribution(model, _image_task(model, x))
    logits = model.hf(x[:2]).logits.detach()
    assert found.total == pytest.approx((logits[:, 0] - logits[:, 1]).tolist(), abs=1e-5) and found.largest_gap < 1e-5
    run, norm = model.run(x[:2], reads=["mlp_out.0", "resid_final"]), model.hf.vit.layernorm
    final, own = (run[site][:, 0].detach().double() for site in ("resid_final", "mlp_out.0"))
    scale = (final.var(-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    direction = (model.hf.classifier.weight[0] - model.hf.classifier.weight[1]).detach().double()
    wanted = ((own - own.mean(-1, keepdim=True)) * scale * norm.weight.detach() * direction).sum(-1)
    assert found.per_example[:, found.nodes.index("m0")] == pytest.approx(wanted.numpy(), abs=1e-6)
    effects = interp.direct_effects(model, _image_task(model, x), [interp.Node("mlp", 0), interp.Node("head", 1, 2)])
    assert effects.per_example[:, 0] == pytest.approx(wanted.numpy(), abs=1e-6)
    assert effects.per_example[:, 1] == pytest.approx(found.per_example[:, found.nodes.index("a1.h2")], abs=1e-6)
    assert {*effects.raised(0), *effects.lowered(0)} <= set(model.outputs.names)  # type: ignore[union-attr]


def test_what_is_not_there_is_refused() -> None:
    model, x = _images()
    lens = interp.logit_lens(model, x)
    refused: list[tuple[type[Exception], str, Any]] = [
        (InterpError, "unknown class", lambda: lens.rank("no such class")),
        (InterpError, "from 0 to", lambda: lens.rank(99)),
        (InterpError, "2 labels for 3 examples", lambda: lens.rank([0, 1])),
        (InterpError, "unknown site", lambda: lens.image(7)),
        (InterpError, "example 3", lambda: lens.image(0, example=3)),
        (InterpError, "read at all positions", lambda: interp.logit_lens(model, x, positions="CLS").image(0)),
        (TaskError, "'r9c9' stands 0 times", lambda: interp.logit_lens(model, x, positions="r9c9")),
        (TaskError, "numbers from 0 to", lambda: interp.logit_lens(model, x, positions=[99])),
        (TaskError, "give a Task", lambda: interp.direct_logit_attribution(model, x, answers=0)),
        (SiteError, "places of the residual stream", lambda: interp.logit_lens(model, x, sites="z")),
        (SiteError, "positions belong to", lambda: interp.logit_lens(decoder("gpt2"), [[1, 2]], positions=0)),
        (LayoutError, "not known as modules", lambda: interp.logit_lens(HookedModel(made("ASTForAudioClassification")), torch.randn(1, 16, 16))),
    ]  # fmt: skip
    for error, said, call in refused:
        with pytest.raises(error, match=said):
            call()


def test_identifiability_on_digits_is_that_of_another_program(assets: Path) -> None:
    folder = assets / "ref" / "beyond-decoders"
    if not (folder / "digits_vit.json").is_file() or not (folder / "digits_vit").is_dir():
        pytest.skip(f"there is no digits_vit in {folder}")
    data = pytest.importorskip("sklearn.datasets", reason="scikit-learn has the digits").load_digits()
    held_out = torch.randperm(1797, generator=torch.Generator().manual_seed(0))[1437:]
    x, y = torch.tensor(data.images / 16, dtype=torch.float32)[:, None][held_out], data.target[held_out.numpy()]
    lens = interp.logit_lens(interp.load(folder / "digits_vit"), x, sites=["resid_pre.0", "resid_post"])
    share = lens.identifiability(y.tolist())
    found = json.loads((folder / "digits_vit.json").read_text(encoding="utf-8"))
    for (site, own, others), known, said in zip(
        found["identifiability_site_cls_image"], share, lens.sites, strict=True
    ):
        assert str(said) == site
        assert [known[:, 0].mean(), known[:, 1:].mean()] == pytest.approx([own, others], abs=6e-5)
    right = float((lens.rank(y.tolist())[-1, :, 0] == 1).mean())
    assert right == pytest.approx(found["last_layer_cls_equals_accuracy"])
