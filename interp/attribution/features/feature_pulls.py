"""The coefficient of a node, pulled back to every place before it, and contracted with what changes there.

Every place is begun anew, so that what goes through a node of another place is that node's. Axis words: `batch pos d_model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interp.attribution.features.changes import Change
from interp.attribution.features.feature_batches import FeatureBatch
from interp.attribution.features.feature_places import Place, before
from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.ledger import BACKWARD, product, spend
from interp.model.edits import Edit
from interp.parts.sites import Site, order
from interp.rules.rules import Rules

Receiver = tuple[Site | None, Mapping[Site, Tensor]]


def pulled(batch: FeatureBatch, places: Sequence[Place], rules: Rules) -> Iterator[Receiver]:
    """For every receiver its place (None: the metric) and its coefficient pulled back to every place before it."""
    _, rho = batch.gradients(rules)
    run = _sever(batch, places, rules)
    leaves = run.leaves
    for place in places:
        for outputs, seeds in _seeds(place, run, rho[place.target], rules):
            spend(BACKWARD * batch.plain_cost)  # as a whole one: see `feature_edges`
            yield (
                place.target,
                _pull(outputs, seeds, {s: x for s, x in leaves.items() if order(s) < order(place.target)}),
            )
    yield None, _pull([run.metric], [torch.ones_like(run.metric)], leaves)


def _pull(outputs: list[Tensor], seeds: list[Tensor], leaves: Mapping[Site, Tensor]) -> dict[Site, Tensor]:
    """Gradients of the outputs at the leaves; those that do not reach one are left out."""
    reached = [x.requires_grad for x in outputs]
    outputs, seeds = ([x for x, r in zip(some, reached, strict=True) if r] for some in (outputs, seeds))
    if not leaves or not outputs:
        return {}
    found = torch.autograd.grad(outputs, list(leaves.values()), seeds, retain_graph=True, allow_unused=True)
    return {site: g for site, g in zip(leaves, found, strict=True) if g is not None}


@dataclass(frozen=True)
class _Severed:
    """The base run with every dictionary's place begun anew: what came in at each (`seen`, with its gradient path, for what a
    dictionary reads and makes up), what goes on (`leaves`), and the metric [batch]."""

    seen: Mapping[Site, Tensor]
    leaves: Mapping[Site, Tensor]
    metric: Tensor


def _sever(batch: FeatureBatch, places: Sequence[Place], rules: Rules) -> _Severed:
    seen: dict[Site, Tensor] = {}
    leaves: dict[Site, Tensor] = {}

    def begin_anew(target: Site) -> Edit:
        def apply(x: Tensor) -> Tensor:
            seen[target], leaves[target] = x, x.detach().requires_grad_()
            return leaves[target]

        return Edit(target, apply)

    read = [p.dictionary.site for p in places if p.dictionary.site not in {q.target for q in places}]
    with torch.enable_grad():
        run = batch.model.run(
            batch.base_ids,
            reads=read,
            edits=[begin_anew(place.target) for place in places],
            rules=rules,
            allow_unsupported=True,
            logits_to_keep=batch.keep,
            vocabulary=batch.columns,
        )
        metric = batch.measure(batch.at_metric(run.logits))
    batch.forwards += 1
    return _Severed({**{site: run[site] for site in read}, **seen}, leaves, metric)


def _seeds(place: Place, run: _Severed, rho: Tensor, rules: Rules) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """For each receiver of a place the tensors that it is made of, and the coefficient of each."""
    listed, entering = place.error.listed, _entering(place, run)
    own = listed.own  # what is not listed is silent here, and dense features of every token would be large
    with torch.no_grad():
        x = entering.to(own.dtype)
        slope = own.activation.slope(listed.encode_all(x))
        each = product(rho.to(own.dtype).flatten(2) * own.scale(x), own.W_dec.T) * slope
    if place.features is not None and len(place.units):
        with torch.enable_grad():
            u = _columns(own, place.units).encoder_output(entering, rules)
        for i, unit in enumerate(place.units.tolist()):
            seed = torch.zeros_like(u)
            seed[..., i] = each[..., unit]
            yield [u], [seed]
    if place.with_error:
        with torch.enable_grad():
            u = own.encoder_output(entering, rules)
        yield [run.seen[place.target], u], [rho.view_as(run.seen[place.target]), -each]


def _entering(place: Place, run: _Severed) -> Tensor:
    """What the dictionary reads [batch pos d_in], with its gradient path. A transcoder that reads another dictionary's place
    reads what goes on there."""
    site = place.dictionary.site
    own = run.seen if site == place.target or site not in run.leaves else run.leaves
    return own[site].flatten(2)


def _columns(d: Dictionary, numbers: Tensor) -> Dictionary:
    """The encoder of some features; what makes them sparse is left to the caller."""
    return replace(d, W_enc=d.W_enc[:, numbers], b_enc=d.b_enc[numbers], W_dec=d.W_dec[numbers], activation=Relu())


def contracted(batch: FeatureBatch, places: Sequence[Place], receiver: Receiver) -> Tensor:
    """The change of each sender . the coefficient at its place [batch sender]."""
    target, pulled = receiver
    everywhere = torch.ones_like(batch.base_ids, dtype=torch.bool)[None]
    found = []
    for place in before(places, target):
        change = batch.change(place.error.listed)
        rho = pulled.get(place.target)
        if rho is None:
            found.append(change.error.new_zeros(len(batch.pairs), len(place.nodes)))
            continue
        wide = rho.to(change.error).view_as(change.error)
        if len(place.units):
            found.append(_some(batch, place, change).scores(wide, everywhere)[:, 0])
        if place.with_error:
            found.append(change.error_scores(wide, everywhere.to(wide.device))[:, 0])
    return torch.cat(found, 1) if found else torch.zeros(len(batch.pairs), 0)


def _some(batch: FeatureBatch, place: Place, change: Change) -> Change:
    """The change of the wanted features alone; made once per batch."""
    if place.target not in batch.parts:
        batch.parts[place.target] = change.some(place.units)
    return batch.parts[place.target]
