"""Direct logit attribution where blocks have attention alone, or an MLP alone."""

from __future__ import annotations

import pytest

import interp
from interp.model.model import HookedModel
from tests.interp.attribution.on_hybrids.test_blocks_of_one_sublayer import PLACES, made
from tests.interp.tasks.toy import toy_task


@pytest.mark.parametrize("name", ["attention alone", "alternating"])
def test_the_logit_is_the_sum_of_what_is_written(name: str) -> None:
    model, task = HookedModel(made(name)), toy_task(3)
    found = interp.direct_logit_attribution(model, task)
    assert found.largest_gap < 1e-4 * abs(found.per_example).max()
    assert {*PLACES[name]} == {node for node in found.nodes if node != "embed" and not node.startswith("bias")}
