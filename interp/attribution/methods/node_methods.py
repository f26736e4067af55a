"""The node attribution methods. Each reads like its formula: d_u . (coefficient), summed within the node.

Shapes: a method returns, per group, scores [batch label unit]; labels are the positions asked for (one, `all`, or many).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.batching.quadrature import quadrature
from interp.attribution.protocol.registry import Options, method
from interp.model.edits import Edit
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import ATTNLRP, CP_LRP, DEEPLIFT, GIM, GRADIENT, RELP, RELP_AH, Rules


def at_base_point(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """First-order estimate of the effect of patching each node alone, under propagation rules.

    score[u] = sum_pos (a_u(source) - a_u(base)) . rho_u(base); rho the gradient, or the relevance coefficient.

    Units: those of the metric. Exact for the plain gradient where the model is linear between u and the metric.
    Cost: 2 forwards, 1 backward, whatever the number of nodes.
    """
    if batch.ablation.has_run:
        batch.source()
    values, gradients = batch.gradients(rules)
    options.advance(1)
    return _contracted(batch, options, values, gradients)


def _between_runs(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """Effects whose sum over any cut through the model is the effect of patching all of it.

    score[u] = sum_pos (a_u(source) - a_u(base)) . m_u, with m_u the gradient in which every operation's Jacobian is averaged
    over the line between its inputs in both runs (`interp.rules.secants`). The score in the other direction is minus this
    one, exactly: where exact patching differs by direction, one of the two must be wrong.

    Units: those of the metric. Cost: 2 forwards, 1 backward, whatever the number of nodes.
    """
    values, multipliers = batch.gradients(rules.at_points(options.steps))
    options.advance(1)
    return _contracted(batch, options, values, multipliers)


def _along_path(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """As at the base point, with the coefficient averaged over embeddings between base and source.

    rho_u = sum_k w_k rho_u(base + alpha_k (source - base)), the path taken at the embedding, of all stacks at once where there are several
    (Sundararajan et al. 2017).

    Units: those of the metric. Cost: 2 forwards, and one forward and backward per step.
    """
    base, source = batch.base(), batch.source()
    steps = {site: source[site] - base[site] for site in batch.embeds}
    total: dict[Site, Tensor] = {}
    for alpha, weight in quadrature(options.quadrature, options.steps):
        points = {site: base[site] + alpha * step for site, step in steps.items()}
        edits = [Edit(site, lambda x, point=point: point) for site, point in points.items()]  # type: ignore[misc]
        _, gradients = batch.gradients(rules, edits)
        _add(total, gradients, weight)
        options.advance(1)
    return _contracted(batch, options, base, total)


def _along_sites(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """As at the base point, with the coefficient averaged over points at the node's own site, all its nodes together.

    rho_u = sum_k w_k rho_u(x_base + alpha_k dx) where x is what is at u's site and dx what all nodes there together change:
    x_source - x_base, but for what the scale of a normalising dictionary or the skip of a transcoder carries. Of a dictionary
    that is straight in its features and its error too, as decoding is affine (Marks et al. 2024).

    Units: those of the metric. Cost: 2 forwards, and for each site one forward and backward per step.
    """
    base, total = batch.base(), dict[Site, Tensor]()
    for site in batch.hosts:
        step = batch.step(site)
        for alpha, weight in quadrature(options.quadrature, options.steps):
            point = (base[site] + alpha * step).to(base[site])
            _, gradients = batch.gradients(rules, [Edit(site, lambda x, point=point: point.requires_grad_())], [site])  # type: ignore[misc]
            _add(total, gradients, weight)
            options.advance(1)
    return _contracted(batch, options, base, total)


def _add(total: dict[Site, Tensor], gradients: Mapping[Site, Tensor], weight: float) -> None:
    """Add weight * gradient at each site, in float32 or better."""
    for site, gradient in gradients.items():
        added = weight * wide(gradient)
        total[site] = total[site] + added if site in total else added


def _contracted(
    batch: Batch, options: Options, base: Mapping[Site, Tensor], coefficient: Mapping[Site, Tensor]
) -> dict[Group, Tensor]:
    """(source - base) . coefficient within each node, summed over the positions of each label."""
    return {group: batch.contracted(group, coefficient, options.positions, base) for group in batch.groups}


for _name, _rules, _paper in (
    ("atp", GRADIENT, "Nanda 2023; Syed et al. 2023"),
    ("relp", RELP, "Jafari et al. 2025"),
    ("relp-ah", RELP_AH, "Jafari et al. 2025; Ali et al. 2022"),
    ("attnlrp", ATTNLRP, "Achtibat et al. 2024"),
    ("cp-lrp", CP_LRP, "Ali et al. 2022"),
    ("gim", GIM, "Edin et al. 2025"),
):
    method(
        _name,
        formula="d_u . g_u(base)" if _rules == GRADIENT else "d_u . rho_u(base)",
        cost="2F + 1B",
        paper=_paper,
        rules=_rules,
        base_point=True,
        first_order=_rules == GRADIENT,
    )(at_base_point)

method(
    "deeplift",
    formula="d_u . m_u, m_u averaged between both runs",
    cost="2F + 1B",
    paper="Shrikumar et al. 2017",
    rules=DEEPLIFT,
    needs_run=True,
    complete=True,
)(_between_runs)

#: The methods along a path: what their formula calls it, and their cost and kind.
_PATHS: Final[dict[Any, tuple[str, dict[str, Any]]]] = {
    _along_path: ("the path", {"cost": "2F + K (F + B)"}),
    _along_sites: (
        "the path at u's site",
        {
            "cost": "2F + S K (F + B), S sites",
            "per_site": True,
            "path": "points between base and source at the node's own site",
        },
    ),
}
for _name, _way, _rules, _paper in (
    ("atp-ig", _along_path, GRADIENT, "Sundararajan et al. 2017; Hanna et al. 2024"),
    ("relp-ig", _along_path, RELP, "Sundararajan et al. 2017; Jafari et al. 2025"),
    ("atp-ig-sites", _along_sites, GRADIENT, "Sundararajan et al. 2017; Marks et al. 2024"),
    ("relp-ig-sites", _along_sites, RELP, "Marks et al. 2024; Jafari et al. 2025"),
):
    _where, _kind = _PATHS[_way]
    method(
        _name,
        formula=f"d_u . mean over {_where} of " + ("g_u" if _rules == GRADIENT else "rho_u"),
        paper=_paper,
        rules=_rules,
        uses_steps=True,
        **_kind,
    )(_way)


@method("random", formula="one draw from N(0, 1) per node", cost="none", paper="baseline")
def random_scores(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """Scores that know nothing: the baseline that any method must beat."""
    size = len(options.positions)
    options.generator.manual_seed(options.generator.initial_seed())
    draws = {g: torch.randn(size, g.n_units, generator=options.generator, dtype=torch.float64) for g in batch.groups}
    options.advance(1)
    return {g: draw.expand(len(batch.pairs), -1, -1) for g, draw in draws.items()}
