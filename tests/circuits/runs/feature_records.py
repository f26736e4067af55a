"""A record of a run over features, with what is known of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from circuits.anatomy.feature_study import Beside, DictionaryFacts, FeatureStudy, Look
from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation, Point
from circuits.runs.record import Record
from interp.dictionaries.evaluation.dashboard_values import Dashboard, Example, Histogram, LogitEffects, TokenEffect
from interp.parts.graph import Edge
from interp.parts.nodes import Node
from interp.scores.agreement import agreement
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores
from tests.circuits.runs.records import an_evaluation, some_prompts
from tests.interp.formatting.tags import Text, same
from tests.interp.scores.random_scores import PAIRS, provenance

SITES = ("resid_post.0", "mlp_out.1", "resid_post.1")

SIZES = (1, 5, 12, 20)


def nodes() -> tuple[Node, ...]:
    found: list[Node] = []
    for site in SITES:
        kind, layer = site.split(".")
        found += [Node(f"{kind}.feature", int(layer), unit) for unit in (3, 7, 8, 11, 30, 41, 52)]
        found.append(Node(f"{kind}.error", int(layer)))
    return tuple(found)


def scored(method: str, seed: int, text: Text = same) -> Scores:
    parts, rng = nodes(), np.random.default_rng(0)
    truth = rng.normal(size=len(parts)) ** 3
    own = np.random.default_rng(seed)
    table = truth + 0.1 * seed * own.normal(size=len(parts)) + 0.2 * own.normal(size=(PAIRS, len(parts)))
    lines = tuple(f"{site}: 64 features, {text('mine')}, sha256 0a1b" for site in SITES)
    return Scores(parts, table, provenance(method, level="features", dictionaries=lines, n_pairs=PAIRS))


def edges(seed: int = 4) -> Scores:
    rank = {site: i for i, site in enumerate(SITES)}

    def row(node: Node) -> int:
        return rank[f"{node.kind.rpartition('.')[0]}.{node.layer}"]

    found = [Edge(a, b) for a in nodes() for b in nodes() if row(a) < row(b)] + [
        Edge(a, Node("logits")) for a in nodes()
    ]
    table = np.random.default_rng(seed).normal(size=(PAIRS, len(found))) + np.random.default_rng(1).normal(
        size=len(found)
    )
    return Scores(tuple(found), table, provenance("relp", level="feature_edges", n_pairs=PAIRS))


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.02, value + 0.03)


def judged(errors: Any, shift: float) -> Evaluation:
    curve = tuple(Point(size, estimate(size / 20 - shift), (0.0, 0.1)) for size in SIZES)
    return an_evaluation(
        curve=curve, size=5, n_nodes=21, counts="features", errors=errors, faithfulness=estimate(0.25 - shift)
    )


def look(node: Node, text: Text) -> Look:
    tokens = tuple(text(t) for t in (" The", " dogs", " near", " it"))
    example = Example(2, 1, 1, tokens, (None, 4.0, 1.0, 0.0))
    effects = LogitEffects(
        tuple(TokenEffect(i, text(f" up{i}"), 0.5 - 0.1 * i) for i in range(3)),
        tuple(TokenEffect(9 + i, text(f" down{i}"), -0.4 + 0.1 * i) for i in range(3)),
    )
    board = Dashboard(
        node.unit or 0, "asked for", 100, 25, 2.0, 4.0, Histogram(1.0, (20, 5)), (example,), (), effects, (), ()
    )
    return Look(node.name, board)


def one_name(text: Text) -> Text:
    """The same text for the same name of a dictionary: scores of different dictionaries could not be compared."""
    mine = text("mine")
    return lambda given: mine if given == "mine" else text(given)


def a_study(circuit: Circuit, text: Text = same) -> FeatureStudy:
    facts = tuple(DictionaryFacts(site, site, text("mine"), "TopK", 64, 7, 8.25, 0.87, f"{site}: 64") for site in SITES)
    neurons = Beside("neurons", "relp", 2048, 3.5, -1.0, tuple(Point(s, estimate(s / 40), ()) for s in SIZES))
    heads = Beside("heads", "relp", 10, 3.5, -1.1, tuple(Point(s, estimate(s / 10), ()) for s in (1, 5)))
    looks = tuple(look(part, text) for part in circuit.parts if isinstance(part, Node))
    return FeatureStudy(facts, judged("removed", 0.1), (neurons, heads), looks, "relp")


def a_record(text: Text = same) -> Record:
    relp, exact = scored("relp", 1, text), scored("exact", 0, text)
    chosen = [relp.parts[i] for i in relp.rank() if not relp.parts[i].kind.endswith(".error")][:5]
    p = relp.provenance
    circuit = Circuit(tuple(chosen), "features", p.model, p.task, "relp", "n=5", dictionaries=p.dictionaries)
    return Record(
        manifest={"status": "complete"},
        scores=(relp,),
        exact=exact,
        agreements=(agreement(relp, exact, sampled="all features"),),
        circuit=circuit,
        evaluation=judged("kept", 0.0),
        prompts=some_prompts(text)[:1],
        accuracy={"clean": 0.9, "corrupt": 0.1},
        features=a_study(circuit, text),
        feature_edges=edges(),
    )
