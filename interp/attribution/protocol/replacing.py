"""Runs with parts at constants, differentiable in these: what optimal ablation learns by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.edge_maps import POSITION, EdgeMap
from interp.attribution.edges.writers import EMBED
from interp.learning.optimal import Constants, Out, Replacing
from interp.ledger import spend
from interp.model.edits import Edit
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.precision import wide


def replacing_nodes(model: Any, groups: Sequence[Group]) -> Replacing:
    """Nodes replaced where they are patched."""
    units = {group.site: group.n_units for group in groups}

    def run(ids: Tensor, keep: int, constants: Constants, out: Out) -> Tensor:
        edits = [Edit(g.site, partial(_mixed, g, constants[g.site], out[g.site])) for g in groups if g.site in out]
        return model.run(ids, edits=edits, logits_to_keep=keep).logits  # type: ignore[no-any-return]

    return Replacing(units, run, model.check_gradients)


def _mixed(group: Group, constant: Tensor, out: Tensor, x: Tensor) -> Tensor:
    """x [batch pos ...] with some nodes of each prompt at the constant. out: bool [batch unit]."""
    chosen = out.to(x.device)[:, None]
    return torch.where(chosen[..., None] if group.view.vector and group.view.units else chosen, constant.to(x), x)


def replacing_writers(edges: EdgeMap) -> Replacing:
    """Writers replaced for all that read them: the constant is of what `Writers.seen` gives."""
    graph, model = edges.graph, edges.writers.model
    units: dict[Any, int] = {EMBED: 1} | ({POSITION: 1} if graph.split_positions else {})
    units |= {step.site: len(step.writers) for step in graph.steps}

    def run(ids: Tensor, keep: int, constants: Constants, out: Out) -> Tensor:
        edits = _edits(edges, ids, constants, out) if out else []
        return model.run(ids, edits=edits, logits_to_keep=keep).logits  # type: ignore[no-any-return]

    return Replacing(units, run, model.check_gradients)


def _edits(edges: EdgeMap, ids: Tensor, constants: Constants, out: Out) -> list[Edit]:
    edits = [Edit(EMBED, partial(_embeds, edges, ids, constants, out))]
    for step in edges.graph.steps:
        constant, chosen = constants[step.site], out[step.site]
        if step.kind != "head":
            edits.append(Edit(step.site, partial(_whole, constant, chosen)))
            continue
        held: list[Tensor] = []
        edits.append(Edit(step.site, partial(_kept, held)))
        edits.append(Edit(Site("attn_out", step.layer), _heads(edges, step.layer, constant, chosen, held)))
    return edits


def _kept(held: list[Tensor], x: Tensor) -> Tensor:
    held[:] = [x]
    return x


def _heads(edges: EdgeMap, layer: int, constant: Tensor, out: Tensor, held: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """What attention adds, with some heads at the constant, for z as it was held."""

    def apply(x: Tensor) -> Tensor:
        z = edges.writers.scaled(layer, wide(held[0]))
        change = (constant.to(z) - z) * out.to(z)[:, None, :, None]
        W_O = edges.writers.W_O(layer).to(z)
        spend(change.numel() * W_O.shape[-1])
        return x + (change.flatten(2) @ W_O.flatten(0, 1)).to(x)

    return apply


def _whole(constant: Tensor, out: Tensor, x: Tensor) -> Tensor:
    return torch.where(out.to(x.device)[:, None], constant.to(x), x)


def _embeds(edges: EdgeMap, ids: Tensor, constants: Constants, out: Out, x: Tensor) -> Tensor:
    """The embedding, or token and position apart, at constants."""
    if not edges.graph.split_positions:
        return _whole(constants[EMBED], out[EMBED], x)
    position, fixed = edges.writers.position_part(ids, x), constants[POSITION].to(x)
    token = _whole(constants[EMBED].to(x) - fixed, out[EMBED], x - position)
    return token + _whole(fixed, out[POSITION], position.expand_as(x))
