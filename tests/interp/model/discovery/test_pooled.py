"""A model that gives one row of logits for a whole text, read off its stream."""

from __future__ import annotations

import pytest
import torch

from interp.errors import LayoutError
from interp.model.edits import patch
from interp.model.model import HookedModel
from tests.interp.model.discovery.refused import Pooled
from tests.interp.model.discovery.tomorrow import KNOWN
from tests.interp.model.discovery.written import Decoder
from tests.interp.model.tiny import ids


class PastItsNorm(Decoder):
    """As CLIP's classifier of images: the norm behind the last block serves another output, and the mean does without it."""

    def read(self, x: torch.Tensor) -> torch.Tensor:
        self.norm(x)
        out: torch.Tensor = self.head(x.mean(1))
        return out


@torch.no_grad()
def test_a_mean_of_logits_is_read_as_one() -> None:
    hf = KNOWN["plain"].make_as(Pooled)
    model = HookedModel(hf)
    assert (model.layout.readout, model.layout.causal) == ("whole", True)
    run = model.run(ids(), reads=["resid_post"])
    assert run.logits.shape == (2, 1, 64) and torch.equal(run.logits[:, 0], hf(input_ids=ids()).logits)
    with pytest.raises(LayoutError, match="one for the prompt"):
        model.layout.check_head("the lens")


@torch.no_grad()
def test_a_norm_that_the_output_does_without_is_not_the_final_one() -> None:
    model = HookedModel(KNOWN["plain"].make_as(PastItsNorm))
    assert model.layout.ln_final is None
    other = model.run(ids(seed=2), reads=["resid_final"])
    edited = model.run(ids(), edits=[patch("resid_final", other["resid_final"])])
    assert torch.equal(edited.logits, other.logits) and not torch.equal(edited.logits, model.run(ids()).logits)
