"""bfloat16: every method at every level, against the same weights in float32.

A bfloat16 keeps 8 bits, so one rounding is up to 1/256 of a number; a few dozen of them between a node and the metric may
add up to a tenth of the largest score. Smaller scores drown, which is why the order is compared by correlation.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from interp.attribution.methods import METHODS
from interp.attribution.request import attribute
from interp.model.model import HookedModel
from interp.parts.nodes import LEVELS
from tests.interp.model.tiny import tiny
from tests.interp.tasks.toy import toy_task

LARGEST, CORRELATION = 0.12, 0.98
NAMES = ("gpt2", "llama", "gemma2")
#: `portfolio` keeps one of several orders, each a method of its own here; one rounding may tip which of two equally good ones it is.
CASES = [
    (level, name)
    for level in (*LEVELS, "edges")
    for name, m in METHODS.items()
    if m.scores(level) and name != "portfolio"
]
#: One run for every edge; llama alone has them.
DEAR = ("exact", "acdc", "auto")


@cache
def models(name: str) -> tuple[HookedModel, HookedModel]:
    """The same weights, all of them numbers of bfloat16, in float32 and in bfloat16."""
    wide, half = (HookedModel(tiny(name).to(torch.bfloat16).to(dtype)) for dtype in (torch.float32, torch.bfloat16))
    return wide, half


@pytest.mark.broad
@pytest.mark.parametrize(("level", "method"), CASES)
def test_scores_are_near_those_of_float32(level: str, method: str) -> None:
    if level == "resid" and method == "auto":
        pytest.skip("auto ranks parts at all positions together, which level resid has not")
    task, way = toy_task(4, changed=2), "noise" if METHODS[method].noise else "denoise"
    for name in ("llama",) if method in DEAR and level == "edges" else NAMES:
        wide, half = (
            attribute(m, task, method=method, level=level, direction=way, show_progress=False) for m in models(name)
        )
        a, b = wide.mean, half.mean
        # Patching one neuron changes the metric by less than rounding does in a model that caps its logits.
        loose = name == "gemma2" and level == "neurons" and method in ("exact", "auto")
        # One rounding exchanges neighbours, whose places are up to log 2 / log n apart: of searches the order alone is compared.
        by_place = METHODS[method].unit == "place"
        assert by_place or abs(a - b).max() <= (3 if loose else 1) * LARGEST * abs(a).max(), name
        assert np.corrcoef(a, b)[0, 1] >= (0.9 if loose else CORRELATION), name
        assert half.provenance.dtype == "bfloat16" and half.per_example.dtype == np.float64
