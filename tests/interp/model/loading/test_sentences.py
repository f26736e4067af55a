"""A real sentence encoder, loaded with what it is measured by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import interp


@pytest.mark.real
def test_sentences_of_one_meaning_are_near(real_model: Callable[[str], Path]) -> None:
    model = interp.load(str(real_model("minilm")), output=interp.similarity("A man is playing a guitar."))
    near, far = (float(model.run(text).logits) for text in ("Someone plays an instrument.", "Shares lost value."))
    assert near > 0.5 > 0.1 > far
    again = interp.load(model, output=interp.similarity("Shares lost value."))
    assert again.hf is model.hf and float(again.run("Shares lost value.").logits) == pytest.approx(1, abs=1e-5)
