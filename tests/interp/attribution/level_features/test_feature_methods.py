"""Scores of features by every method: against the formula written slowly, sums over a site, first-order theory, completeness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.attribution.methods import METHODS
from interp.attribution.request import attribute, attribute_all
from interp.model.edits import Edit
from interp.rules.rules import ATTNLRP, CP_LRP, GIM, GRADIENT, RELP, RELP_AH
from tests.interp.attribution.features.feature_twin import (
    Codes,
    added,
    at,
    bare,
    by_name,
    changes,
    coefficients,
    dictionaries,
    every_change,
)
from tests.interp.attribution.slopes import first_order
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.twin import Twin
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

NAMES = ("gpt2", "llama", "gemma2", "gpt_neox", "opt", "granite")
PRESETS = {"atp": GRADIENT, "relp": RELP, "relp-ah": RELP_AH, "attnlrp": ATTNLRP, "cp-lrp": CP_LRP, "gim": GIM}
PATHS = {"atp-ig": GRADIENT, "relp-ig": RELP}
AT_SITES = {"atp-ig-sites": GRADIENT, "relp-ig-sites": RELP}
ALL = (*PRESETS, *PATHS, *AT_SITES)


def scored(model: Any, task: Any, found: Any, methods: Any = ALL, **options: Any) -> dict[str, Any]:
    options = {"level": "features", "dictionaries": found, "show_progress": False, "allow_unsupported": True} | options
    return attribute_all(model, task, methods=list(methods), **options)


@pytest.mark.broad
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_formula_written_slowly(name: str, direction: str) -> None:
    """sum_pos (f(source) - f(base)) * scale * (W_dec . rho), with rho of a run of its own, node by node, in float64."""
    with true_float64():
        model, task, found = hooked(name, dtype=torch.float64), toy_task(2, changed=2), dictionaries(name)
        pairs = pairs_of(task)
        base, source = ends(pairs, direction)
        steps, points = every_change(model, found, base, source), (0.25, 0.75)
        with torch.no_grad():
            plain, other = (model.run(ids, reads=["embed", *found]) for ids in (base, source))
        found_scores = scored(model, task, found, direction=direction, steps=2, positions="each")
        rho: dict[tuple[str, str], torch.Tensor] = {}
        for key in found:
            whole = sum(change for d, change in steps.values() if str(d.target) == key).view(plain[key].shape)
            for method, rules in PRESETS.items():
                rho[method, key] = coefficients(model, base, pairs, key, rules)
            for method, rules in PATHS.items():
                path = [plain["embed"] + a * (other["embed"] - plain["embed"]) for a in points]
                edits = [[Edit("embed", lambda x, v=v: v)] for v in path]
                rho[method, key] = sum(coefficients(model, base, pairs, key, rules, e) / 2 for e in edits)
            for method, rules in AT_SITES.items():
                edits = [[Edit(key, lambda x, a=a, w=whole: (x + a * w).detach().requires_grad_())] for a in points]
                rho[method, key] = sum(coefficients(model, base, pairs, key, rules, e) / 2 for e in edits)
        for method, scores in found_scores.items():
            values = by_name(scores)
            largest = abs(scores.per_example).max()
            assert largest > 0.01 and {bare(p) for p in scores.parts} == set(steps)
            for node in scores.parts:
                d, change = steps[bare(node)]
                expected = (at(change, node) * rho[method, str(d.target)]).sum((1, 2))
                assert torch.allclose(values[node.name], expected, rtol=0, atol=1e-10 * largest), (method, node.name)
                still = ~at(change, node).flatten(1).any(1)
                assert not values[node.name][still].any(), (method, node.name)


@pytest.mark.parametrize("kind", ["mean", "zero"])
def test_scores_under_means_and_zeros(kind: str) -> None:
    with true_float64():
        model, task, found = hooked("llama", dtype=torch.float64), toy_task(3), dictionaries("llama")
        pairs = pairs_of(task)
        base, _ = ends(pairs, "noise")
        for key, d in found.items():
            codes = Codes.of(model, d, base)
            steps = changes(d, codes, codes.mean() if kind == "mean" else codes.zero())
            rho = coefficients(model, base, pairs, key, RELP)
            scores = scored(model, task, {key: d}, ["relp"], ablation=kind, batch_size=2)["relp"]
            values = by_name(scores)
            assert set(values) == set(steps)
            for node, change in steps.items():
                expected = (change * rho).sum((1, 2))
                assert torch.allclose(values[node], expected, rtol=0, atol=1e-10 * abs(scores.per_example).max()), node


# ---------------------------------------------------------------- sums over a site


@pytest.mark.broad
@pytest.mark.parametrize("name", NAMES)
def test_features_and_error_of_a_site_add_up_to_the_site(name: str) -> None:
    """Where nothing is rescaled they make up x, so their scores add up to that of x as other levels score it."""
    with true_float64():
        model, task = hooked(name, dtype=torch.float64), toy_task(3, changed=2)
        methods = [m for m in ALL if m not in AT_SITES]
        options = {"methods": methods, "steps": 2, "positions": "each", "allow_unsupported": True}
        levels = {level: attribute_all(model, task, level=level, **options) for level in ("resid", "blocks", "heads")}
        found = scored(model, task, dictionaries(name, scaled=False), methods, steps=2, positions="each")
        whole = {
            "resid_pre.0": ("resid", "resid_pre", 0), "resid_pre.1": ("resid", "resid_pre", 1),
            "resid_post.1": ("resid", "resid_post", 1), "resid_mid.0": ("resid", "resid_mid", 0),
            "attn_out.1": ("blocks", "attn_out", 1), "mlp_out.0": ("blocks", "mlp", 0), "mlp_out.1": ("blocks", "mlp", 1),
            "z.1": ("heads", "head", 1),
        }  # fmt: skip
        for method, scores in found.items():
            for place in dict.fromkeys(bare(p).rpartition(".")[0] for p in scores.parts):
                level, kind, layer = whole[place]
                for position in range(6):
                    ours = [bare(p).startswith(place + ".") and p.position == position for p in scores.parts]
                    theirs = levels[level][method]
                    of = [(p.kind, p.layer, p.position) == (kind, layer, position) for p in theirs.parts]
                    total, expected = scores.per_example[:, ours].sum(1), theirs.per_example[:, of].sum(1)
                    assert np.allclose(total, expected, rtol=0, atol=1e-10 * (1 + abs(scores.per_example).max()))


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_the_path_at_a_stream_site_is_complete(name: str) -> None:
    """The stream at one layer decides what follows: its nodes' scores add up to m(source) - m(base) as steps grow."""
    with true_float64():
        model, task, found = hooked(name, dtype=torch.float64), toy_task(3), dictionaries(name, scaled=False)
        gaps = []
        for steps in (4, 64):
            found_scores = scored(
                model, task, {"resid_pre.1": found["resid_pre.1"]}, ["atp-ig-sites"], steps=steps, quadrature="gauss-legendre"
            )["atp-ig-sites"]  # fmt: skip
            p = found_scores.provenance
            assert p.source_metric is not None
            gaps.append(abs(found_scores.mean.sum() - (p.source_metric - p.base_metric)))
        assert gaps[1] < 1e-6 and gaps[1] <= gaps[0]


