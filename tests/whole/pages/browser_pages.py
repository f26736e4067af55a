"""Pages of every kind, made by hand with any text in every place where a page holds text from outside; no model is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from circuits.anatomy.anatomy import Anatomy, Effect, Example, LensRow, Missing, Neuron, Pattern, TopNeurons, Writes
from circuits.anatomy.prompts import Prompt
from circuits.circuit.circuit import Circuit
from circuits.comparison.matching import side_by_side
from circuits.evaluation.areas import ranking_areas_on
from circuits.evaluation.assessment import Assessment
from circuits.evaluation.hypotheses import hypothesis_on
from circuits.evaluation.minimality import leave_one_out_on
from circuits.report.pages import circuit_page, render, render_assessment, render_training
from circuits.report.standalone import circuit_picture
from circuits.runs.record import Record
from interp.parts.nodes import Node
from tests.circuits.evaluation.running.hand import Hand, additive, weighted
from tests.circuits.report import test_report_dictionary, test_report_edges
from tests.circuits.report.sections import test_area_curves
from tests.circuits.runs import edge_records, feature_records, records
from tests.interp.scores import random_scores

Text = Callable[[str], str]
#: Tokens of each prompt on the page that holds most of them.
TOKENS = 36
EDGES = edge_records.SMALL.edges


def same(text: str) -> str:
    return text


def words(text: Text, n: int) -> tuple[str, ...]:
    return tuple(text(f" word{i}") for i in range(n))


# ------------------------------------------------------------ reports of runs


def anatomy(text: Text, circuit: Circuit) -> Anatomy:
    """Two prompts with patterns, lens and writes, and the neurons of an MLP; every token, name and reason from outside."""

    def writes(node: str) -> Writes:
        return Writes(node, 0.5, *(tuple(Effect(one, logit) for one in words(text, 3)) for logit in (1.5, -0.5)))

    names = [part.name for part in circuit.parts if isinstance(part, Node)]
    heads = [part.name for part in circuit.parts if isinstance(part, Node) and part.kind == "head"]
    rows = tuple(tuple(1000 // (i + 1) * (j <= i) for j in range(6)) for i in range(6))
    examples = tuple(
        Example(
            words(text, 6), (text(" it"),), (text(" me"),), 0, tuple(Pattern(head, rows) for head in heads),
            tuple(LensRow(f"resid_post.{i}", words(text, 5), (0.5, 0.2, 0.1, 0.1, 0.1), 1.0, 1, 2, 0.5, 0.2) for i in range(2)),
            tuple(map(writes, names)),
        )
        for _ in range(2)
    )  # fmt: skip
    neurons = (TopNeurons("m0", 512, (Neuron("m0.n3", 0.5), Neuron("m0.n5", -0.25))),)
    return Anatomy(
        examples, tuple(map(writes, names)), neurons, text("all pairs"), (Missing("edges", text("too many") or "why"),),
        pairs=8, metric=text("logit_diff") or "metric", unit=text("logits") or "unit", total=2.0,
    )  # fmt: skip


def node_record(text: Text) -> Record:
    """With edges between its nodes, and all that can be known of them."""
    record = records.a_record(text)
    assert record.circuit is not None
    edges = edge_records.edge_scores(EDGES, 1, "relp")
    return replace(record, anatomy=anatomy(text, record.circuit), node_edges=edges)


def edge_record(text: Text) -> Record:
    """Prompts and positions of their own for every edge."""
    return replace(test_report_edges.hostile(text), exact=None, prompts=records.some_prompts(text))


def feature_record(text: Text) -> Record:
    return feature_records.a_record(feature_records.one_name(text))


def many_prompts(text: Text) -> Record:
    """As many prompts as a page shows, every token another text."""
    prompts = tuple(Prompt(words(text, TOKENS), words(text, TOKENS), (" it",), (" me",), 1.0, -1.0) for _ in range(12))
    return replace(records.a_record(text), prompts=prompts)


# ------------------------------------------------------------ circuits, alone and side by side


def one_run(text: Text, seed: int, n: int, command: int = 0, **known: str) -> Record:
    """A run whose circuit is the top `n` of the nodes, with edges between them. `command`: how many words its command has."""
    parts = random_scores.head_nodes()[1:]
    known = {"task": text("they_plural"), "rules": text("frozen"), **known}
    scores = random_scores.some_scores(parts, seed, method=text("relp") or "method", **known)
    chosen = tuple(parts[i] for i in scores.rank()[:n])
    named = {"model": scores.provenance.model, "task": known["task"], "method": scores.provenance.method}
    circuit = Circuit(chosen, "heads", **named, selection=text(f"n={n}"))
    found = records.an_evaluation(metric=text("logit_diff"), unit=text("logits"), ablation=text("counterfactual"))
    edges = edge_records.edge_scores(EDGES, seed, "relp")
    manifest = {"command": ["circuits", *words(text, command)]}
    return Record(manifest, (scores,), circuit=circuit, evaluation=found, node_edges=edges)


def side(text: Text) -> str:
    """Two runs of one model, in one unit, which differ in all else."""
    known = {name: text(name) or name for name in ("model", "unit", "metric")}
    runs = [one_run(text, seed, n, 60, **known) for seed, n in ((1, 12), (2, 16))]
    return side_by_side(*runs, names=(text("runs/one"), text("runs/two"))).render()


def circuit_alone(text: Text) -> str:
    record = one_run(text, 1, 12, model=text("stories260K"), unit=text("logits"))
    assert record.circuit is not None
    return circuit_page(record.circuit, record.scores[0], record.evaluation, edges=record.node_edges)


def picture(text: Text) -> str:
    """An SVG file."""
    record = one_run(text, 1, 12, model=text("stories260K"), unit=text("logits"))
    assert record.circuit is not None
    return circuit_picture(record.circuit, record.scores[0], record.node_edges).text


# ------------------------------------------------------------ an evaluation, a training


@cache
def measured() -> tuple[Assessment, Circuit]:
    """What a model measures whose metric is a sum."""
    record = test_area_curves.a_run()
    assert record.circuit is not None and record.evaluation is not None
    runner = Hand(additive(weighted(test_area_curves.WEIGHTS)))
    few: dict[str, Any] = {"n_random": 3, "show_progress": False}
    tests = [hypothesis_on(runner, record.circuit, claim, **few) for claim in ("sufficient", "necessary")]
    removed = leave_one_out_on(runner, record.circuit, show_progress=False)
    areas = ranking_areas_on(runner, record.scores[0], **few)
    return Assessment(record.evaluation, *tests, removed, areas), record.circuit


def assessment(text: Text) -> str:
    found, circuit = measured()
    assert found.minimality is not None
    removals = tuple(replace(r, part=text(r.part), kind=text(r.kind)) for r in found.minimality.removals)
    page = replace(
        found,
        evaluation=replace(found.evaluation, metric=text("metric"), unit=text("logits"), ablation=text("zero")),
        sufficient=replace(found.sufficient, statistic=None, reason=text("no other circuit of its size")),
        minimality=replace(found.minimality, removals=removals),
        left_out=words(text, 60),
        without_errors=replace(found.evaluation, faithfulness=replace(found.evaluation.faithfulness, value=None), reason=text("equal ends")),
    )  # fmt: skip
    named = {name: text(name) for name in ("model", "task", "method", "selection")}
    return render_assessment(page, replace(circuit, **named))


def training(text: Text) -> str:
    names = words(text, 2)
    log = [
        {"tokens": 300.0 * i, "loss": 2.0 / i, "l0": 8.0, "explained_variance": 0.08 * i, "dead": 0.01 * i}
        | ({"held_out_l0": 7.5, "held_out_explained_variance": 0.07 * i, "held_out_silent": 0.1} if i % 5 == 0 else {})
        for i in range(1, 11)
    ]
    asked = {
        name: {
            "site": text("resid_post.1"), "target": text("resid_post.1"), "architecture": text("topk"), "d_sae": 64,
            "options": dict(zip(words(text, 3), words(text, 3), strict=True)),
        }
        for name in names
    }  # fmt: skip
    identity = {
        "dictionaries": asked, "model": {"name": text("demo"), "dtype": text("float32")}, "data": {"name": text("demo"), "files": words(text, 60)},
        "batch_tokens": 300, "context": 64, "keep_bos": False, "hold_out": 0.1, "held_out_tokens": 500, "buffer_tokens": 2000,
    }  # fmt: skip
    return render_training({
        "identity": identity, "log": dict.fromkeys(names, log), "environment": {"threads": 1, "torch": text("2.13")}, "steps": 10,
        "source": {"epoch": 1}, "buffer_bytes": 2**21, "seconds": 3.5, "tokens_per_second": 900.0, "peak_memory_bytes": 2**28,
    })  # fmt: skip


KINDS: dict[str, Callable[[Text], str]] = {
    "nodes": lambda text: render(node_record(text)),
    "edges": lambda text: render(edge_record(text)),
    "features": lambda text: render(feature_record(text)),
    "prompts": lambda text: render(many_prompts(text)),
    "dictionary": test_report_dictionary.a_page,
    "training": training,
    "side": side,
    "assessment": assessment,
    "circuit": circuit_alone,
    "picture": picture,
}
