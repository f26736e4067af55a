"""Which runner a level has: that of nodes, of edges, or of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import labels_of
from circuits.evaluation.running.edge_runner import EdgeRunner
from circuits.evaluation.running.feature_runner import FeatureRunner
from circuits.evaluation.running.node_runner import NodeRunner
from circuits.evaluation.running.runner import Runner, check_dictionaries
from interp.attribution.batching.batch_sizes import parse_bytes, survey_batch
from interp.attribution.batching.positions import Label
from interp.attribution.features.hosts import Dictionaries, resolved
from interp.attribution.protocol.spaces import space_of
from interp.attribution.scoring.memory import Work, learning_batch
from interp.errors import unknown
from interp.parts.graph import KeyValue, Part
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES
from interp.scores.scores import Scores
from interp.tasks.ablations import ABLATIONS, check_direction
from interp.tasks.find import task as find_task
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS, check_wrong, get_metric
from interp.tasks.pairs.token_pairs import digest
from interp.tasks.replacements import Ablation, kind_of
from interp.tasks.task import Task

#: The share of the memory allowed that circuits which run together may take, and what is kept of their batches; a quarter
#: goes to the prompts of a batch, and the rest is room for what allocators hold on to.
SHARE: Final = 1 / 6
#: The same of the features of a batch, of which nothing is kept.
FEATURE_SHARE: Final = 1 / 3


def make_runner(
    model: Any,
    task: Task | str | Path,
    level: str,
    *,
    ablation: str | Ablation = "counterfactual",
    metric: str | Metric | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    kv: KeyValue = "shared",
    split_positions: bool = False,
    positions: str = "all",
    labels: Sequence[Label] = (),
    dictionaries: Dictionaries | None = None,
    errors: str = "kept",
    listed: Sequence[Part] = (),
) -> Runner:
    """The runner of a level; `kv` and `split_positions` say which graph the edges of level `edges` belong to, `positions` and
    `labels` which positions they are apart at, as `Circuit` has them.

    ablation: a name, or one that was learned on other pairs. max_memory: what the runs may take above the model. dictionaries: of level `features`, as `interp.attribution.request.prepare` takes them. errors: there `kept` in every circuit, or `removed`.
    listed: features that are parts there, beside those that are active on these pairs.
    Raises: CircuitError for a level without circuits; MethodError for an ablation that does not exist, and prompts that have no such
    positions.
    """
    if level not in CIRCUIT_LEVELS:
        raise CircuitError(unknown("level of circuits", level, CIRCUIT_LEVELS))
    check_direction(kind_of(ablation), "noise")
    found, measured = find_task(task, model), get_metric(metric)
    check_wrong(measured, found)
    model, measured = measured.on(model)
    given = resolved(model, level, dictionaries)
    if max_memory is not None:
        batch_size = _batch_size(
            model, found, level, ablation, measured, batch_size, max_memory, kv=kv, split_positions=split_positions
        )
    share = share_of(max_memory, level)
    if measured.normalised:
        measured = METRICS["logit_diff"]
    if level == FEATURES:
        return FeatureRunner(
            model, found, given, ablation=ablation, metric=measured, seed=seed, batch_size=batch_size,
            most_bytes=share, errors=errors, listed=listed,
        )  # fmt: skip
    if level != "edges":
        return NodeRunner(model, found, level, ablation, measured, seed, batch_size, share)
    return EdgeRunner(
        model,
        found,
        ablation=ablation,
        metric=measured,
        seed=seed,
        batch_size=batch_size,
        kv=kv,
        split_positions=split_positions,
        positions=positions,
        labels=labels,
    )


def _batch_size(
    model: Any,
    task: Task,
    level: str,
    ablation: str | Ablation,
    metric: Metric,
    batch_size: int | None,
    max_memory: int | str,
    *,
    kv: KeyValue,
    split_positions: bool,
) -> int:
    """Prompts per batch that fit into the memory allowed, also while the ablation is learned, where it is."""
    pairs = task.tokenize(model.tokenizer, model.outputs, several=metric.several)
    size = survey_batch(model, max(p.length for p in pairs), batch_size, max_memory)
    if isinstance(ablation, Ablation) or ABLATIONS[ablation].learn is None or level == FEATURES:
        return size
    work = Work.of(model, space_of(model, level, kv, split_positions), (), metric, pairs, 1, learns=True)
    return learning_batch(work, size, max_memory)


def share_of(max_memory: int | str | None, level: str) -> int | None:
    """Bytes of the memory allowed that circuits which run together may take, or the features of a batch; None for the usual."""
    return (
        None if max_memory is None else int(parse_bytes(max_memory) * (FEATURE_SHARE if level == FEATURES else SHARE))
    )


def runner_for(
    model: Any, task: Task | str | Path, of: Circuit | Scores, also: Scores | None = None, **options: Any
) -> Runner:
    """The runner of the level and graph of a circuit, or of scores; `options` as in `make_runner`, of which `listed` adds to the
    features of both.

    Raises: CircuitError where the features are those of other dictionaries, and for the name of an ablation that is learned where the
    pairs are not those that were scored.
    """
    known: Any = of if isinstance(of, Circuit) else of.provenance
    scored = of.scored_pairs if isinstance(of, Circuit) else of.provenance.pairs
    _check_learned(model, task, options.get("ablation", "counterfactual"), scored, options.get("metric"))
    if known.level == FEATURES:
        options["listed"] = (*options.get("listed", ()), *of.parts, *(also.parts if also is not None else ()))
    if known.level == "edges":
        labels = of.labels if isinstance(of, Circuit) else labels_of(of)
        options |= {
            "kv": known.kv,
            "split_positions": known.split_positions,
            "positions": known.positions,
            "labels": labels,
        }
    found = make_runner(model, task, known.level, **options)
    check_dictionaries(known.dictionaries, getattr(found, "dictionaries", ()))
    return found


def _check_learned(
    model: Any, task: Task | str | Path, ablation: str | Ablation, scored: Sequence[str], metric: str | Metric | None
) -> None:
    """Raises: CircuitError for constants that would be learned on pairs that were held out."""
    if isinstance(ablation, Ablation) or ABLATIONS[ablation].learn is None or not scored:
        return
    pairs = find_task(task, model).tokenize(model.tokenizer, model.outputs, several=get_metric(metric).several)
    if others := len([h for h in digest(pairs) if h not in scored]):
        raise CircuitError(
            f"ablation={ablation!r} learns its values, and {others} of these {len(pairs)} pairs were not scored: what they judge must not be "
            "learned on them. Give the ablation of the scores: ablation=interp.learned_ablation(model, scored_task, level=...)."
        )
