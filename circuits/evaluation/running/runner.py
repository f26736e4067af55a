"""Running a model with everything outside a set of parts ablated: one interface for sets of nodes and sets of edges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import torch

from circuits.circuit.circuit import ALWAYS, Circuit, CircuitError
from interp.attribution.batching.batches import Batch, default_batch_size
from interp.attribution.features.hosts import Dictionaries, resolved
from interp.errors import unknown
from interp.model.edits import Edit
from interp.model.lock import settled
from interp.parts.graph import KeyValue, Part
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES, Group, groups, nodes_of
from interp.progress import progress
from interp.scores.scores import Scores
from interp.tasks.ablations import Ablation, Kind, check_direction, make_ablation
from interp.tasks.find import task as find_task
from interp.tasks.lengths import by_length
from interp.tasks.metrics import METRICS, Metric, get_metric
from interp.tasks.task import Task, TokenPair, digest

PartSet = frozenset[Part]
NONE: Final[PartSet] = frozenset()


class Runner(Protocol):
    """What the evaluation of circuits asks of a model and a task; one runner has one level, ablation and metric."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part of the level, without the ones that are in every circuit."""

    @property
    def full(self) -> PartSet:
        """The set that is the whole model: the parts, and at features the errors."""

    @property
    def held(self) -> PartSet:
        """What every circuit has beside its own parts; the model with everything ablated has none of it."""

    @property
    def pairs(self) -> Sequence[TokenPair]:
        """The pairs that the metric is taken on."""

    @property
    def metric(self) -> Metric:
        """What is measured; its normalised form differs by a factor that cancels in every ratio, and is not used."""

    @property
    def ablation(self) -> Ablation:
        """What replaces the value of a part outside a set."""

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        """The metric of every set on every pair [example], everything outside the set ablated.

        Raises: CircuitError where it is not finite.
        """


def make_runner(
    model: Any,
    task: Task | str | Path,
    level: str,
    *,
    ablation: str = "counterfactual",
    metric: str | Metric | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    kv: KeyValue = "shared",
    split_positions: bool = False,
    dictionaries: Dictionaries | None = None,
    errors: str = "kept",
    listed: Sequence[Part] = (),
) -> Runner:
    """The runner of a level; `kv` and `split_positions` say which graph the edges of level `edges` belong to.

    dictionaries: of level `features`, as `interp.attribution.request.prepare` takes them. errors: there `kept` in every circuit, or `removed`.
    listed: features that are parts there, beside those that are active on these pairs.
    Raises: CircuitError for a level without circuits; MethodError for an ablation that does not exist.
    """
    if level not in CIRCUIT_LEVELS:
        raise CircuitError(unknown("level of circuits", level, CIRCUIT_LEVELS))
    check_direction(ablation, "noise")
    found, measured = find_task(task, model), get_metric(metric)
    given = resolved(model, level, dictionaries)
    if measured.normalised:
        measured = METRICS["logit_diff"]
    if level == FEATURES:
        from circuits.evaluation.running.feature_runner import FeatureRunner

        return FeatureRunner(
            model, found, given, ablation=cast(Kind, ablation), metric=measured, seed=seed, batch_size=batch_size,
            errors=errors, listed=listed,
        )  # fmt: skip
    if level != "edges":
        return NodeRunner(model, found, level, cast(Kind, ablation), measured, seed, batch_size)
    from circuits.evaluation.running.edge_runner import EdgeRunner

    return EdgeRunner(
        model,
        found,
        ablation=cast(Kind, ablation),
        metric=measured,
        seed=seed,
        batch_size=batch_size,
        kv=kv,
        split_positions=split_positions,
    )


def runner_for(
    model: Any, task: Task | str | Path, of: Circuit | Scores, also: Scores | None = None, **options: Any
) -> Runner:
    """The runner of the level and graph of a circuit, or of scores; `options` as in `make_runner`.

    Raises: CircuitError where the features are those of other dictionaries.
    """
    known: Any = of if isinstance(of, Circuit) else of.provenance
    if known.level == FEATURES:
        options["listed"] = (*of.parts, *(also.parts if also is not None else ()))
    found = make_runner(model, task, known.level, kv=known.kv, split_positions=known.split_positions, **options)
    check_dictionaries(known.dictionaries, getattr(found, "dictionaries", ()))
    return found


