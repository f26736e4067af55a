"""Where the heads of a decoder look in its encoder's stream."""

from __future__ import annotations

import numpy as np
import pytest

import interp
from interp.errors import SiteError, TaskError
from interp.parts.named_inputs import Inputs
from tests.interp.model.several.made import given, known

NAMES = ("T5ForConditionalGeneration", "WhisperForConditionalGeneration")


@pytest.mark.parametrize("name", NAMES)
def test_patterns_are_those_of_the_run(name: str) -> None:
    model = known(name)
    x = Inputs(given(name, batch=1), model.hf.main_input_name)
    found = interp.attention_patterns(model, x, cross=True)
    source = model.positions(x, "encoder")
    assert found.looked_at == source and found.tokens == model.positions(x)
    assert found.heads[1] == "x0.h1" and found.weights.shape[2:] == (len(found.tokens), len(source))
    run = model.run(x, reads=["cross_pattern.1"])
    last = found.layers[-1]
    assert last == model.layout.n_layers - 1
    assert np.array_equal(found["x1.h0"], run["cross_pattern.1"][0, 0].detach().numpy())
    assert np.array_equal(found.looks("x1.h0"), found["x1.h0"][-1])
    assert "x0.h0" in found._repr_html_() and '"letter":"x"' in found.render().replace(" ", "")
    figure = found.plot("x1.h0")
    assert np.allclose(figure.data[0].z, found["x1.h0"], atol=1e-5) and len(figure.data[0].x) == len(source)


def test_a_stream_that_attends_to_itself_alone_has_none() -> None:
    model = known("T5ForConditionalGeneration")
    x = Inputs(given(NAMES[0], batch=1), model.hf.main_input_name)
    with pytest.raises(SiteError, match="cross_pattern"):
        interp.attention_patterns(model, x, cross=True, stack="encoder")
    with pytest.raises(TaskError, match="words=True with cross=True"):
        interp.attention_patterns(model, x, cross=True, words=True)
