"""Dictionaries of encoders: trained on what the model has for each text alone; what has no meaning for them is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import interp
from interp.dictionaries.training.data.chunks import Activations
from interp.dictionaries.training.data.rows import Cutter
from interp.parts.sites import Site
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.encoders.models import hooked
from tests.interp.model.plain import close
from tests.interp.parts.masks import wordpiece

TEXTS = ["the cat sat on a mat", "a dog ran", "the film was good", "a play was bad ."]


@pytest.mark.parametrize(
    "name",
    [
        "bert-mlm",
        "gpt2-classes",
    ],
)
def test_rows_of_several_lengths_do_not_see_what_fills_them(name: str) -> None:
    model, site = hooked(name, wordpiece()), Site("resid_post", 1)
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    activations = Activations(model, SimpleNamespace(cutter=Cutter.of(model, 16, True)), [site], torch.float32, 256)  # type: ignore[arg-type]
    found = activations.of(rows)[site]
    with torch.no_grad():
        alone = [model.run(torch.tensor([row]), reads=[site])[site][0] for row in sorted(rows, key=len, reverse=True)]
    ours, theirs = (torch.sort(x.norm(dim=-1)).values for x in (found, torch.cat(alone)))
    close(ours, theirs)


@pytest.mark.parametrize(
    "name",
    [
        "bert-mlm",
        "bert-classes",
        "gpt2-classes",
    ],
)
def test_damage_to_the_next_token_is_no_measure_of_an_encoder(name: str) -> None:
    with pytest.raises(interp.InterpError):
        interp.evaluate_dictionary(hooked(name, wordpiece()), made("resid_post.0", 32), TEXTS)
