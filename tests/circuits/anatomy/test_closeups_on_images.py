"""A close look at a circuit of a vision transformer: pictures, where heads look from CLS, what parts write, and the lens, as the model has them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import interp
from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.closeups import look_closely
from circuits.anatomy.overview import show_prompts
from circuits.circuit.selection import discover
from circuits.settings.prepared import Prepared, Settings, prepare_run
from interp.model.model import HookedModel
from tests.interp.model.vision.made import made


@cache
def _looked() -> tuple[HookedModel, Prepared, Anatomy]:
    model = HookedModel(made("ViTForImageClassification"), name="vit")
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    pairs = [interp.InputPair(x[i : i + 1], x[7 - i], 0, 1, names=(f"{i}.png", f"{7 - i}.png")) for i in range(8)]
    job = prepare_run(
        model, interp.Task("images", tuple(pairs)), Settings(methods=("atp",), level="heads", n=4, n_random=1)
    )
    scores = job.request.score()["atp"]
    found, _ = look_closely(job, scores, discover(scores, n=6), lambda message: None)
    return model, job, found


def test_pairs_are_shown_with_both_pictures_and_a_number_for_each_position() -> None:
    model, job, _ = _looked()
    for prompt, pair in zip(show_prompts(job, lambda message: None), job.task.pairs, strict=False):
        assert prompt.clean_picture is not None and prompt.corrupt_picture is not None
        assert (prompt.clean_picture.name, prompt.corrupt_picture.name) == (pair.clean, pair.corrupt)
        assert prompt.clean_tokens == model.positions() and len(prompt.clean_picture.places) == len(prompt.clean_tokens)
        gradients = prompt.attributions["integrated-gradients"]
        assert sum(gradients) == pytest.approx(prompt.clean_metric - prompt.corrupt_metric, abs=0.02)


def test_examples_have_their_picture_and_are_read_at_cls() -> None:
    model, job, found = _looked()
    x = [pair.inputs[0] for pair in job.evaluation.pairs if pair.inputs is not None]
    for example, given in zip(found.examples, x, strict=False):
        assert example.picture is not None and example.picture.placed
        assert (example.reads, example.reader, example.next_token) == ("one", "CLS", False)
        with torch.no_grad():
            out = model.hf(given.tensors[""].reshape(1, 3, 16, 16), output_attentions=True)  # type: ignore[union-attr]
        for pattern in example.patterns:
            own = out.attentions[int(pattern.head[1])][0, int(pattern.head[4]), 0]
            assert np.abs(np.array(pattern.looks) - own.double().numpy()).max() < 1e-5
        difference = float(out.logits[0, 0] - out.logits[0, 1])
        assert example.lens[-1].metric == pytest.approx(difference, abs=1e-4) and example.writes
        assert {*example.lens[0].tokens} <= set(model.hf.config.id2label.values())


def test_what_the_parts_write_is_of_the_whole_answer() -> None:
    _, _, found = _looked()
    assert (
        found.writes
        and found.total is not None
        and not [m for m in found.missing if m.view in ("writes", "lens", "patterns")]
    )
