"""Methods on masks: what their scores are, and the circuits that searches find where a ranking of single effects finds none."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from interp.attribution.masks.masked_edges import MaskedEdges
from interp.attribution.request import attribute, prepare
from interp.errors import InterpError, MethodError
from interp.parts.nodes import competes
from interp.rules.rules import preset
from tests.interp.attribution.edges.edge_checks import EACH, RULES, ready
from tests.interp.attribution.features.given_dictionaries import given, stub
from tests.interp.attribution.masks.edge_masks import edge_batch, random_mask
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import answered, toy_task, with_twins


@EACH
def test_slopes_at_a_mask_of_ones_are_scores_at_the_base_point(name: str) -> None:
    with true_float64():
        model, _ = ready(name)
        batch = edge_batch(model)
        visible = torch.from_numpy(batch.map.graph.visible)
        for method in ("eap", "relp"):
            scores = attribute(model, toy_task(3), method=method, level="edges", direction="noise")
            _, slopes = MaskedEdges(batch, torch.ones_like(random_mask(batch)), preset(RULES[method])).derivative()
            assert np.allclose(-slopes[:, visible].numpy(), scores.per_example, rtol=0, atol=1e-10)


@pytest.mark.parametrize("level", ["edges", "heads", "neurons", "qkv"])
def test_the_mean_over_even_masks_adds_up_to_the_whole_effect(level: str) -> None:
    """sum of scores = m(all replaced) - m(none): at edges and heads the source run; checked by many points."""
    with true_float64():
        model, _ = ready("gpt2")
        scores = attribute(model, toy_task(3), method="mask-ig", level=level, steps=64)
        source = scores.provenance.source_metric
        total = scores.per_example.sum(1).mean()
        if level in ("edges", "heads"):
            assert source is not None
            assert abs(total - (source - scores.provenance.base_metric)) < 1e-3 * abs(total)
        coarse = attribute(model, toy_task(3), method="mask-ig", level=level, steps=32).per_example.sum(1).mean()
        assert abs(total - coarse) < 1e-2 * abs(total)


def test_points_of_the_path_are_those_of_the_quadrature() -> None:
    """One point on the left is the base run, where slopes are the scores at the base point; on the right the source run, where they differ."""
    model, task = hooked("llama"), toy_task(2)
    plain = attribute(model, task, method="atp", level="heads", direction="noise").per_example
    at = {
        name: attribute(
            model, task, method="mask-ig", level="heads", direction="noise", quadrature=name, steps=1
        ).per_example
        for name in ("left", "right")
    }
    assert np.allclose(at["left"], plain, rtol=0, atol=1e-4) and not np.allclose(at["right"], plain, rtol=0, atol=1e-2)


def test_a_search_begins_with_exact_effects_as_exact_patching_finds_them() -> None:
    """By replay, as the method `exact` does, and not by a whole forward for each part."""
    model, task = hooked("llama"), answered(hooked("llama"), toy_task(3))
    request = prepare(model, task, methods=["learned"], level="heads", start="exact", rounds=1)
    assert request.restart.machine is not None


@pytest.mark.parametrize(("method", "level"), [("learned", "heads"), ("iterated", "heads"), ("learned", "features")])
def test_what_is_in_every_circuit_is_first(method: str, level: str) -> None:
    """The embedding and errors of dictionaries are kept whole in every run of a search: no place of them is looked for."""
    model, _ = stub() if level == "features" else (hooked("llama"), None)
    more = {"dictionaries": given(model)} if level == "features" else {}
    scores = attribute(model, toy_task(3), method=method, level=level, rounds=3, **more)
    always = np.array([not competes(part.kind) for part in scores.parts])
    assert always.any() and scores.mean[always].min() >= scores.mean[~always].max()


def test_the_base_metric_of_a_search_is_in_the_unit_of_its_metric() -> None:
    model, task = hooked("llama"), toy_task(3)
    found = attribute(model, task, method="iterated", level="heads", metric="normalized_logit_diff", rounds=1)
    assert found.provenance.base_metric == pytest.approx(1) and found.provenance.source_metric == pytest.approx(0)


def test_options_of_searches_are_checked_before_any_work() -> None:
    model, task = hooked("llama"), toy_task(2)
    for options, said in (
        ({"method": "relp", "rounds": 3}, "rounds belongs to searches on masks"),
        ({"method": "iterated", "start": "relp"}, "start belongs to searches on masks (learned)"),
        ({"method": "portfolio", "start": "relp"}, "start belongs to searches on masks (learned)"),
        ({"method": "relp", "budget": "30F"}, "budget: for method auto and searches on masks only"),
        ({"method": "learned", "budget": "60s"}, "count forward equivalents"),
        ({"method": "learned", "budget": "60F", "rounds": 3}, "give one of them"),
        ({"method": "learned", "budget": "3F"}, "learned costs 10 forwards with one round"),
        ({"method": "learned", "budget": "30F", "start": "mask-ig"}, "learned costs 31 forwards with one round"),
        ({"method": "portfolio", "budget": "50F"}, "portfolio costs 52 forwards with one round"),
        ({"method": "learned", "budget": "60F", "start": "exact"}, "give rounds in the place of a budget"),
        ({"method": "learned", "budget": "90F", "start": "atp-ig-sites"}, "give rounds in the place of a budget"),
        ({"method": "learned", "budget": "many"}, "budget='many'"),
        ({"method": "portfolio", "chance": 0.1}, "chance: for method auto only"),
        ({"method": "learned", "start": "auto"}, "no method that gives an order"),
        ({"method": "learned", "start": "acdc"}, "no method that gives an order"),
        ({"method": "learned", "start": "rlep"}, "rlep"),
        ({"method": "learned", "backward": "deeplift"}, "a preset at one run"),
        ({"method": "learned", "backward": "nothing"}, "nothing"),
        ({"method": "learned", "rounds": 0}, "rounds"),
        ({"method": "learned", "direction": "denoise"}, "direction='noise'"),
        ({"method": "learned", "positions": "each"}, "positions='each'"),
        ({"method": "mask-ig", "positions": "each"}, "positions='each'"),
        ({"method": "iterated", "level": "resid"}, "not level 'resid'"),
        ({"method": "learned", "parts": ["m0"]}, "parts has no meaning"),
        ({"method": "iterated", "metric": "kl_base"}, "flat at the base run"),
        ({"method": "learned", "metric": "kl_base"}, "flat at the base run"),
    ):
        with pytest.raises(InterpError, match=re.escape(said)):
            attribute(model, task, **{"level": "heads", **options})


def test_nothing_to_look_for_is_an_error() -> None:
    """At level blocks with a task whose prompts of a pair do not differ where it matters, f has no meaning."""
    model = hooked("llama")
    with pytest.raises(MethodError, match="no circuit can be looked for"):
        attribute(model, with_twins(model, toy_task(2)), method="iterated", level="heads")


@pytest.mark.parametrize("level", ["edges", "heads"])
@pytest.mark.parametrize("method", ["iterated", "learned", "portfolio"])
def test_searches_say_what_they_are(level: str, method: str) -> None:
    model = hooked("llama")
    scores = attribute(model, answered(model, toy_task(3)), method=method, level=level, rounds=3)
    p = scores.provenance
    assert p.direction == "noise" and p.importance_sign == 1 and p.unit in ("rounds kept", "place")
    assert p.backwards == 3 + {"iterated": 0, "learned": 1, "portfolio": 1 + 8}[method] and "3 rounds" in p.masks
    table = scores.per_example
    assert (table >= 0).all() and (table == table[0]).all() and np.isfinite(table).all()
    again = attribute(model, answered(model, toy_task(3)), method=method, level=level, rounds=3)
    assert np.array_equal(again.per_example, table)
    other = attribute(model, answered(model, toy_task(3)), method=method, level=level, rounds=3, batch_size=1)
    assert np.allclose(other.per_example, table, rtol=0, atol=1e-3)


def test_a_seed_draws_which_pairs_go_together_and_nothing_else() -> None:
    """The same seed is the same order, bit for bit; another seed another one; what takes no turns does not know seeds."""
    model = hooked("llama")
    task = answered(model, toy_task(12))

    def found(method: str, seed: int) -> np.ndarray:
        scores: np.ndarray = attribute(model, task, method=method, level="edges", rounds=2, seed=seed).per_example
        return scores

    assert np.array_equal(found("learned", 1), found("learned", 1))
    assert not np.array_equal(found("learned", 1), found("learned", 2))
    assert np.array_equal(found("iterated", 1), found("iterated", 2))
