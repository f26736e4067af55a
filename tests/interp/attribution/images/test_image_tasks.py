"""Scores of parts on pairs of images and sounds, against patching by plain hooks and gradients."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import MethodError, TaskError
from interp.model.model import HookedModel
from tests.interp.model.tiny import hooked as text_model
from tests.interp.model.vision.made import made
from tests.interp.model.vision.test_images_of_tomorrow import pictures

IMAGES = "ViTForImageClassification"
#: Of each class: the blocks, and the projection behind attention, by the Hugging Face sources.
PROJECTIONS = {
    IMAGES: "vit.layers.{}.attention.o_proj",
    "DINOv2-swiglu": "dinov2.encoder.layer.{}.attention.o_proj",
    "ASTForAudioClassification": "audio_spectrogram_transformer.layers.{}.attention.o_proj",
}


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(made(name), name=name)


def _images(model: HookedModel, n: int) -> Tensor:
    config = model.hf.config
    shape = (
        (config.max_length, config.num_mel_bins)
        if config.model_type.startswith("audio")
        else (config.num_channels, 16, 16)
    )
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(5))


def _task(model: HookedModel, n: int = 3) -> Any:
    x = _images(model, 2 * n)
    return interp.Task("pairs", tuple(interp.InputPair(x[i : i + 1], x[n + i], 0, 1) for i in range(n)))


def _logit_diff(model: HookedModel, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model.hf(x).logits
    found: Tensor = logits[:, 0] - logits[:, 1]
    return found


@pytest.mark.parametrize("name", PROJECTIONS)
def test_exact_scores_are_those_of_plain_hooks(name: str) -> None:
    model, n = hooked(name), 3
    x = _images(model, 2 * n)
    scores = interp.attribute(model, _task(model), method="exact", level="heads", direction="noise")
    base = _logit_diff(model, x[:n])
    for layer, head in ((0, 1), (1, 3)):
        o = model.hf.get_submodule(PROJECTIONS[name].format(layer))
        z: list[Tensor] = []
        handle = o.register_forward_pre_hook(lambda m, a, z=z: z.append(a[0].clone()))
        _logit_diff(model, x[n:])
        handle.remove()

        def patched(module: Any, args: Any, z: list[Tensor] = z, head: int = head) -> Any:
            new = args[0].clone()
            new[..., 8 * head : 8 * head + 8] = z[0][..., 8 * head : 8 * head + 8]
            return (new,)

        handle = o.register_forward_pre_hook(patched)
        expected = _logit_diff(model, x[:n]) - base
        handle.remove()
        part = scores.parts.index(interp.Node("head", layer, head))
        assert np.allclose(scores.per_example[:, part], expected.numpy(), atol=1e-5)


def test_both_runs_have_the_metric_of_the_model() -> None:
    model, n = hooked(IMAGES), 3
    x = _images(model, 2 * n)
    said = interp.attribute(model, _task(model), method="atp", level="heads", direction="noise").provenance
    assert said.base_metric == pytest.approx(float(_logit_diff(model, x[:n]).mean()), abs=1e-5)
    assert said.source_metric == pytest.approx(float(_logit_diff(model, x[n:]).mean()), abs=1e-5)


def test_gradients_times_changes_add_up_over_positions() -> None:
    model = hooked(IMAGES)
    task = _task(model)
    for level in ("heads", "blocks", "neurons"):
        whole = interp.attribute(model, task, method="atp", level=level, direction="noise", positions="all")
        each = interp.attribute(model, task, method="atp", level=level, direction="noise", positions="each")
        assert len(each.parts) == 17 * len(whole.parts)
        sums = dict.fromkeys(whole.parts, 0.0)
        for part, value in zip(each.parts, each.mean, strict=True):
            sums[interp.Node(part.kind, part.layer, part.unit)] += value
        assert np.allclose([sums[part] for part in whole.parts], whole.mean, atol=1e-6)


def test_the_stream_at_each_patch_is_complete_under_averages_between_both_runs() -> None:
    model = hooked(IMAGES)
    scores = interp.attribute(model, _task(model), method="deeplift", level="resid", direction="noise", steps=16)
    said = scores.provenance
    gap = said.source_metric - said.base_metric
    cuts: dict[tuple[str, int | None], float] = {}
    for part, value in zip(scores.parts, scores.mean, strict=True):
        cuts[part.kind, part.layer] = cuts.get((part.kind, part.layer), 0.0) + value
    assert len(cuts) >= 4
    assert list(cuts.values()) == pytest.approx([gap] * len(cuts), abs=2e-3 * abs(gap))


@pytest.mark.parametrize("kind", ["mean", "zero", "resample"])
def test_other_ablations_take_images(kind: str) -> None:
    model, n = hooked(IMAGES), 3
    x = _images(model, 2 * n)
    scores = interp.attribute(model, _task(model), method="exact", level="blocks", ablation=kind)
    with torch.no_grad():
        added = model.run(x[:n], reads=["mlp_out"])["mlp_out.1"]
    new = {"mean": added.mean((0, 1), keepdim=True).expand_as(added), "zero": torch.zeros_like(added)}
    if kind not in new:
        assert np.isfinite(scores.mean).all()
        return
    edit = interp.patch("mlp_out.1", new[kind])
    with torch.no_grad():
        logits = model.run(x[:n], edits=[edit]).logits[:, 0]
    expected = logits[:, 0] - logits[:, 1] - _logit_diff(model, x[:n])
    part = scores.parts.index(interp.Node("mlp", 1))
    assert np.allclose(scores.per_example[:, part], expected.numpy(), atol=1e-5)


def test_patches_are_attributed_to_as_tokens_are() -> None:
    model = hooked(IMAGES)
    found = interp.attribute_tokens(model, _task(model), method="integrated-gradients", baseline="corrupt")
    assert found.tokens[0][:2] == ("CLS", "r0c0")
    assert np.abs(found.delta).max() <= 2e-3
    assert all(abs(row[0]) <= 1e-6 for row in found.values)  # CLS is the same in both


def test_classes_by_name_and_what_the_processor_returns() -> None:
    model = hooked(IMAGES)
    x = _images(model, 2)
    pair = interp.InputPair(
        {"pixel_values": x[:1]}, {"pixel_values": x[1:]}, "LABEL_1", ["LABEL_0"], names=("a.png", "b.png")
    )
    (found,) = interp.Task("one", (pair,)).tokenize(None, model.outputs)
    assert (found.answers, found.wrong, found.length) == ((1,), (0,), 17)
    assert "a.png" in repr(pair)
    same = interp.Task("two", (pair, interp.InputPair(x[0], x[1], 1, 0, names=("a.png", "b.png"))))
    assert len(set(same.tokenize(None, model.outputs))) == 1
    with pytest.raises(TaskError, match="two different ones"):
        same.split(tokens=same.tokenize(None, model.outputs))


def _refused(pair: Any, model: HookedModel) -> str:
    with pytest.raises(TaskError) as raised:
        interp.attribute(model, interp.Task("bad", (pair,)), method="atp", level="heads")
    return str(raised.value)


def test_pairs_that_no_model_takes_are_refused_with_a_sentence() -> None:
    model = hooked(IMAGES)
    a, b = _images(model, 2)
    pair = interp.InputPair
    assert "class 7; this model has classes 0 to 1" in _refused(pair(a, b, 7, 0), model)
    assert "unknown class 'LABEL_7'" in _refused(pair(a, b, "LABEL_7", "LABEL_0"), model)
    assert "both an answer and wrong" in _refused(pair(a, b, 1, 1), model)
    assert "bad pair 1 of 1: 'corrupt': pixel_values: given [1, 3, 8, 16]" in _refused(pair(a, b[:, :8], 1, 0), model)
    assert "'corrupt' 'b.png' are the same numbers" in _refused(pair(a, a, 1, 0, names=("a.png", "b.png")), model)
    assert "are the same; there is nothing to patch" in _refused(pair(a, a, 1, 0), model)
    assert "'clean' is text ('A') and no file beside the task" in _refused(
        interp.Pair("A", "B", ("LABEL_1",), ("LABEL_0",)), model
    )
    assert "its inputs are no text, which this model takes" in _refused(pair(a, b, 1, 0), text_model("gpt2"))
    assert "one for each position" in _refused(pair(a, b, 1, 0), hooked("Dinov2Model"))
    assert "outside the prompt of 17" in _refused(pair(a, b, 1, 0, spans={"x": (3, 18)}), model)
    for given, said in (
        ((a, b, [1, "x"]), "answers is"),
        ((a, {}, 1), "corrupt is empty"),
        ((a, "b.png", 1), "corrupt is str with str"),
        ((a, b, 1, 0), "names is"),
    ):
        with pytest.raises(TaskError, match=said):
            pair(*given, names=("a",) if said == "names is" else None)  # type: ignore[arg-type]


def test_what_needs_text_says_so() -> None:
    model = hooked(IMAGES)
    with pytest.raises(MethodError, match="optimal ablation is learned on single texts"):
        interp.attribute(model, _task(model), method="exact", level="heads", ablation="optimal")


@pytest.mark.parametrize("name", [IMAGES, "CLIPVisionModelWithProjection"])
@pytest.mark.parametrize("level", ["heads", "qkv", "resid"])
def test_replays_give_what_whole_forwards_give(name: str, level: str) -> None:
    model = hooked(name)
    asked = {"method": "exact", "level": level, "direction": "noise"}
    replayed = interp.attribute(model, _task(model), **asked)
    handle = model.hf.register_forward_hook(lambda *_: None)
    try:
        whole = interp.attribute(model, _task(model), **asked)
    finally:
        handle.remove()
    assert replayed.provenance.engine == "replay"
    assert whole.provenance.engine.startswith("whole forwards")
    assert np.allclose(replayed.per_example, whole.per_example, atol=1e-5)
    assert replayed.provenance.forwards < whole.provenance.forwards


def test_one_output_that_is_made_of_many_is_an_answer() -> None:
    own = interp.Output(
        "first position", lambda result, inputs: result.last_hidden_state[:, 0], ("a", "b", *map(str, range(30)))
    )
    model = HookedModel(made("Dinov2Model"), output=own)
    assert model.layout.readout == "first"
    x = _images(model, 2)
    task = interp.Task("own", (interp.InputPair(x[0], x[1], "a", "b"),))
    scores = interp.attribute(model, task, method="exact", level="blocks", direction="noise")
    with torch.no_grad():
        hidden = model.hf(x).last_hidden_state[:, 0]
    said = scores.provenance
    assert [said.base_metric, said.source_metric] == pytest.approx((hidden[:, 0] - hidden[:, 1]).tolist(), abs=1e-5)


def test_a_model_in_no_library_is_scored_on_an_example_of_its_inputs() -> None:
    hf, x = pictures(), torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(1))
    model = interp.load(hf, inputs=x)
    task = interp.Task("own", (interp.InputPair(x[:1], x[1:], 0, 1),))
    scores = interp.attribute(model, task, method="exact", level="blocks", direction="noise")
    assert scores.provenance.base_metric == pytest.approx(float(_logit_diff(model, x)[0]), abs=1e-5)


def test_copies_have_tasks_of_their_own() -> None:
    model = hooked(IMAGES)
    task = _task(model)
    expected = interp.attribute(model, task, method="atp", level="heads")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.hf.classifier.weight.zero_()
    assert not interp.attribute(other, task, method="atp", level="heads").mean.any()
    assert np.array_equal(interp.attribute(model, task, method="atp", level="heads").mean, expected.mean)


def test_cards_show_what_a_run_was_of() -> None:
    model = hooked(IMAGES)
    assert "2 inputs, pixel_values [3, 16, 16] each" in model.run(_images(model, 2))._repr_html_()
    assert "pixel_values [batch, channel 3, row 16, column 16]" in model._repr_html_()
    task = _task(model)
    assert task.pairs[0].clean.removeprefix("input ") in task._repr_html_()
    assert "-> (0,)" in repr(task)
