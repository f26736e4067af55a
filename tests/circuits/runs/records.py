"""Records of runs over heads: everything that a run can hold, with any text in every place that holds text from outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from circuits.anatomy.prompts import Prompt
from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation, Point
from circuits.runs.record import Record
from interp.parts.nodes import Node
from interp.scores.agreement import agreement
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores
from tests.interp.formatting.tags import Text, same
from tests.interp.scores.random_scores import LAYERS, PAIRS, POSITIONS, head_nodes, provenance, some_scores

SENTENCE = (
    "<s>",
    " The",
    " girl",
    " and",
    " the",
    " boy",
    " were",
    " playing",
    "\n",
    ' "',
    "They",
    " are",
    " so",
    " nice",
    '"',
    " said",
    " the",
)


def an_evaluation(**changes: Any) -> Evaluation:
    rng = np.random.default_rng(5)
    sizes = [0, 1, 2, 4, 6, 10, 16, 25, 45]
    curve = []
    for size in sizes:
        f = 1 - np.exp(-size / 2.5) + 0.02 * (size == 10)
        middle = (size / 45) ** 1.6
        random = tuple(float(v) for v in middle + 0.12 * rng.normal(size=20) * (0 < size < 45))
        curve.append(Point(size, Estimate(float(f), float(f - 0.06), float(f + 0.05)), random))
    made = Evaluation(
        faithfulness=Estimate(0.93, 0.88, 0.97), completeness=Estimate(0.11, 0.04, 0.19), metric="logit_diff", unit="logits",
        full=3.5, empty=-1.25, circuit=3.1675, size=6, n_nodes=45, ablation="counterfactual", n_pairs=PAIRS, held_out=True,
        curve=tuple(curve), random_above=0.0, n_random=20, seed=7,
    )  # fmt: skip
    return replace(made, **changes)


def some_prompts(text: Text) -> tuple[Prompt, ...]:
    rng = np.random.default_rng(9)
    clean = tuple(text(t) for t in SENTENCE)
    corrupt = tuple(text(t) for t in (*SENTENCE[:4], "", *SENTENCE[5:10], " He", *SENTENCE[11:]))
    found = {text(m): tuple(float(v) for v in rng.normal(size=POSITIONS) ** 3) for m in ("relp", "atp")}
    return tuple(
        Prompt(clean, corrupt, (text(" They"),), (text(" He"), text(" She")), 3.2 + i, -1.1, found) for i in range(3)
    )


def a_record(text: Text = same) -> Record:
    """Everything that a run can hold; every string from outside goes through `text`."""
    nodes = head_nodes()
    known = {"model": text("stories260K"), "task": text("they_plural"), "unit": text("logits"), "rules": text("frozen")}
    relp, exact = some_scores(nodes, 1, method=text("relp"), **known), some_scores(nodes, 0, method="exact", **known)
    order = [nodes[i] for i in relp.rank() if nodes[i].kind != "embed"]
    stream = [Node("resid_pre", layer, position=p) for layer in range(LAYERS) for p in range(POSITIONS)]
    stream += [Node("resid_mid", layer, position=p) for layer in range(LAYERS) for p in range(POSITIONS)]
    stream += [Node("resid_post", LAYERS - 1, position=p) for p in range(POSITIONS)]
    position_map = some_scores(tuple(stream), 0, method="atp", level="resid", positions="each", **known)
    manifest = {
        "seeds": {"scores": 3, "evaluation": 7},
        "versions": {"torch": text("2.13"), "transformers": "5.23"},
        "files": {text("scores/relp.parquet"): text("sha256:0123"), "list": [1, 2.5, None, True, {"deep": text("x")}]},
        "hardware": {"cpu": text("16 cores"), "memory_gib": 128},
        "command": ["circuits", "discover", "--model", text("stories260K"), "--task", text("they_plural")],
        "rules": {text("relp"): {text("RMSNorm"): text("scale frozen (5 modules)")}},
        "seconds": 12.5,
        "status": text("complete"),
    }
    return Record(
        manifest=manifest,
        scores=(relp,),
        exact=exact,
        agreements=(agreement(relp, exact, sampled=text("all nodes")),),
        circuit=Circuit(tuple(order[:6]), "heads", known["model"], known["task"], text("relp"), text("top 6")),
        evaluation=an_evaluation(metric=text("logit_diff")),
        position_map=position_map,
        position_labels=tuple(text(t) for t in SENTENCE),
        prompts=some_prompts(text),
        accuracy={"clean": 0.96, "corrupt": 0.08},
    )


def compare_record() -> Record:
    nodes = head_nodes()
    exact = some_scores(nodes, 0, method="exact")
    found = tuple(some_scores(nodes, i, method=m) for i, m in enumerate(("relp", "atp", "random"), 1))
    return Record({}, found, exact, tuple(agreement(s, exact) for s in found))


def searched_record() -> Record:
    """A comparison with two searches on masks, whose places and rounds have the order of the truth: no estimate agrees as well."""
    record, nodes = compare_record(), head_nodes()
    assert record.exact is not None
    order = np.argsort(np.argsort(record.exact.mean)) / len(nodes)
    known = [("learned", order, "place"), ("iterated", 8 * order, "rounds kept")]
    searches = tuple(
        Scores(nodes, np.tile(values, (PAIRS, 1)), provenance(name, unit=unit, masks="8 rounds"))
        for name, values, unit in known
    )
    found = tuple(agreement(s, record.exact) for s in searches)
    return replace(record, scores=(*searches, *record.scores), agreements=(*found, *record.agreements))
