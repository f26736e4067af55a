"""A model that gives one row of logits for a whole text, read off its stream."""

from __future__ import annotations

import pytest
import torch

from interp.errors import LayoutError
from interp.model.model import HookedModel
from tests.interp.model.discovery.refused import Pooled
from tests.interp.model.discovery.tomorrow import KNOWN
from tests.interp.model.tiny import ids


@torch.no_grad()
def test_a_mean_of_logits_is_read_as_one() -> None:
    hf = KNOWN["plain"].make_as(Pooled)
    model = HookedModel(hf)
    assert (model.layout.readout, model.layout.causal) == ("whole", True)
    run = model.run(ids(), reads=["resid_post"])
    assert run.logits.shape == (2, 1, 64) and torch.equal(run.logits[:, 0], hf(input_ids=ids()).logits)
    with pytest.raises(LayoutError, match="one for the prompt"):
        model.layout.check_head("the lens")