@pytest.mark.parametrize("level", ["blocks", "heads", "neurons", "qkv"])
def test_the_path_at_other_levels_is_a_slow_quadrature(level: str) -> None:
    with true_float64():
        model, task = hooked("llama", dtype=torch.float64), toy_task(2)
        pairs = pairs_of(task)
        base, source = ends(pairs, "denoise")
        scores = attribute(model, task, method="atp-ig-sites", level=level, steps=3, quadrature="trapezoid")
        sites = {
            "embed": "embed",
            "attn_out": "attn_out.{}",
            "mlp": "mlp_out.{}",
            "head": "z.{}",
            "neuron": "mlp_post.{}",
        }
        for node in scores.parts[::7]:
            site = sites.get(node.kind, node.kind + ".{}").format(node.layer)
            with torch.no_grad():
                step = model.run(source, reads=[site])[site] - model.run(base, reads=[site])[site]
            total = torch.zeros_like(step).flatten(2)
            for a, weight in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25)):
                edit = Edit(site, lambda x, a=a, s=step: (x + a * s).detach().requires_grad_())
                total += weight * coefficients(model, base, pairs, site, edits=[edit])
            product = (step * total.view(step.shape)).sum(1)
            expected = (product.flatten(1) if node.unit is None else product[:, node.unit].view(len(pairs), -1)).sum(1)
            assert np.allclose(by_name(scores)[node.name], expected, rtol=0, atol=1e-10 * (1 + abs(scores.mean).max()))
        assert scores.provenance.coefficients_at == METHODS["atp-ig-sites"].path


