"""Padding: what stands behind a text changes nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import TaskError
from interp.model.model import Run
from interp.parts.tokens import pad
from tests.interp.model.encoders.models import CAUSAL, NAMES, known, output
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids

LENGTHS = (9, 5, 7)


def rows() -> list[list[int]]:
    return [row[:n] for row, n in zip(ids(3, 9).tolist(), LENGTHS, strict=True)]


def own(x: torch.Tensor, i: int, side: str) -> torch.Tensor:
    """What a padded run has of prompt `i` alone: [pos d], or its one output."""
    n = LENGTHS[i]
    return x[i] if x.shape[1] == 1 else x[i, :n] if side == "right" else x[i, -n:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_padded_texts_are_read_as_they_are_alone(name: str, side: Any) -> None:
    model, prompts = known(name), rows()
    if side == "left" and name not in CAUSAL:
        with pytest.raises(TaskError, match="padded on the left: this model looks at whole texts"):
            model.run(pad(prompts, 0, side))
        return
    run = model.run(pad(prompts, 0, side), reads=["z", "resid_post"])
    for i, prompt in enumerate(prompts):
        alone = model.run([prompt], reads=["z", "resid_post"])
        close(alone.logits[0], output(model.hf, torch.tensor([prompt]))[0], 0)
        close(own(run.logits, i, side), alone.logits[0])
        for site, value in alone.items():
            close(own(run[site], i, side), value[0])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_lists_of_several_lengths_are_padded_on_the_side_that_the_model_takes(name: str) -> None:
    model, prompts = known(name), rows()
    side = "left" if name in CAUSAL else "right"
    run: Run = model.run(prompts)
    for i, prompt in enumerate(prompts):
        close(own(run.logits, i, side), output(model.hf, torch.tensor([prompt]))[0])
