"""Edge attribution along paths from base to source, for every edge of six architectures, against the slow twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.attribution import attribute, attribute_all
from tests.edge_checks import BOTH, EACH, agree, ready
from tests.edge_twin import EdgeGradients, Prompts
from tests.tiny import toy_task, true_float64

#: Points and weights written out by hand.
QUADRATURES = {
    "midpoint": [(1 / 6, 1 / 3), (1 / 2, 1 / 3), (5 / 6, 1 / 3)],
    "trapezoid": [(0, 1 / 4), (1 / 2, 1 / 2), (1, 1 / 4)],
    "gauss-legendre": [(0.5 - 0.15**0.5, 5 / 18), (0.5, 8 / 18), (0.5 + 0.15**0.5, 5 / 18)],
}


def _averaged(prompts: Prompts, preset: str, points: list[tuple[float, float]], moved: list[str]) -> EdgeGradients:
    """Gradients of base runs in which some writers write base + alpha d, averaged."""
    base, d = prompts.values(prompts.base), prompts.differences()
    runs = [(w, prompts.gradients(preset, written={u: base[u] + a * d[u] for u in moved})) for a, w in points]
    mean = {v: sum(w * g.reads[v] for w, g in runs) for v in runs[0][1].reads}
    return EdgeGradients(mean, {}, runs[0][1].seen)


@EACH
@pytest.mark.parametrize("rule", QUADRATURES)
def test_integrated_gradients_are_a_slow_quadrature(name: str, rule: str) -> None:
    with true_float64():
        model, weights = ready(name)
        prompts, points = Prompts.of(weights, toy_task(2)), QUADRATURES[rule]
        methods = ["eap-ig", "atp-ig", "relp-ig"]
        found = attribute_all(model, toy_task(2), methods=methods, level="edges", steps=3, quadrature=rule)
        for method in methods:
            twin = _averaged(prompts, "relp" if method == "relp-ig" else "gradient", points, ["embed"])
            agree(found[method], twin.score(prompts.differences()).detach().sum(1), twin.edges(), 1e-8)


@EACH
@BOTH
def test_integrated_gradients_of_activations(name: str, kv: Any) -> None:
    """Each group of writers goes its own way from base to source; only its own edges are scored there."""
    with true_float64():
        model, weights = ready(name)
        prompts, points = Prompts.of(weights, toy_task(2), kv=kv), QUADRATURES["midpoint"]
        scores = attribute(model, toy_task(2), method="eap-ig-activations", level="edges", kv=kv, steps=3)
        writers = list(prompts.differences())
        expected = {}
        for group in sorted({u.split(".")[0] for u in writers}):
            members = [u for u in writers if u.split(".")[0] == group]
            twin = _averaged(prompts, "gradient", points, members)
            for edge, score in zip(twin.edges(), twin.score(prompts.differences()).sum(1).T, strict=True):
                if edge[0] in members:
                    expected[edge] = score.detach()
        agree(scores, torch.stack(list(expected.values()), dim=1), list(expected), 1e-8)


@EACH
def test_clean_corrupted_is_the_mean_of_both_runs(name: str) -> None:
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(2))
        scores = attribute(model, toy_task(2), method="clean-corrupted", level="edges")
        d, (one, two) = prompts.differences(), (prompts.gradients(), prompts.gradients(ids=prompts.source))
        agree(scores, (one.score(d) + two.score(d)).detach().sum(1) / 2, one.edges(), 1e-8)