def check_dictionaries(wanted: Sequence[str], given: Sequence[str]) -> None:
    """Refuse dictionaries that are not those that a circuit or scores belong to. Raises: CircuitError."""
    if set(wanted) != set(given):
        odd = [d for d in given if d not in wanted] or ["none for these"]
        lacking = [d for d in wanted if d not in given] or ["no more"]
        raise CircuitError(
            f"these features belong to other dictionaries: given {'; '.join(odd)}; expected {'; '.join(lacking)}."
        )


def check_parts(runner: Runner, parts: Sequence[Part], level: str) -> None:
    """Refuse parts that the runner's model does not have. Raises: CircuitError."""
    known = frozenset(runner.parts)
    if odd := next((part for part in parts if part not in known), None):
        what = {"edges": "an edge", FEATURES: "a feature"}.get(level, "a node")
        raise CircuitError(f"{odd.name} is not {what} of level {level!r} on this model; use parts of this model.")


def is_held_out(scored: Sequence[str], pairs: Sequence[TokenPair], claim: bool | None) -> bool:
    """Whether none of the pairs is among the `scored` hashes. Raises: CircuitError for a claim that is not so."""
    shared = set(scored) & set(digest(pairs))
    if claim and shared:
        raise CircuitError(
            f"held_out=True, but {len(shared)} of the {len(pairs)} pairs were used to choose the circuit."
        )
    return bool(scored) and not shared if claim is None else claim


class NodeRunner:
    """Sets of nodes: a unit outside the set gets its ablated value, a group that is all inside is left alone."""

    def __init__(
        self, model: Any, task: Task, level: str, ablation: Kind, metric: Metric, seed: int, batch_size: int | None
    ) -> None:
        self.model, self.metric, self.kind, self.seed = model, metric, ablation, seed
        self.groups = [g for g in groups(level, model.layout) if g.kind not in ALWAYS]
        self.parts: tuple[Part, ...] = tuple(nodes_of(self.groups, [None]))
        self.full, self.held = frozenset(self.parts), NONE
        self.pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
        self.batch_size = batch_size or default_batch_size(model, max(p.length for p in self.pairs))

    @cached_property
    def ablation(self) -> Ablation:
        """Made when first asked for: means cost a pass over the data."""
        sites = [g.site for g in self.groups]
        return make_ablation(self.kind, self.model, self.pairs, sites, self.seed, self.batch_size)

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        """The metric of every set on every pair [example]. Cost: one forward per set."""
        table = np.empty((len(sets), len(self.pairs)))
        batches = list(by_length([p.length for p in self.pairs], self.batch_size))
        with (
            settled(self.model.device),
            progress("evaluating circuits", len(sets) * len(batches), show_progress) as advance,
        ):
            for index in batches:
                batch = Batch.of(self.model, self.groups, self.pairs, index, self.metric, "noise", self.ablation)
                for row, nodes in enumerate(sets):
                    table[row, index] = batch.patched(self._edits(batch, nodes)).double().cpu().numpy()
                    advance(1)
        if not np.isfinite(table).all():
            raise CircuitError(f"metric {self.metric.name!r} is not finite on an ablated run; try another metric.")
        return dict(zip(sets, table, strict=True))

    def _edits(self, batch: Batch, nodes: PartSet) -> list[Edit]:
        """Ablate every unit that is not in `nodes`."""
        source = batch.source()
        everywhere = torch.ones(batch.base_ids.shape, dtype=torch.bool, device=self.model.device)
        edits = []
        for group in self.groups:
            outside = torch.tensor([group.node(u) not in nodes for u in range(group.n_units)], device=self.model.device)
            if bool(outside.any()):
                edits.append(_ablate(group, source[group.site], outside, everywhere))
        return edits


def _ablate(group: Group, value: torch.Tensor, outside: torch.Tensor, everywhere: torch.Tensor) -> Edit:
    return Edit(group.site, lambda x: group.mix(x, value, outside, everywhere))
