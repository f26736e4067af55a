"""The main job as one function: scores, exact patching, agreement, circuit, evaluation, pictures' data."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from circuits.circuit import ALWAYS, Circuit
from circuits.faithfulness import evaluate, smallest_faithful
from circuits.record import Prompt, Record
from circuits.selection import discover
from interp.ablations import make_ablation
from interp.attribution.batches import by_length, default_batch_size
from interp.attribution.driver import LOW_ACCURACY, Attribution
from interp.attribution.registry import get_method
from interp.attribution.request import prepare
from interp.errors import InterpError
from interp.metrics import METRICS, Metric, get_metric, make_targets
from interp.nodes import CIRCUIT_LEVELS
from interp.oracle import agreement
from interp.rules import PRESETS
from interp.scores import Scores
from interp.tasks.task import Task, TokenPair

EXACT_LIMIT: Final = 400
SAMPLE: Final = 40
SHOWN_PROMPTS: Final = 4
DEFAULT_SIZE: Final = 10
TARGET: Final = 0.9

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """The options of a run, as the command line names them."""

    methods: tuple[str, ...] = ("relp",)
    level: str = "heads"
    positions: str | None = "all"
    direction: str | None = None
    ablation: str = "counterfactual"
    metric: str = "logit_diff"
    n: int | None = None
    ranking: str = "absolute"
    steps: int | None = None
    quadrature: str | None = None
    batch_size: int | None = None
    n_random: int = 20
    seed: int = 0
    hold_out: bool = True


@dataclass(frozen=True)
class Prepared:
    """A checked job: nothing has been written yet, and every error of the input has been raised."""

    model: Any
    settings: Settings
    task: Task
    scoring: Task
    evaluation: Task
    held_out: bool
    request: Attribution


def prepare_run(model: Any, task: Task, settings: Settings) -> Prepared:
    """Split the pairs and check every option against model and task. Raises: InterpError."""
    held_out = settings.hold_out and len(task) > 1
    scoring, held = task.split(settings.seed) if held_out else (task, task)
    request = prepare(model, scoring, methods=settings.methods, **_common(settings), **_path(settings))
    pairs = held.tokenize(model.tokenizer, model.layout.d_vocab)
    if settings.ablation == "resample":
        make_ablation("resample", model, pairs, [], settings.seed, 1)
    size = sum(part.kind not in ALWAYS for part in request.space.parts([None]))
    if settings.n is not None and not 1 <= settings.n <= size:
        raise InterpError(f"n={settings.n}: expected 1 to {size}, the parts of level {settings.level!r}.")
    if settings.n_random < 1:
        raise InterpError(f"random={settings.n_random}: expected 1 random circuit or more.")
    return Prepared(model, settings, task, scoring, held, held_out, request)


def _common(settings: Settings) -> dict[str, Any]:
    """The options that every request of a run shares."""
    names = ("level", "positions", "direction", "ablation", "metric", "batch_size", "seed")
    return {name: getattr(settings, name) for name in names}


def _path(settings: Settings) -> dict[str, Any]:
    """The options of IG methods."""
    return {"steps": settings.steps, "quadrature": settings.quadrature}


def run_discovery(job: Prepared, manifest: dict[str, Any], say: Say) -> Record:
    """Everything that `circuits discover` finds."""
    settings = job.settings
    accuracy = measure_accuracy(job.model, job.task, say)
    say(f"scoring {settings.level} with {', '.join(settings.methods)} on {len(job.scoring)} pairs")
    scores = tuple(job.request.score().values())
    exact, sampled = exact_scores(job, scores, say)
    agreements = tuple(
        agreement(s, exact, seed=settings.seed, sampled=sampled) for s in scores if not s.provenance.exact
    )
    circuit = evaluation = None
    if settings.level in CIRCUIT_LEVELS:
        circuit = choose_circuit(job, scores[0], say)
        say(f"evaluating the circuit on {len(job.evaluation)} {'held-out ' if job.held_out else ''}pairs")
        evaluation = evaluate(
            job.model,
            job.evaluation,
            circuit,
            scores=scores[0],
            ablation=settings.ablation,
            metric=settings.metric,
            n_random=settings.n_random,
            ranking=settings.ranking,  # type: ignore[arg-type]
            seed=settings.seed,
            batch_size=settings.batch_size,
        )
    position_map, labels = score_positions(job, say)
    prompts = show_prompts(job, say)
    return Record(manifest, scores, exact, agreements, circuit, evaluation, position_map, labels, prompts, accuracy)


def choose_circuit(job: Prepared, scores: Scores, say: Say) -> Circuit:
    """The top `n` of the ranking; without `n` the smallest top that is faithful on the pairs that were scored."""
    settings, n = job.settings, job.settings.n
    how = ""
    if n is None:
        say(f"looking for the smallest circuit with faithfulness {TARGET:.0%} on the scored pairs")
        n = smallest_faithful(
            job.model,
            job.scoring,
            scores,
            target=TARGET,
            ranking=settings.ranking,  # type: ignore[arg-type]
            ablation=settings.ablation,
            metric=settings.metric,
            seed=settings.seed,
            batch_size=settings.batch_size,
        )
        how = f", the smallest with faithfulness {TARGET:.0%} on the scored pairs" if n else ", as no size was faithful"
    n = n or min(DEFAULT_SIZE, sum(node.kind != "embed" for node in scores.parts))
    circuit = discover(scores, n=n, ranking=settings.ranking)  # type: ignore[arg-type]
    return replace(circuit, selection=circuit.selection + how)


def run_comparison(job: Prepared, manifest: dict[str, Any], say: Say) -> Record:
    """Everything that `circuits compare` finds: several methods against exact patching, on all pairs."""
    accuracy = measure_accuracy(job.model, job.task, say)
    say(f"scoring {job.settings.level} with {', '.join(job.settings.methods)} on {len(job.scoring)} pairs")
    scores = tuple(job.request.score().values())
    exact, sampled = exact_scores(job, scores, say)
    agreements = tuple(
        agreement(s, exact, seed=job.settings.seed, sampled=sampled) for s in scores if not s.provenance.exact
    )
    return Record(manifest, scores, exact, agreements, accuracy=accuracy)


def exact_scores(job: Prepared, scores: Sequence[Scores], say: Say) -> tuple[Scores, str]:
    """Exact patching of all nodes where they are few, else of a stated sample; and how it was drawn."""
    for known in scores:
        if known.provenance.exact:
            return known, "all nodes"
    parts, sampled = None, "all of them"
    if len(scores[0].parts) > EXACT_LIMIT:
        parts, sampled = _sample(scores, job.settings.seed)
    say(f"checking against exact patching ({sampled})")
    settings = job.settings
    exact = prepare(job.model, job.scoring, methods=["exact"], parts=parts, **_common(settings)).score()["exact"]
    return exact, sampled


def _sample(scores: Sequence[Scores], seed: int) -> tuple[list[str], str]:
    """The top of every ranking, and as many random nodes of each kind."""
    rng = random.Random(seed)
    parts = [replace(node, position=None) for node in scores[0].parts]
    chosen = {parts[i].name for s in scores for i in s.rank()[:SAMPLE]}
    for kind in dict.fromkeys(part.kind for part in parts):
        members = sorted({part.name for part in parts if part.kind == kind})
        chosen |= set(rng.sample(members, min(SAMPLE, len(members))))
    total = len(set(parts))
    return (
        sorted(chosen),
        f"{len(chosen)} of {total} nodes: the top {SAMPLE} of each ranking and {SAMPLE} random ones of each kind, seed {seed}",
    )


def measure_accuracy(model: Any, task: Task, say: Say) -> dict[str, float]:
    """Share of pairs whose logit difference has the right sign: on clean prompts, and reversed on corrupt ones."""
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    right = {
        "clean": float((measure(model, pairs, "clean", METRICS["logit_diff"]) > 0).double().mean()),
        "corrupt": float((measure(model, pairs, "corrupt", METRICS["logit_diff"]) < 0).double().mean()),
    }
    if right["clean"] < LOW_ACCURACY:
        say(
            f"WARNING: the model answers only {right['clean']:.0%} of the clean prompts of {task.name!r} right "
            f"(below {LOW_ACCURACY:.0%}); a circuit for a task that the model cannot do means little."
        )
    return right


def measure(model: Any, pairs: Sequence[TokenPair], which: str, metric: Metric) -> torch.Tensor:
    """A metric at the last position of the `clean` or `corrupt` prompts [example]."""
    found = torch.empty(len(pairs), dtype=torch.float64)
    size = default_batch_size(model, max(p.length for p in pairs))
    for index in by_length([p.length for p in pairs], size):
        batch = [pairs[i] for i in index]
        with torch.no_grad():
            logits = model.run(torch.tensor([getattr(p, which) for p in batch]), logits_to_keep=1).logits[:, -1]
        targets = make_targets(batch, model.layout.d_vocab, logits.device)
        found[index] = metric(logits, targets).double().cpu()
    return found


def score_positions(job: Prepared, say: Say) -> tuple[Scores, tuple[str, ...]]:
    """The residual stream by layer and position, and the tokens of one prompt to label the positions with.

    Prompts of several lengths are aligned at their end. Exact patching of every position is long, so runs by `exact`
    and `random` show gradients here, integrated ones where the metric is flat at the base run.
    """
    settings, method = job.settings, job.settings.methods[0]
    if method in ("exact", "random"):
        method = "atp-ig" if get_metric(settings.metric).toward == "base" else "atp"
    pairs = job.request.pairs
    mode = "each" if len({p.length for p in pairs}) == 1 else "end"
    say(f"mapping layers and positions with {method}")
    options = _common(settings) | {"level": "resid", "positions": mode}
    if get_method(method).uses_steps:
        options |= _path(settings)
    scores = prepare(job.model, job.scoring, methods=[method], **options).score()[method]
    labels = scores.positions()
    shortest = min(pairs, key=lambda p: p.length)
    texts = [job.model.text_of(i) for i in shortest.clean]
    return scores, tuple(texts[label] if isinstance(label, int) else "…" for label in labels)


def show_prompts(job: Prepared, say: Say) -> tuple[Prompt, ...]:
    """The first few pairs as text, with the attribution of the metric to their tokens."""
    from interp.token_attribution import attribute_tokens

    task, metric = job.task.limit(SHOWN_PROMPTS), _shown_metric(job.settings.metric)
    say("attributing to the tokens of a few prompts")
    pairs = task.tokenize(job.model.tokenizer, job.model.layout.d_vocab)
    values = {which: measure(job.model, pairs, which, metric) for which in ("clean", "corrupt")}
    own = next((m for m in job.settings.methods if m in PRESETS and m != "gradient"), "gradient-x-input")
    by_method = {m: attribute_tokens(job.model, task, method=m, metric=metric) for m in ("integrated-gradients", own)}
    text = job.model.text_of
    return tuple(
        Prompt(
            clean_tokens=tuple(map(text, pair.clean)),
            corrupt_tokens=tuple(map(text, pair.corrupt)),
            answers=tuple(map(text, pair.answers)),
            wrong=tuple(map(text, pair.wrong)),
            clean_metric=float(values["clean"][i]),
            corrupt_metric=float(values["corrupt"][i]),
            attributions={m: tuple(map(float, found.values[i])) for m, found in by_method.items()},
            metric=metric.name,
            unit=metric.unit,
        )
        for i, pair in enumerate(pairs)
    )


def _shown_metric(name: str) -> Metric:
    """The run's metric where it is one of a single prompt, else the logit difference."""
    metric = get_metric(name)
    return metric if metric.toward == "clean" and not metric.normalised else METRICS["logit_diff"]
