"""Measuring what `circuits.anatomy.anatomy` describes, on the prompts of a run.

Every view is measured by itself; one that this model or level does not have becomes a reason. Cost, in passes over the pairs that
it is measured on: writes 1 forward; neurons and edges 2 forwards and 1 backward each; the strongest edges exactly 2 forwards, and
for each the layers behind its reader, or a forward where the model cannot be restarted; and 3 forwards of three prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from circuits.anatomy.anatomy import (
    ARROWS,
    EDGES,
    LENS,
    NEURONS,
    PATTERNS,
    WRITES,
    Anatomy,
    Effect,
    Missing,
    Neuron,
    TopNeurons,
    Writes,
)
from circuits.anatomy.closeups_edges import between, refuse_without_edges, strongest, with_exact
from circuits.anatomy.closeups_examples import examples_of, heads_of, lens_of, patterns_of, tasks_of
from circuits.anatomy.overview import shown_metric
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.settings.prepared import Prepared, Say
from interp.attribution.asking.planning import plan
from interp.attribution.batching.batch_sizes import survey_batch
from interp.attribution.methods import get_method
from interp.errors import InterpError
from interp.formatting.numbers import number, several
from interp.lenses.direct_effects import DirectEffects, direct_effects
from interp.parts.nodes import FEATURES, Node
from interp.scores.agreement import Agreement
from interp.scores.scores import Scores
from interp.tasks.task import Task

T = TypeVar("T")
MOST_HEADS: Final = 24
MOST_WRITES: Final = 200
EXAMPLE_WRITES: Final = 24
TOKENS: Final = 5
TOP_NEURONS: Final = 8
#: Forwards of each example: patterns, lens, writes.
OVER: Final = 3
#: Levels of a circuit whose heads are nodes, or part of a node.
WITH_HEADS: Final = ("blocks", "heads", "edges")


def look_closely(job: Prepared, scores: Scores, circuit: Circuit, say: Say) -> tuple[Anatomy, Scores | None]:
    """The anatomy of a circuit, and for a circuit of heads and MLPs the scores of the edges between them (level `edges`)."""
    views = _Views(job, scores, circuit)
    no_heads: tuple[Node, ...] = ()
    heads = views.measured(PATTERNS, lambda: _heads(job, circuit), no_heads)
    found = Anatomy(examples=examples_of(job))
    found = views.measured(PATTERNS, lambda: patterns_of(job, found, heads[:MOST_HEADS]), found)
    found = views.measured(LENS, lambda: lens_of(job, found), found)
    found = views.measured(WRITES, lambda: _written(job, circuit, found), found)
    no_neurons: tuple[TopNeurons, ...] = ()
    neurons = views.measured(NEURONS, views.neurons, no_neurons)
    edges, arrows = views.linked()
    metric = shown_metric(job.settings.metric, job.task)
    cost = [number(n, 0 if n.is_integer() else 1) for n in views.cost]
    say(
        f"looked at the parts of the circuit with {cost[0]} forwards and {cost[1]} backwards over the pairs, and {OVER} forwards over {several(len(found.examples), 'prompt')}"
    )
    return replace(
        found,
        neurons=neurons,
        arrows=arrows,
        method=views.method,
        missing=tuple(views.missing),
        heads_left=max(0, len(heads) - MOST_HEADS),
        metric=metric.name,
        unit=metric.unit,
    ), edges


class _Views:
    """The views that need scores of their own, the reasons of those that could not be measured, and what was spent: forwards and
    backwards over the pairs."""

    def __init__(self, job: Prepared, scores: Scores, circuit: Circuit) -> None:
        self.job, self.scores, self.circuit = job, scores, circuit
        self.method = scoring_method(job)
        self.missing: list[Missing] = []
        self.cost = (1.0, 0.0)

    def measured(self, view: str, measure: Callable[[], T], otherwise: T) -> T:
        """What `measure` finds; where it refuses, `otherwise`, and the reason is kept."""
        try:
            return measure()
        except InterpError as error:
            if view not in {known.view for known in self.missing}:
                self.missing.append(Missing(view, str(error)))
            return otherwise

    def neurons(self) -> tuple[TopNeurons, ...]:
        """The neurons with the largest scores of every MLP in the circuit."""
        level = self.circuit.level
        if level == FEATURES:
            raise CircuitError("the nodes of this circuit are features, not MLPs or neurons.")
        mlps = dict.fromkeys(
            Node("mlp", n.layer, stack=n.stack) for n in self.circuit.nodes if n.kind in ("mlp", "neuron")
        )
        if not mlps:
            raise CircuitError("this circuit holds no MLP.")
        scores = self.scores if level == "neurons" else self._score("neurons")
        if level == "neurons":
            self.method = scores.provenance.method
        return tuple(_top_neurons(scores, mlp) for mlp in mlps)

    def linked(self) -> tuple[Scores | None, Agreement | None]:
        """The edges, exact where that could be measured, and how the estimates agree with it."""
        estimates = self.measured(EDGES, self.edges, None)
        if estimates is None:
            return None, None
        unchecked: tuple[Scores, Agreement | None] = (estimates, None)
        return self.measured(ARROWS, lambda: self.arrows(estimates), unchecked)

    def edges(self) -> Scores:
        """Estimates of the edges whose ends are both in the circuit, or are the embedding or the logits."""
        refuse_without_edges(self.circuit)
        return between(self.circuit, self._score("edges"), self.job.model.layout)

    def arrows(self, estimates: Scores) -> tuple[Scores, Agreement | None]:
        """The edges with the strongest of them patched exactly, and how the estimates of these agree."""
        exact = self._score("edges", "exact", strongest(estimates))
        return with_exact(estimates, exact, self.job.settings.seed)

    def _score(self, level: str, method: str = "", parts: Sequence[str] | None = None) -> Scores:
        """Parts of another level on the pairs that were scored: all with one backward pass, or some by another method."""
        method = method or self.method
        request = self.job.settings.elsewhere(method, level, parts=parts)
        found = plan(self.job.model, self.job.scoring, request).score()[method]
        self.cost = (self.cost[0] + found.provenance.forwards, self.cost[1] + found.provenance.backwards)
        return found


def scoring_method(job: Prepared) -> str:
    """What neurons and edges are scored by: the leading preset of the run, else `relp`, else plain gradients.

    A method takes one backward pass, and gives scores with a sign.
    """
    leading = get_method(job.leading)
    if leading.base_point and not leading.unsigned and leading.scores("edges") and leading.scores("neurons"):
        return leading.name
    return "atp" if job.model.coverage(get_method("relp").rules).unsupported else "relp"


def _top_neurons(scores: Scores, mlp: Node) -> TopNeurons:
    own = [
        i
        for i, p in enumerate(scores.parts)
        if isinstance(p, Node) and (p.kind, p.layer, p.stack) == ("neuron", mlp.layer, mlp.stack)
    ]
    means = scores.mean
    first = sorted(own, key=lambda i: (-abs(means[i]), i))[:TOP_NEURONS]
    neurons = tuple(Neuron(scores.parts[i].name, float(means[i])) for i in first)
    return TopNeurons(mlp.name, len(own), neurons)


# ---------------------------------------------------------------- heads and writes


def _heads(job: Prepared, circuit: Circuit) -> tuple[Node, ...]:
    if circuit.level not in WITH_HEADS:
        raise CircuitError(f"the nodes of this circuit are {circuit.level}, not heads.")
    found = heads_of(circuit, job.model.layout)
    if not found and any(node.head is not None for node in circuit.nodes):
        raise CircuitError(
            "the heads of this circuit are of another stack, and examples have the positions of the last one: "
            "interp.attention_patterns(model, prompt, stack=...)."
        )
    if not found:
        raise CircuitError("this circuit holds no head.")
    return found


def writers_of(circuit: Circuit) -> tuple[Node, ...]:
    """The nodes of a circuit that add something to the stream; the embedding, which is in every circuit of nodes, is last."""
    beside = (Node("embed"),) if circuit.level in ("blocks", "heads") else ()
    found = (n for n in (*circuit.nodes, *beside) if not (n.kind == "logits" or n.grouped))
    return tuple(dict.fromkeys(found))


def _written(job: Prepared, circuit: Circuit, found: Anatomy) -> Anatomy:
    """The anatomy with what the most important nodes write: on average, and the first of them on each example."""
    nodes = writers_of(circuit)
    whole = _effects(job, circuit, job.evaluation, nodes[:MOST_WRITES])
    apart = [
        replace(example, writes=_writes(job.model, _effects(job, circuit, task, nodes[:EXAMPLE_WRITES])))
        for example, task in zip(found.examples, tasks_of(job), strict=True)
    ]
    return replace(
        found,
        examples=tuple(apart),
        writes=_writes(job.model, whole),
        writes_left=max(0, len(nodes) - MOST_WRITES),
        pairs=len(whole.per_example),
        total=float(whole.total.mean()),
    )


def _effects(job: Prepared, circuit: Circuit, task: Task, nodes: Sequence[Node]) -> DirectEffects:
    """What nodes write on the clean prompts of a task."""
    settings = job.settings
    longest = max(pair.length for pair in job.tokens(task))
    return direct_effects(
        job.model,
        task,
        nodes,
        k=TOKENS,
        dictionaries=settings.dictionaries,
        split_positions=circuit.split_positions,
        batch_size=survey_batch(job.model, longest, settings.batch_size, settings.max_memory),
    )


def _writes(model: Any, effects: DirectEffects) -> tuple[Writes, ...]:
    rows = zip(
        effects.nodes, effects.mean, effects.up, effects.up_logits, effects.down, effects.down_logits, strict=True
    )
    return tuple(
        Writes(node.name, float(direct), _tokens(model, up, raised, 1), _tokens(model, down, lowered, -1))
        for node, direct, up, raised, down, lowered in rows
    )


def _tokens(model: Any, ids: Sequence[int], logits: Sequence[float], sign: int) -> tuple[Effect, ...]:
    """Tokens and logits, of those that have the sign: a node that is silent writes nothing."""
    return tuple(Effect(model.output_text(int(t)), float(v)) for t, v in zip(ids, logits, strict=True) if sign * v > 0)
