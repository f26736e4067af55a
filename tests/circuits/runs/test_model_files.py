"""What a manifest says of weights that are not all of their files."""

from __future__ import annotations

from circuits.runs.model_files import described, weights_line
from interp.model.model import HookedModel
from interp.model.origin import Origin
from tests.interp.model.tiny import tiny


def test_weights_that_were_left_out_are_listed() -> None:
    names = tuple(f"pooler.{i}" for i in range(6))
    found = described(HookedModel(tiny("gpt2"), origin=Origin(left_out=names)))
    assert found["left_out"] == list(names)
    said = "without 6 of those in its files, which a GPT2LMHeadModel does not have (pooler.0, pooler.1, pooler.2, pooler.3 and 2 more)"
    assert found["weights"] == weights_line({"model": found}) == said
    assert not weights_line({"model": described(HookedModel(tiny("gpt2")))})
