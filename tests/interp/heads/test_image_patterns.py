"""Where heads look in an image: patterns with the names of its patches."""

from __future__ import annotations

import numpy as np
import torch

import interp
from interp.model.model import HookedModel
from tests.interp.model.vision.made import made


def test_patterns_of_an_image_have_its_positions() -> None:
    model = HookedModel(made("ViTForImageClassification"))
    x = torch.randn(1, model.hf.config.num_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    found = interp.attention_patterns(model, x)
    assert found.tokens == model.positions()
    assert np.array_equal(found["a1.h2"], model.run(x, reads=["pattern"])["pattern.1"][0, 2].detach().numpy())
