"""Activations of encoders are those of whole texts, each as it is alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import interp
from tests.interp.model.encoders.models import hooked
from tests.interp.model.plain import close
from tests.interp.parts.masks import wordpiece

TEXTS = ["the cat sat on a mat .", "a dog ran", "the film was good ."]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("bert-mlm", TEXTS),
        ("bert-classes", TEXTS),
        ("bert-mlm", TEXTS[:1]),
        ("gpt2-classes", TEXTS),
    ],
)
def test_texts_are_collected_whole(name: str, texts: list[str], tmp_path: Path) -> None:
    model = hooked(name, wordpiece())
    found = interp.collect(model, texts, ["resid_post.1"], tmp_path / "out", show_progress=False)
    expected = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([model.tokenizer(text)["input_ids"]])
            expected.append(model.run(ids, reads=["resid_post.1"])["resid_post.1"][0])
    close(found.read("resid_post.1"), torch.cat(expected))


@pytest.mark.parametrize("name", ["bert-mlm", "by-hand-mean"])
def test_texts_of_one_length_given_as_ids(name: str, tmp_path: Path) -> None:
    model = hooked(name, wordpiece())
    ids = [model.tokenizer(text)["input_ids"] for text in ("the cat sat", "a dog ran")]
    found = interp.collect(model, ids, ["resid_post.1"], tmp_path / "out", show_progress=False)
    with torch.no_grad():
        expected = model.run(torch.tensor(ids), reads=["resid_post.1"])["resid_post.1"]
    close(found.read("resid_post.1"), expected.flatten(0, 1))
