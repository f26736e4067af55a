"""Edges between features: what a feature does to a later one directly, and to the metric past all others.

    score[u->d] = sum_pos (f_u(source) - f_u(base)) * J_u,        J = (d f_d / d f_u)^T rho_d

J is a vector-Jacobian product: rho_d, the coefficient of the metric at d, pulled back through d's encoder and the model to
the place of u. Every dictionary's place in between is held fixed, features and error alike, so that only the direct way
counts: what goes through another feature is that feature's edge (Marks et al. 2024, stop-gradients). An error is a node
like a feature; as a receiver it takes what the features of its place leave of the coefficient there. So the edges from u
to all nodes and to the metric add up to the score of u.

Axis words: `batch pos d_model`; `unit` counts the nodes of one place whose edges are wanted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.attribution.features.changes import Change
from interp.attribution.features.feature_batches import FeatureBatch
from interp.attribution.features.groups import ErrorGroup, PartGroup
from interp.attribution.features.hosts import Dictionaries
from interp.attribution.methods import METHODS, get_method
from interp.attribution.request import prepare
from interp.attribution.scoring.driver import Attribution
from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError
from interp.given import kinds_checked
from interp.ledger import BACKWARD, product, spend
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.graph import Edge
from interp.parts.nodes import FEATURE_EDGES, FEATURES, Node
from interp.parts.sites import Site, order
from interp.progress import progress
from interp.rules.rules import Rules
from interp.scores.scores import Scores
from interp.tasks.lengths import by_length
from interp.tasks.task import Task

METRIC = Node("logits")


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
    chosen, places = request.methods[0], _places(request, names)
    edges = list(_edges(places))
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
            for receiver in _pulled(batch, places, chosen.rules):
                found = _contracted(batch, places, receiver)
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


# ---------------------------------------------------------------- places and their nodes


@dataclass(frozen=True, eq=False)
class Place:
    """The wanted nodes of one dictionary: some of its listed features (`units` among them), and perhaps its error, last."""

    features: PartGroup | None
    error: ErrorGroup
    units: Tensor
    with_error: bool

    @property
    def dictionary(self) -> Dictionary:
        return self.error.listed.dictionary

    @property
    def target(self) -> Site:
        return self.error.site

    @property
    def nodes(self) -> list[Node]:
        own = [self.features.node(int(u)) for u in self.units] if self.features is not None else []
        return [*own, *([self.error.node(0)] if self.with_error else [])]


def _places(request: Attribution, names: frozenset[str]) -> list[Place]:
    """The places of all dictionaries in forward order; also those without a wanted node, which are held fixed too."""
    groups: dict[Site, list[Any]] = {}
    for group in request.space.groups:  # type: ignore[union-attr]
        groups.setdefault(group.site, []).append(group)
    found = []
    for *features, error in groups.values():
        own = features[0] if features else None
        units = [u for u in range(own.n_units) if own.node(u).name in names] if own is not None else []
        device = error.listed.features.device
        at = torch.tensor(units, dtype=torch.long, device=device)
        found.append(Place(own, error, at, error.node(0).name in names))
    return sorted(found, key=lambda place: order(place.target))


def _edges(places: Sequence[Place]) -> Iterator[Edge]:
    """Every edge: receivers in the order of `_pulled`, and for each its senders in forward order."""
    for place in places:
        for receiver in place.nodes:
            yield from (Edge(sender, receiver) for sender in _senders(places, place.target))
    yield from (Edge(sender, METRIC) for sender in _senders(places, None))


def _before(places: Sequence[Place], target: Site | None) -> list[Place]:
    """The places before a target; all of them before the metric."""
    return [p for p in places if target is None or order(p.target) < order(target)]


def _senders(places: Sequence[Place], target: Site | None) -> Iterator[Node]:
    for place in _before(places, target):
        yield from place.nodes


# ---------------------------------------------------------------- vector-Jacobian products

Receiver = tuple[Site | None, Mapping[Site, Tensor]]


def _pulled(batch: FeatureBatch, places: Sequence[Place], rules: Rules) -> Iterator[Receiver]:
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


# ---------------------------------------------------------------- contraction


def _contracted(batch: FeatureBatch, places: Sequence[Place], receiver: Receiver) -> Tensor:
    """The change of each sender . the coefficient at its place [batch sender]."""
    target, pulled = receiver
    everywhere = torch.ones_like(batch.base_ids, dtype=torch.bool)[None]
    found = []
    for place in _before(places, target):
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
