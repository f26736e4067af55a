"""Models on texts: what a prompt becomes, where its end is read, and how ids that no token has are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.errors import TaskError
from interp.model.model import HookedModel
from tests.interp.model.tiny import hooked
from tests.interp.parts.tokenisers import words


def model(**how: Any) -> HookedModel:
    return HookedModel(hooked("llama").hf, words(**how))


@pytest.mark.parametrize("text", ["Mary gave the book to", "<s> Mary gave the book to"])
def test_the_last_logits_of_a_text_are_those_behind_its_last_word(text: str) -> None:
    plain, ended = model(), model(behind="</s>")
    expected = plain.run(torch.tensor([[0, *words(bos=False).encode("Mary gave the book to")]])).logits
    assert torch.equal(ended.run(text).logits, expected)
    assert torch.equal(plain.run(text).logits, expected)
    with torch.no_grad():
        assert ended.generate(text, max_new_tokens=3) == plain.generate(text, max_new_tokens=3)


def test_ids_without_a_token_are_shown_by_their_number() -> None:
    shown = [model().text_of(i) for i in (10, 30, 45, np.int64(45))]
    assert shown == ["Mary", "<30>", "<45>", "<45>"]
    with pytest.raises(TaskError, match="token id True: expected a whole number"):
        model().text_of(True)


def test_a_seed_of_numpy_draws_the_same_text() -> None:
    drawn = [model().generate("Mary gave", do_sample=True, seed=seed, max_new_tokens=4) for seed in (3, np.int64(3))]  # type: ignore[arg-type]
    assert drawn[0] == drawn[1]
