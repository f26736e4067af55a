"""Edges between features: what a feature does to a later one directly, and to the metric past all others.

    score[u->d] = sum_pos (f_u(source) - f_u(base)) * J_u,        J = (d f_d / d f_u)^T rho_d

J is a vector-Jacobian product: rho_d, the coefficient of the metric at d, pulled back through d's encoder and the model to
the place of u. Every dictionary's place in between is held fixed, features and error alike, so that only the direct way
counts: what goes through another feature is that feature's edge (Marks et al. 2024, stop-gradients). An error is a node
like a feature; as a receiver it takes what the features of its place leave of the coefficient there. So the edges from u
to all nodes and to the metric add up to the score of u.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interp.attribution.features.feature_batches import FeatureBatch
from interp.attribution.features.feature_places import edges_of, places_of
from interp.attribution.features.feature_pulls import contracted, pulled
from interp.attribution.features.hosts import Dictionaries
from interp.attribution.methods import METHODS, get_method
from interp.attribution.request import prepare
from interp.attribution.scoring.driver import Attribution
from interp.errors import MethodError
from interp.given import kinds_checked
from interp.model.modules.lock import settled
from interp.parts.nodes import FEATURE_EDGES, FEATURES
from interp.progress import progress
from interp.scores.scores import Scores
from interp.tasks.lengths import by_length
from interp.tasks.task import Task


@kinds_checked
def feature_edges(
    model: Any,
    task: Task | str | Path,
    nodes: Sequence[str],
    *,
    dictionaries: Dictionaries,
    method: str = "relp",
    show_progress: bool | None = None,
    **options: Any,
) -> Scores:
    """The direct effect of each of `nodes` on each later one, and on the metric.

    nodes: features and errors by name, such as the top of the scores of level `features`. method: one with coefficients at
    the base run (`atp`, `relp`, ...). options: those of `interp.attribution.request.prepare`, all positions together.

    Units: those of the metric. Cost: 3 forwards and 1 backward, 2 forwards to find the active features, and for each node the
    part of a backward before it, counted as a whole one.
    Raises: MethodError for a name that is no active node, or another method; what `prepare` raises.
    """
    chosen = get_method(method)
    if not chosen.base_point:
        able = ", ".join(name for name, m in METHODS.items() if m.base_point and m.function)
        raise MethodError(
            f"method {method!r} has no coefficients at the base run to pull back; expected one of {able}."
        )
    if options.get("positions", "all") != "all":
        raise MethodError(
            f"positions={options['positions']!r}: edges of features are scored at all positions together."
        )
    request = prepare(model, task, methods=[method], level=FEATURES, dictionaries=dictionaries, **options)
    if not nodes:
        raise MethodError("nodes: none given; expected names of features and errors, such as the top of their scores.")
    with settled(model.device):
        return _score(request, request.space.named(nodes), show_progress)


def _score(request: Attribution, names: frozenset[str], show_progress: bool | None) -> Scores:
    chosen = request.methods[0]
    places = places_of(request.space.groups, names)  # type: ignore[union-attr]
    edges = list(edges_of(places))
    table = np.zeros((len(request.pairs), len(edges)))
    cost, start = np.array([request.space.spent(), 0.0, 0.0]), time.perf_counter()  # type: ignore[union-attr]
    metrics: list[Any] = []
    indices = list(by_length([pair.length for pair in request.pairs], request.memory.batch_size))
    with progress("edges", len(indices) * (1 + sum(len(p.nodes) for p in places)), show_progress) as advance:
        for index in indices:
            batch = request.batch(index)
            if not isinstance(batch, FeatureBatch):
                raise RuntimeError("edges of features need a batch of features")
            column = 0
            for receiver in pulled(batch, places, chosen.rules):
                found = contracted(batch, places, receiver)
                table[index, column : column + found.shape[1]] = found.double().cpu().numpy()
                column += found.shape[1]
                batch.backwards += 1
                advance(1)
            share = len(index) / len(request.pairs)
            cost[:2] += np.array([batch.forwards, batch.backwards]) * share
            metrics.append((index, *request.metrics_of(batch)))
    cost[2] = time.perf_counter() - start
    scores = request.scores_of(chosen, edges, table, cost, metrics)
    return replace(scores, provenance=replace(scores.provenance, level=FEATURE_EDGES))