# ---------------------------------------------------------------- first order, and the replacement model


@pytest.mark.broad
@pytest.mark.parametrize("name", NAMES)
def test_atp_is_right_to_first_order(name: str) -> None:
    """|exact(eps d) - eps score| = O(eps^2): slope between eps = 1e-3 and 1e-4, for the largest node of every kind and layer."""
    with true_float64():
        model, task, found = hooked(name, dtype=torch.float64), toy_task(1, changed=2), dictionaries(name)
        pairs = pairs_of(task)
        base, source = ends(pairs, "noise")
        scores = scored(model, task, found, ["atp"], direction="noise")["atp"]
        steps, slopes = every_change(model, found, base, source), 0
        with torch.no_grad():
            start = measured(model.run(base).logits, pairs)
        by_size = sorted(scores.parts, key=lambda p: abs(scores[p.name]))
        for node in {(p.kind, p.layer): p for p in by_size}.values():
            d, change = steps[node.name]

            def effect(eps: float, d: Any = d, change: Any = change) -> float:
                with torch.no_grad():
                    logits = model.run(base, edits=[added(d.target, eps * change)]).logits
                return float(measured(logits, pairs) - start)

            slopes += first_order(effect, scores[node.name], float(start), node.name)
        assert slopes >= 6


@pytest.mark.broad
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_relevance_is_an_effect_in_the_replacement_model(name: str, direction: str) -> None:
    """relp-ah: the exact effect there, whatever the size of the patch, for every node; relp: its derivative along the patch."""
    with true_float64():
        model, task, found = hooked(name, dtype=torch.float64), toy_task(1, changed=2), dictionaries(name)
        found = {k: d for k, d in found.items() if not k.startswith(("resid_mid", "resid_post"))}
        pairs = pairs_of(task)
        base, source = ends(pairs, direction)
        scores = scored(model, task, found, ["relp-ah", "relp"], direction=direction)
        frozen = {rules: Twin(model.hf, rules) for rules in scores}
        with torch.no_grad():
            for twin in frozen.values():
                twin(base)

            def moved(rules: str, h: float, site: str, change: torch.Tensor) -> float:
                patch = {site: lambda x: x + h * change.reshape(x.shape)}
                return float(measured(Twin(model.hf, rules, frozen[rules].held, patch)(base), pairs))

            largest = 0.0
            for node, (d, change) in every_change(model, found, base, source).items():
                site = str(d.target)
                effect = moved("relp-ah", 1.0, site, change) - moved("relp-ah", 0.0, site, change)
                assert scores["relp-ah"][node] == pytest.approx(effect, rel=1e-9, abs=1e-10), node
                slope = (moved("relp", 1e-4, site, change) - moved("relp", -1e-4, site, change)) / 2e-4
                assert scores["relp"][node] == pytest.approx(slope, rel=1e-6, abs=1e-9), node
                largest = max(largest, abs(effect))
        assert largest > 1e-3
