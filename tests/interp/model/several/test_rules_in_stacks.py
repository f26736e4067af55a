"""Backward passes through several stacks: finite differences, sums that must hold, and RelP written a second time with loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.rules.rules import DEEPLIFT, GRADIENT, RELP, RELP_AH, Rules
from tests.interp.model.several.made import BART, CLIP, NAMES, STACKS, T5, T5_GATED, WHISPER, given, known, made, output
from tests.interp.rules.float64 import true_float64

SOME = pytest.mark.parametrize("name", [T5, BART, WHISPER, CLIP])


def _double(name: str, **changes: Any) -> tuple[HookedModel, dict[str, Tensor], dict[str, Tensor]]:
    """A model in float64, and two runs' inputs."""
    one, other = (
        {key: x.double() if x.is_floating_point() else x for key, x in given(name, batch=1, seed=seed).items()}
        for seed in (1, 2)
    )
    return HookedModel(made(name, torch.float64)), one, other


def _moved(site: str, by: Tensor) -> Edit:
    return Edit(site, lambda x: x + by)


@SOME
def test_gradients_at_both_embeddings_are_finite_differences(name: str) -> None:
    with true_float64():
        model, inputs, _ = _double(name)
        sites = [f"{stack}embed" for stack in STACKS[name]]
        run = model.run(inputs, reads=sites)
        value, step = run.logits[0, -1, 0], 1e-5
        for site, gradient in zip(sites, torch.autograd.grad(value, [run[s] for s in sites]), strict=True):
            way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
            with torch.no_grad():
                up, down = (model.run(inputs, edits=[_moved(site, s * way)]).logits[0, -1, 0] for s in (step, -step))
            expected = float((gradient * way).sum())
            assert abs(expected) > 1e-3
            assert float((up - down) / (2 * step)) == pytest.approx(expected, rel=1e-5, abs=1e-6), site


@pytest.mark.parametrize("name", [T5, T5_GATED, BART, WHISPER])
@pytest.mark.parametrize("cut", ["encoder:embed", "encoder:resid_post.0", "encoder:resid_final"])
def test_deeplift_over_a_cut_of_both_streams_is_the_change(name: str, cut: str) -> None:
    """Everything passes the decoder's embedding or a place of the encoder's stream. (Of the decoder's later stream no sum holds: the encoder
    has written into it.)"""
    with true_float64():
        model, base, source = _double(name)
        sites = [cut, "embed"]
        other = model.run(source, reads=sites, keep_operands=True)
        run = model.run(base, reads=sites, rules=DEEPLIFT, toward=other)
        slopes = torch.autograd.grad(run.logits[0, -1, 0], [run[site] for site in sites])
        parts = [float(((other[s] - run[s]) * g).sum().detach()) for s, g in zip(sites, slopes, strict=True)]
        change = float((other.logits - run.logits)[0, -1, 0].detach())
    assert min(map(abs, parts)) > 1e-3
    assert sum(parts) == pytest.approx(change, abs=2e-3 * max(abs(change), *map(abs, parts)))


@pytest.mark.parametrize("name", [T5, T5_GATED])
@pytest.mark.parametrize("cut", ["encoder:embed", "encoder:resid_post.0", "encoder:resid_final"])
def test_relevance_is_conserved_without_biases(name: str, cut: str) -> None:
    """T5 has neither biases nor means that are taken off, so all relevance comes from the two streams; the gradient's does not."""
    with true_float64():
        model, inputs, _ = _double(name)
        sites = [cut, "embed"]

        def relevance(rules: Rules) -> tuple[float, float]:
            run = model.run(inputs, reads=sites, rules=rules)
            value = run.logits[0, -1, 0]
            found = torch.autograd.grad(value, [run[site] for site in sites])
            return sum(float((run[s] * g).sum().detach()) for s, g in zip(sites, found, strict=True)), float(
                value.detach()
            )

        total, value = relevance(RELP_AH)
        assert total == pytest.approx(value, rel=1e-9)
        total, value = relevance(GRADIENT)
        assert abs(total - value) > 1e-2 * abs(value)


def test_relp_through_one_attention_across_by_loops() -> None:
    """Relevance at what the encoder gives, through the decoder's first block alone, written with explicit loops: patterns are constant
    under RelP with frozen attention, and a value passes W_O and the pattern."""
    with true_float64():
        model, inputs, _ = _double(T5)
        block = model.layout.blocks[0]
        assert block.cross is not None
        cross = model.hf.get_submodule(block.cross.module)
        kinds = ["encoder:resid_final", "cross_out.0", "cross_pattern.0", "cross_z.0"]
        run = model.run(inputs, reads=kinds, rules=RELP_AH)
        weights = torch.randn(run["cross_out.0"].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (found,) = torch.autograd.grad((run["cross_out.0"] * weights).sum(), [run["encoder:resid_final"]])
        pattern, x = run["cross_pattern.0"].detach(), run["encoder:resid_final"].detach()
        norm = model.hf.encoder.final_layer_norm
    expected = torch.zeros_like(found)
    n_heads, d_head = pattern.shape[1], run["cross_z.0"].shape[-1]
    for p in range(pattern.shape[2]):
        for h in range(n_heads):
            rows = slice(h * d_head, (h + 1) * d_head)
            at_z = cross.o.weight[:, rows].T @ weights[0, p]
            for s in range(pattern.shape[3]):
                at_source = pattern[0, h, p, s] * (cross.v.weight[rows].T @ at_z)
                size = (x[0, s].square().mean() + norm.variance_epsilon).rsqrt()
                expected[0, s] += at_source * norm.weight * size
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_what_no_rule_is_for_is_named(name: str) -> None:
    """Only SigLIP's head attends, which is in no block."""
    unsupported = [row.path for row in known(name).coverage(RELP).unsupported]
    assert unsupported == (["vision_model.head.attention"] if name == "SigLIP" else [])


def test_float64_is_the_model_in_float64() -> None:
    model, inputs, _ = _double(BART)
    assert torch.equal(model.run(inputs).logits, output(model.hf, inputs))
