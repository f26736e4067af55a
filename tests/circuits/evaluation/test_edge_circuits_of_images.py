"""Circuits of edges of an image classifier: what is ablated is what the bare model gives with other streams before its readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import interp
from circuits.circuit.circuit import Circuit
from circuits.circuit.connect import prune
from circuits.circuit.selection import discover
from circuits.evaluation.faithfulness import evaluate
from tests.interp.attribution.images.bare_towers import bare, changed, hooked
from tests.interp.attribution.images.test_image_tasks import _task

NAME = "ViTForImageClassification"


@pytest.mark.parametrize("ablation", ["counterfactual", "mean", "zero"])
def test_no_edge_is_the_ablated_run_all_are_the_plain_one_and_one_alone_is_cut_by_hand(ablation: str) -> None:
    model = hooked(NAME)
    task = _task(model, 1)
    scores = interp.attribute(model, task, method="eap", level="edges", direction="noise", ablation=ablation)
    circuit = discover(scores, n=len(scores.parts))
    found = evaluate(model, task, circuit, ablation=ablation, n_random=1)
    assert found.full == found.circuit == pytest.approx(scores.provenance.base_metric, abs=1e-5)
    if ablation != "counterfactual":
        return
    assert found.empty == pytest.approx(scores.provenance.source_metric, abs=1e-5)
    own, cut = bare(NAME, task), next(edge for edge in scores.edges if edge.name == "embed->m0")
    without = replace(circuit, parts=tuple(part for part in circuit.parts if part != cut))
    change = own.written(cut.sender, own.source) - own.written(cut.sender, own.base)
    with torch.no_grad(), changed(own.at(0, 3), False, lambda x: x + change):
        expected = float(own.metric(own.base))
    assert evaluate(model, task, without, n_random=1).circuit == pytest.approx(expected, abs=1e-5)


def test_paths_at_positions_run_both_ways_where_positions_look_at_later_ones(tmp_path: Path) -> None:
    """The first position is read, and all that is later in the picture reaches it by one head's keys and values alone."""
    model = hooked(NAME)
    scores = interp.attribute(model, _task(model, 1), method="eap", level="edges", direction="noise", positions="each")
    names = ("embed->a1.h0<v>@5", "a1.h0->logits@0", "embed->m0@5")
    places = [[edge.name for edge in scores.edges].index(name) for name in names]
    kept = prune(replace(discover(scores, n=3), parts=tuple(scores.parts[i] for i in places)))
    assert [part.name for part in kept.parts] == list(names[:2]) and kept.both_ways
    kept.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == kept
    search = discover(scores, n=40, algorithm="greedy")
    assert {edge.position for edge in search.edges} - {0}
    whole = interp.attribute(model, _task(model, 1), method="eap", level="edges", direction="noise")
    assert not whole.provenance.both_ways and "both_ways" not in discover(whole, n=3).to_dict()
