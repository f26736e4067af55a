"""DeepLIFT through whole models: complete at every cut, antisymmetric, equal to its peers and to the gradient where both must be."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch

from interp.attribution.methods import METHODS
from interp.attribution.request import attribute, attribute_all
from interp.attribution.token_attribution import attribute_tokens
from interp.errors import MethodError, UnsupportedRuleError
from interp.rules.rules import DEEPLIFT
from interp.scores.scores import Scores
from tests.interp.model.test_rules_in_models import ALL, POST_NORM, supported
from tests.interp.model.tiny import hooked, linear_model
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

COVERED = [name for name in ALL if supported(name, DEEPLIFT)]


def span(scores: Scores) -> float:
    assert scores.provenance.source_metric is not None
    return scores.provenance.source_metric - scores.provenance.base_metric


def named(scores: Scores) -> dict[str, float]:
    return {str(part): float(v) for part, v in zip(scores.parts, scores.per_example.mean(0), strict=True)}


def cuts(scores: Scores) -> dict[str, float]:
    """The sum of the scores of each site, over its positions."""
    found: dict[str, float] = defaultdict(float)
    for part, value in zip(scores.parts, scores.per_example.mean(0), strict=True):
        found[str(part).partition("@")[0]] += float(value)
    return dict(found)


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", COVERED)
def test_the_scores_of_every_cut_add_up_to_the_whole_difference(name: str, dtype: torch.dtype) -> None:
    model = hooked(name, dtype=dtype)
    for metric in ("logit_diff", "log_prob", "kl_base"):
        found = attribute(model, toy_task(3, changed=2), method="deeplift", level="resid", metric=metric)
        sums = cuts(found)
        assert len(sums) >= 3 and abs(span(found)) > 1e-2
        for cut, total in sums.items():
            assert total == pytest.approx(span(found), abs=1e-4 * max(1.0, abs(span(found)))), (metric, cut)


@pytest.mark.broad
@pytest.mark.parametrize("name", COVERED)
def test_the_other_direction_has_the_opposite_scores(name: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        for level in ("blocks", "heads", "qkv", "neurons"):
            noise, denoise = (
                attribute(model, toy_task(2), method="deeplift", level=level, direction=d).per_example
                for d in ("noise", "denoise")
            )
            assert np.allclose(noise, -denoise, rtol=0, atol=1e-12 * np.abs(noise).max())
            assert np.abs(noise).max() > 1e-3


@pytest.mark.broad
@pytest.mark.parametrize("kv", ["shared", "split"])
@pytest.mark.parametrize("name", [n for n in COVERED if n not in POST_NORM])
def test_the_edges_out_of_a_node_add_up_to_it(name: str, kv: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        nodes = named(attribute(model, toy_task(2), method="deeplift", level="heads"))
        edges = attribute(model, toy_task(2), method="deeplift", level="edges", kv=kv)
        out: dict[str, float] = defaultdict(float)
        for part, value in zip(edges.parts, edges.per_example.mean(0), strict=True):
            out[str(part).partition("->")[0]] += float(value)
        both, largest = sorted(set(nodes) & set(out)), max(map(abs, nodes.values()))
        assert len(both) == 11
        for node in both:
            assert out[node] == pytest.approx(nodes[node], abs=1e-5 * largest)


@pytest.mark.parametrize("name", POST_NORM)
def test_edges_behind_norms_add_up_by_layer(name: str) -> None:
    """A norm behind attention divides what each head wrote by the scale of its own run, at the edges; together heads agree."""
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        blocks = named(attribute(model, toy_task(2), method="deeplift", level="blocks"))
        edges = attribute(model, toy_task(2), method="deeplift", level="edges")
        for layer in range(2):
            rows = [
                v
                for p, v in zip(edges.parts, edges.per_example.mean(0), strict=True)
                if str(p).startswith(f"a{layer}.")
            ]
            assert sum(rows) == pytest.approx(blocks[f"attn_out.{layer}"], abs=1e-5 * max(map(abs, blocks.values())))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3_text"])
def test_in_half_precision_it_is_near_what_it_is_in_full(name: str) -> None:
    full, half = (
        attribute(hooked(name, dtype=dtype), toy_task(3), method="deeplift", level="heads").per_example
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert np.isfinite(half).all()
    assert np.abs(full - half).max() < 0.1 * np.abs(full).max()


def test_where_nothing_bends_it_is_the_gradient() -> None:
    found = attribute_all(linear_model(), toy_task(3), methods=["deeplift", "atp", "exact"], level="heads")
    ours, gradient, exact = (found[m].per_example for m in ("deeplift", "atp", "exact"))
    assert np.abs(exact).max() > 1e-2
    for other in (gradient, exact):
        assert np.allclose(ours, other, rtol=0, atol=1e-6 * np.abs(exact).max())


def test_it_needs_the_other_run() -> None:
    model = hooked("gpt2")
    for ablation in ("mean", "zero"):
        with pytest.raises(MethodError, match="deeplift needs the source run"):
            attribute(model, toy_task(3), method="deeplift", level="heads", ablation=ablation)
    with pytest.raises(UnsupportedRuleError, match="experts: which of them"):
        attribute(hooked("mixtral"), toy_task(2), method="deeplift", level="heads")
    with pytest.raises(UnsupportedRuleError, match="outside AttentionInterface"):
        attribute(hooked("bloom"), toy_task(2), method="deeplift", level="heads")
    found = attribute(model, toy_task(4), method="deeplift", level="heads", ablation="resample")
    assert np.isfinite(found.per_example).all()


def test_its_cost_is_that_of_two_forwards_and_a_backward() -> None:
    found = attribute(hooked("gpt2"), toy_task(4, lengths=(5, 7)), method="deeplift", level="heads")
    assert (found.provenance.forwards, found.provenance.backwards) == (2, 1)
    assert found.provenance.steps == 8 and "averaged" in found.provenance.coefficients_at
    assert METHODS["deeplift"].complete and METHODS["deeplift"].scores("edges")
    more = attribute(hooked("gpt2"), toy_task(4, lengths=(5, 7)), method="deeplift", level="heads", steps=3)
    assert more.provenance.steps == 3 and more.provenance.rules.endswith("at 3 points")
    for level, metric in (("edges", "logit_diff"), ("heads", "kl_source"), ("edges", "kl_source")):
        found = attribute(hooked("gpt2"), toy_task(4), method="deeplift", level=level, metric=metric)
        assert (found.provenance.forwards, found.provenance.backwards) == (2, 1)


# ---------------------------------------------------------------- tokens


@pytest.mark.broad
@pytest.mark.parametrize("baseline", ["corrupt", "zero"])
@pytest.mark.parametrize("name", COVERED)
def test_tokens_add_up(name: str, baseline: Any) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        for metric in ("logit_diff", "log_prob"):
            found = attribute_tokens(model, toy_task(2), method="deeplift", baseline=baseline, metric=metric)
            size = max(1.0, *(abs(sum(v)) for v in found.values))
            assert found.delta is not None
            assert max(map(abs, found.delta)) < 1e-4 * size
            assert found.steps == 8


# ---------------------------------------------------------------- peers


class _OneLayer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.act, self.second = torch.nn.Linear(5, 9), torch.nn.ReLU(), torch.nn.Linear(9, 1)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))

    def forward(self, x: Any) -> Any:
        return self.second(self.act(self.first(x)))


def test_one_layer_of_relu_as_captum() -> None:
    from captum.attr import DeepLift

    from interp.rules.activations import ACTIVATIONS
    from interp.rules.secants import elementwise_secant

    relu = next(a for a in ACTIVATIONS if a.name == "relu")
    net = _OneLayer().double()
    generator = torch.Generator().manual_seed(1)
    x, b = (torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = DeepLift(net).attribute(x.clone().requires_grad_(), baselines=b)
    with torch.no_grad():
        slope = elementwise_secant(relu, net.first(x), net.first(b))
        ours = (x - b) * ((slope * net.second.weight) @ net.first.weight)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)
