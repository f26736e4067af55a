"""Edge attribution along paths from base to source, for every edge of six architectures, against the slow twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.attribution.edges import edge_batches
from interp.attribution.request import attribute, attribute_all
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, agree, ready
from tests.interp.attribution.edges.edge_twin import EdgeGradients, Prompts
from tests.interp.attribution.level_edges.test_edge_patching import EVERY
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

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


@pytest.mark.broad
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


@pytest.mark.broad
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


@pytest.mark.broad
@BOTH
@pytest.mark.parametrize("name", EVERY)
def test_how_many_points_are_added_up_does_not_matter(name: str, kv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points contracted one by one, two by two, and all together, on every architecture; also at each position apart."""
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        kept = 4 * 2 * 6 * model.layout.d_model * model.layout.n_layers
        for method in ("eap-ig", "clean-corrupted", "eap-ig-activations"):
            steps = {} if method == "clean-corrupted" else {"steps": 3}
            found = []
            for points in (1, 2, 100):
                monkeypatch.setattr(edge_batches, "TERM_BYTES", points * kept)
                options = {"level": "edges", "positions": "each", "kv": kv, **steps}
                found.append(attribute(model, toy_task(2), method=method, **options).per_example)
            for other in found[1:]:
                assert (
                    np.abs(other - found[0]).max() <= 1e-11 * np.abs(found[0]).max() and np.abs(found[0]).max() > 1e-6
                )
