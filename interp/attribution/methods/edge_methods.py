"""The attribution methods at level `edges`. Each reads like its formula: d_u . (coefficient at reader v).

Shapes: a method returns scores [batch label edge], edges in the order of `Graph.edges`; labels are the positions asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from interp.attribution.batching.quadrature import Points, quadrature
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.writers import EMBED
from interp.attribution.methods import node_methods  # noqa: F401 - methods of nodes get their edges here
from interp.attribution.protocol.registry import Options, edge_method
from interp.model.edits import Edit
from interp.parts.sites import Site
from interp.rules.rules import Rules


def _empty(batch: EdgeBatch, options: Options) -> Tensor:
    """Zero scores [batch label reader writer], in float32 or better."""
    graph, model = batch.map.graph, batch.model
    dtype = torch.float64 if model.dtype is torch.float64 else torch.float32
    shape = len(batch.pairs), len(options.positions), len(graph.readers), len(graph.writers)
    return torch.zeros(shape, dtype=dtype, device=model.device)


def _masks(options: Options) -> Tensor | None:
    """Which positions each label means; None where there is one label for all."""
    return None if len(options.positions) == 1 else options.positions


def _edges(batch: EdgeBatch, scores: Tensor) -> Tensor:
    """[batch label reader writer] -> [batch label edge]."""
    return scores[:, :, torch.from_numpy(batch.map.graph.visible).to(scores.device)]


def base_point(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """First-order estimate of the effect of patching each edge alone, under propagation rules.

    score[u->v] = sum_pos (a_u(source) - a_u(base)) . rho_v(base); rho_v the gradient, or the relevance coefficient, at
    reader v's own copy of the residual stream.

    Units: those of the metric. Cost: 2 forwards, 1 backward, whatever the number of edges. Source: Syed et al. 2023, eq. 3.
    """
    scores = _empty(batch, options)
    batch.contract(scores, _masks(options), rules)
    options.advance(1)
    return _edges(batch, scores)


def between_runs(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """d_u . m_v: the coefficient at reader v's own copy of the stream with every operation averaged between both runs.

    The scores of the edges out of a node add up to the node's own. Units: those of the metric. Cost: 2 forwards, 1 backward.
    Source: Shrikumar et al. 2017; `interp.rules.secants`.
    """
    return base_point(batch, options, rules.at_points(options.steps))


def _path(batch: EdgeBatch, options: Options, rules: Rules, points: Points) -> Tensor:
    """d_u . (weighted sum of the coefficients at points on the way from the base's to the source's embedding)."""
    base, source = batch.base()[EMBED], batch.source()[EMBED]
    scores = _empty(batch, options)
    way = source - base
    moves = [([Edit(EMBED, lambda x, alpha=alpha: (base + alpha * way).to(x))], weight) for alpha, weight in points]  # type: ignore[misc]
    batch.contract(scores, _masks(options), rules, points=moves, advance=options.advance)
    return _edges(batch, scores)


def along_inputs(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """As at the base point, with the coefficient averaged over embeddings between base and source.

    Units: those of the metric. Cost: 2 forwards, and one forward and backward per step. Source: Hanna et al. 2024, eq. 4.
    """
    return _path(batch, options, rules, quadrature(options.quadrature, options.steps))


@edge_method(
    "clean-corrupted",
    formula="d_u . (g_v(base) + g_v(source)) / 2",
    cost="2F + 2B",
    paper="Hanna et al. 2024",
    needs_run=True,
    passes=2,
)
def clean_corrupted(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """The mean of the gradients of both runs: the two ends of the path of integrated gradients.

    Units: those of the metric. Cost: 2 forwards for the values, 2 forwards and 2 backwards for the gradients.
    """
    return _path(batch, options, rules, [(0.0, 0.5), (1.0, 0.5)])


@edge_method(
    "eap-ig-activations",
    formula="d_u . mean over u's own path of g_v",
    cost="2F + (2L + 1) K (F + B)",
    paper="Hanna et al. 2024",
    uses_steps=True,
    per_site=True,
    path="points between base and source value of the sender",
)
def along_activations(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """The gradient averaged while the sender's own value goes from base to source; the heads of a layer go together.

    Only edges out of the writers that move take the gradients of that path.

    Units: those of the metric. Cost: one forward and backward per step for the embedding, each attention and each MLP.
    """
    scores = _empty(batch, options)
    values, embeds = batch.differences()
    writers = batch.map.writers
    moves: list[tuple[Site, range, Callable[[], Tensor]]] = [(EMBED, range(writers.first), lambda: embeds.sum(1))]
    for own in batch.map.graph.steps:
        site = Site("attn_out", own.layer) if own.kind == "head" else own.site
        moves.append((site, own.writers, partial(writers.total, own, values)))
    for site, only, whole in moves:
        step = whole()
        points = [
            ([Edit(site, lambda x, alpha=alpha, step=step: x + (alpha * step).to(x))], weight)  # type: ignore[misc]
            for alpha, weight in quadrature(options.quadrature, options.steps)
        ]
        batch.contract(scores, _masks(options), rules, points=points, only=only, advance=options.advance)
    return _edges(batch, scores)


edge_method(
    "eap",
    formula="d_u . g_v(base)",
    cost="2F + 1B",
    paper="Syed et al. 2023",
    base_point=True,
    first_order=True,
)(base_point)
edge_method(
    "eap-ig",
    formula="d_u . mean over the path of g_v",
    cost="2F + K (F + B)",
    paper="Hanna et al. 2024",
    uses_steps=True,
)(along_inputs)
for _name in ("atp", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim"):
    edge_method(_name)(base_point)
edge_method("deeplift")(between_runs)
for _name in ("atp-ig", "relp-ig"):
    edge_method(_name)(along_inputs)


# ---------------------------------------------------------------- without gradients


@edge_method("random")
def random_edges(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """Scores that know nothing: the baseline that any method must beat."""
    options.generator.manual_seed(options.generator.initial_seed())
    shape = len(options.positions), len(batch.map.graph.edges)
    draw = torch.randn(shape, generator=options.generator, dtype=torch.float64)
    options.advance(1)
    return draw.expand(len(batch.pairs), -1, -1)
