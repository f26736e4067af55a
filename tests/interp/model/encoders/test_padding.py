"""Padding: what stands behind a text changes nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import TaskError
from interp.model.model import HookedModel, Run
from interp.parts.tokens import pad
from tests.interp.model.discovery.written import Config, Decoder, eager_attention_forward
from tests.interp.model.encoders.models import CAUSAL, NAMES, known, output
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids, randomise

__all__ = ["eager_attention_forward"]

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


class Unmasked(Decoder):
    """Takes a mask and does not use it."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, use_cache: bool = False) -> Any:
        return super().forward(input_ids, None, use_cache)


class Placed(Decoder):
    """Counts places from the first token that is none of the padding."""

    def forward(  # type: ignore[override]
        self, input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None, use_cache: bool = False
    ) -> Any:
        self.at = position_ids
        return super().forward(input_ids, attention_mask, use_cache)

    def embedded(self, ids: Any) -> Any:
        return self.words(ids) + self.places(torch.arange(ids.shape[1]) if self.at is None else self.at)


@pytest.mark.parametrize(("kind", "sides"), [(Unmasked, ["right"]), (Decoder, ["right"]), (Placed, ["left", "right"])])
@torch.no_grad()
def test_a_model_that_looks_at_padding_is_refused_on_that_side(kind: Any, sides: list[str]) -> None:
    """What is read behind a causal text is seen by nobody; before it there are places, which only `Placed` counts from the first token."""
    hf = kind(Config(attn_implementation="eager")).eval()
    randomise(hf)
    model, prompts = HookedModel(hf), rows()
    for side in ("left", "right"):
        if side not in sides:
            for _ in range(2):  # also where it was refused before
                with pytest.raises(
                    TaskError, match=f"padded on the {side}: {kind.__name__} gives other numbers beside padding"
                ):
                    model.run(pad(prompts, 0, side))  # type: ignore[arg-type]
            continue
        run = model.run(pad(prompts, 0, side))  # type: ignore[arg-type]
        for i, prompt in enumerate(prompts):
            close(own(run.logits, i, side), model.run([prompt]).logits[0])


def test_a_text_is_no_longer_than_the_table_of_places() -> None:
    """The configuration says nothing of it."""
    model = HookedModel(Decoder(Config()).eval())
    assert model.layout.pos_embed == "places" and model.run(ids(1, 64)).logits.shape[1] == 64
    with pytest.raises(TaskError, match="65 tokens; this model's context is 64"):
        model.run(ids(1, 65))
