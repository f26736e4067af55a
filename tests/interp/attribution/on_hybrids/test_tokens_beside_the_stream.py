"""Models whose blocks are given something of the tokens beside the stream: a token's worth is that of both, and paths go along both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp.attribution.captum_function import captum_function
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.sites import Site
from tests.interp.model.discovery.layer_inputs import MODELS, WIDTH, gemma4
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("method", "steps"), [("deeplift", 24), ("integrated-gradients", 64), ("feature-ablation", None), ("shapley", None)]
)
def test_values_sum_to_what_the_prompts_differ_by(name: str, method: str, steps: int | None) -> None:
    """One token differs, so that what replacing it changes is all that there is; the ends are those of the bare model."""
    model, task = HookedModel(MODELS[name]()), toy_task(2)
    found = interp.attribute_tokens(model, task, method=method, baseline="corrupt", steps=steps, show_progress=False)
    with torch.no_grad():
        base, clean = (measured(model.hf(input_ids=x).logits, pairs_of(task)) for x in ends(pairs_of(task), "denoise"))
    np.testing.assert_allclose(found.clean_metric, clean.double(), atol=1e-5)
    total = np.array([np.sum(row) for row in found.values])
    np.testing.assert_allclose(total, (clean - base).double(), atol=2e-3 * float((clean - base).abs().max()))
    for pair, row in zip(pairs_of(task), found.values, strict=True):
        same = [a == b for a, b in zip(pair.clean, pair.corrupt, strict=True)]
        assert np.all(np.array(row)[same] == 0) and len(row) == pair.length


def test_relevance_of_tokens_is_conserved() -> None:
    model, task = HookedModel(gemma4()), toy_task(2)
    found = interp.attribute_tokens(model, task, method="relp-ah", metric="logit_diff", show_progress=False)
    total = np.array([np.sum(row) for row in found.values])
    np.testing.assert_allclose(total, found.clean_metric, rtol=1e-3)


def test_captum_gets_all_that_enters() -> None:
    model, task = HookedModel(gemma4()), toy_task(2)
    given = captum_function(model, task)
    assert given.inputs.shape == (2, 6, 32 + 3 * WIDTH)
    with torch.no_grad():
        base, clean = (measured(model.hf(input_ids=x).logits, pairs_of(task)) for x in ends(pairs_of(task), "denoise"))
        assert torch.allclose(given.f(given.inputs, *given.args), clean, atol=1e-6)
        assert torch.allclose(given.f(given.baselines, *given.args), base, atol=1e-6)


def test_paths_of_nodes_go_along_all_that_enters() -> None:
    """Integrated gradients of the part that the inputs gate, once more by hand."""
    model, task = HookedModel(gemma4()), toy_task(2)
    scores = interp.attribute(
        model, task, method="atp-ig", steps=4, quadrature="gauss-legendre", level="blocks", show_progress=False
    )
    base, source = ends(pairs_of(task), "denoise")
    sites = [Site("embed"), *(Site("layer_input", i) for i in range(3))]
    own = Site("second_mlp_out", 1)
    ends_at = [model.run(x, reads=[*sites, own]).reads for x in (base, source)]
    points, weights = np.polynomial.legendre.leggauss(4)
    total = torch.zeros_like(ends_at[0][own])
    for alpha, weight in zip((points + 1) / 2, weights / 2, strict=True):
        at = {site: ends_at[0][site].lerp(ends_at[1][site], alpha).detach() for site in sites}
        edits = [Edit(site, lambda _, x=x: x) for site, x in at.items()]
        run = model.run(base, reads=[own], edits=edits)
        (rho,) = torch.autograd.grad(measured(run.logits, pairs_of(task)).sum(), [run[own]])
        total += weight * rho
    wanted = ((ends_at[1][own] - ends_at[0][own]) * total).sum((1, 2))
    names = [part.name for part in scores.parts]
    np.testing.assert_allclose(
        scores.per_example[:, names.index("second_mlp_out.1")], wanted.detach(), rtol=1e-3, atol=1e-6
    )
