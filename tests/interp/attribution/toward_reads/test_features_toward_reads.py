"""Features toward a probe of the stream that they are decoded into: scores that are known by hand."""

from __future__ import annotations

import numpy as np
import torch

from interp.attribution.request import attribute_all
from interp.model.model import HookedModel
from tests.interp.attribution.features.given_dictionaries import rotated
from tests.interp.attribution.toward_reads.test_metrics_of_reads import PROBE, answered, probe, three
from tests.interp.tasks.toy import toy_task


def test_a_feature_of_the_place_that_is_read_moves_the_probe_by_what_it_writes() -> None:
    model, task = HookedModel(three()), answered(toy_task(3))
    own = rotated("resid_post.1")
    found = attribute_all(
        model,
        task,
        methods=["exact", "relp"],
        level="features",
        metric=probe("resid_post.1"),
        dictionaries={"resid_post.1": own},
    )
    ids = [pair.ids for pair in task.pairs]
    clean, corrupt = (torch.tensor([getattr(p, side) for p in ids]) for side in ("clean", "corrupt"))
    with torch.no_grad():
        ends = (model.run(x, reads=["resid_post.1"])["resid_post.1"][:, -1] for x in (clean, corrupt))
        change = torch.subtract(*(own.encode(x) for x in ends)) * (own.W_dec @ PROBE[:32])
    for name, scores in found.items():
        for node, column in zip(scores.parts, scores.per_example.T, strict=True):
            if node.feature is not None:  # type: ignore[union-attr]
                np.testing.assert_allclose(column, change[:, node.feature], rtol=1e-9, atol=1e-12, err_msg=name)  # type: ignore[union-attr]
    assert any(p.feature is not None for p in found["exact"].parts)  # type: ignore[union-attr]
