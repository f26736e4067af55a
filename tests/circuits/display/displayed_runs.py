"""A value of every kind that shows itself, made with any text for its names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
import torch

from circuits.circuit.algebra import Comparison, Overlap
from circuits.circuit.circuit import Circuit
from circuits.comparison.transfers import Transfer
from circuits.evaluation.evaluation import Evaluation, Search
from circuits.runs.record import Record
from interp.examples.mechanisms import Mechanisms, Tried
from interp.examples.shared_traits import Shared
from interp.heads.clusters import head_clusters
from interp.heads.patterns import AttentionPatterns
from interp.lenses.class_lens import ClassLens
from interp.lenses.direct import LogitAttribution
from interp.model.coverage.coverage import Coverage
from interp.model.coverage.treatments import Row
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.pictures.input_picture import Picture
from interp.rules.rules import RELP
from interp.scores.agreement import Agreement
from interp.scores.scores import Scores
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from tests.circuits.runs.edge_records import edge_record, edge_scores
from tests.interp.display.displayed import (
    dictionary_of,
    effects_of,
    lens_of,
    model_of,
    paths_of,
    probe_of,
    provenance,
    tokens_of,
)
from tests.interp.display.displayed_depth import chains_of, dropped_of, layer_use_of, match_of
from tests.interp.display.displayed_heads import (
    head_distances_of,
    head_relations_of,
    head_statistics_of,
    pairs_of,
    second_order_of,
)
from tests.interp.display.displayed_parts import (
    last_block_of,
    neurons_of,
    probes_of,
    response_of,
    sources_of,
    subspace_of,
)


def an_evaluation(name: str) -> Evaluation:
    found = record().evaluation
    assert found is not None
    return replace(found, metric=name, unit=name, ablation=name)


def scores_of(name: str) -> Scores:
    return edge_scores(record().scores[0].edges, 1, **provenance(name))


def agreement_of(name: str) -> Agreement:
    found = record().agreements[0]
    return replace(found, method=name, sampled=name, rows=tuple(replace(row, kind=name) for row in found.rows))


def circuit_of(name: str) -> Circuit:
    found = record().circuit
    assert found is not None
    return replace(found, parts=found.parts[:5], task=name, model=name, method=name, selection=name)


@cache
def record() -> Record:
    return edge_record()


def comparison_of(name: str) -> Comparison:
    counts, nodes = Overlap(name, 1, 2, 3), (Node(name, 0, 1), Node("mlp", 1))
    return Comparison("heads", 4, 5, counts, (counts,), (counts, Overlap("m1", 0, 0, 1)), nodes, nodes[:1])


def class_lens_of(name: str) -> ClassLens:
    picture = Picture(name, "image", 2, 2, 1, "AAAAAA==", ((), (0.0, 0.0, 1.0, 1.0)))
    logits = torch.tensor([[[[1.0, 2.0], [4.0, 3.0]]]])
    return ClassLens(
        (Site("resid_post", 0),), ((name, "b"),), logits, logits[0, :, 0], 0, (name, "dog"), (picture,), name
    )


def mechanisms_of(name: str) -> Mechanisms:
    groups, own, other = np.array([0, 1, -1, 0]), np.array([0.5, 0.4, np.nan, 0.5]), np.array([0.1, 0.2, 0.1, np.nan])
    tried, shared = (Tried(2, 0.5, 0.1, 0.01, 0.9, 0.1, 0.03),), (Shared(1, name, 1, 1, 0, 2, 0.01),)
    return Mechanisms(groups, own, other, tried, shared, (name,) * 4, (name,), name, name, name, name, 1, 0.05, 0)


def transfer_of(name: str) -> Transfer:
    f = np.array([[1.0, np.nan], [0.2, 0.9]])
    of = ((("a0.h0",), (name,)), 20, (3, 4), True, "nodes", name, name, name, name)
    return Transfer((name, "b"), f, f, f, f, np.eye(2), np.eye(2), *of)


#: A value of every kind whose names, tokens and paths are some text.
MAKERS: Final[dict[str, Callable[[str], Any]]] = {
    "scores": scores_of,
    "agreement": agreement_of,
    "circuit": circuit_of,
    "evaluation": an_evaluation,
    "undefined evaluation": lambda name: replace(
        an_evaluation(name), faithfulness=replace(an_evaluation("x").faithfulness, value=None), reason=name
    ),
    "task": lambda name: Task(name, (Pair(name, name, (name,), (name, "b")),) * 5, name, name),
    "model": model_of,
    "rules": lambda name: RELP,
    "coverage": lambda name: Coverage(RELP, (Row(name, name, "unsupported"), Row(name, name, "rule", name))),
    "dictionary": dictionary_of,
    "lens": lens_of,
    "logits": lambda name: LogitAttribution((name, "m0"), np.array([[1.0, -2.0]]), np.array([-1.0]), name),
    "tokens": tokens_of,
    "effects": effects_of,
    "probe": probe_of,
    "paths": paths_of,
    "comparison": comparison_of,
    "patterns": lambda name: AttentionPatterns((name, "b"), (0,), np.full((1, 2, 2, 2), 0.5), name),
    "class lens": class_lens_of,
    "drawn input": lambda name: class_lens_of(name).image(0),
    "head statistics": head_statistics_of,
    "head distances": head_distances_of,
    "head clusters": lambda name: head_clusters(head_distances_of(name), 2),
    "head relations": head_relations_of,
    "pairs": pairs_of,
    "mechanisms": mechanisms_of,
    "transfer": transfer_of,
    "second order": second_order_of,
    "layer use": layer_use_of,
    "dropped layers": dropped_of,
    "chains": chains_of,
    "layer match": match_of,
    "neurons": neurons_of,
    "last block": last_block_of,
    "response": response_of,
    "sources": sources_of,
    "probes": probes_of,
    "subspace": subspace_of,
    "search": lambda name: Search(
        0.9, None, None, replace(an_evaluation("x").faithfulness), None, an_evaluation("x").faithfulness, 4, 9, "nodes", (), name
    ),
}  # fmt: skip
