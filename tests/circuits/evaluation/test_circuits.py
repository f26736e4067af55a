"""Circuits of nodes evaluated: set properties of faithfulness, random baselines, files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import discover
from circuits.evaluation.areas import ranking_areas
from circuits.evaluation.evaluation import Evaluation
from circuits.evaluation.faithfulness import evaluate
from circuits.evaluation.minimality import leave_one_out
from interp.attribution.request import attribute
from interp.model.model import HookedModel
from interp.parts.nodes import Node, groups, nodes_of
from interp.scores.scores import Scores
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.circuits.circuit.test_node_circuits import _scores
from tests.interp.model.tiny import tiny
from tests.interp.tasks.toy import answered


def _task(n: int = 6, length: int = 7, d_vocab: int = 64, seed: int = 0) -> Task:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(2, d_vocab - 2, (2, n, length), generator=generator).tolist()
    ids = [TokenPair(tuple(c), tuple(d), (5,), (9,)) for c, d in zip(*rows, strict=True)]
    return Task("random", tuple(Pair("", "", (), (), ids=i) for i in ids))


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2", "gpt_neox"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    return HookedModel(tiny(request.param), name=request.param)


@pytest.mark.broad
@pytest.mark.parametrize("level", ["blocks", "heads", "neurons"])
@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean", "resample"])
def test_full_circuit_is_the_clean_run_and_empty_the_ablated_one(model: HookedModel, level: str, ablation: str) -> None:
    nodes = tuple(n for n in nodes_of(groups(level, model.layout), [None]) if n.kind != "embed")
    full = Circuit(nodes, level, model.name, "random", "hand", "all")
    task = answered(model, _task())
    found = evaluate(model, task, full, ablation=ablation, sizes=[0, len(nodes)], n_random=2)
    clean = [_logit_diff(model, p.ids) for p in task.pairs if p.ids]
    assert found.full == pytest.approx(np.mean(clean), abs=1e-4)
    empty, whole = found.curve[0], found.curve[-1]
    assert (empty.size, whole.size) == (0, len(nodes))
    if found.reason:
        assert found.faithfulness.value is None and (ablation != "counterfactual" or level == "neurons")
    else:
        assert whole.faithfulness.value == pytest.approx(1.0) == found.faithfulness.value
        assert empty.faithfulness.value == pytest.approx(0.0) == found.completeness.value


def _logit_diff(model: HookedModel, ids: TokenPair) -> float:
    logits = model.run(torch.tensor(ids.clean)).logits[0, -1]
    return float(logits[ids.answers[0]] - logits[ids.wrong[0]])


def test_faithfulness_equals_patching_by_hand(model: HookedModel) -> None:
    """Every head and MLP outside the circuit gets its value on the corrupt prompt; the metric is compared."""
    kept = (Node("head", 0, 1), Node("mlp", 1))
    task = _task(n=5, seed=3)
    found = evaluate(model, task, Circuit(kept, "heads", "m", "random", "hand", ""), sizes=[2], n_random=1)
    from interp.model.edits import Edit, patch

    values = []
    for pair in task.pairs:
        assert pair.ids is not None
        corrupt = model.run(torch.tensor(pair.ids.corrupt), reads=["z", "mlp_out"])
        edits = []
        for layer in range(model.layout.n_layers):
            for head in range(model.layout.n_heads):
                if Node("head", layer, head) not in kept:
                    edits.append(Edit(f"z.{layer}", _put(head, corrupt[f"z.{layer}"].detach())))
            if Node("mlp", layer) not in kept:
                edits.append(patch(f"mlp_out.{layer}", corrupt[f"mlp_out.{layer}"].detach()))
        logits = model.run(torch.tensor(pair.ids.clean), edits=edits).logits[0, -1].detach()
        values.append(float(logits[5] - logits[9]))
    assert found.circuit == pytest.approx(np.mean(values), abs=1e-4)


def _put(head: int, value: torch.Tensor) -> Any:
    def apply(x: torch.Tensor) -> torch.Tensor:
        new = x.clone()
        new[:, :, head] = value[:, :, head]
        return new

    return apply


def test_random_circuits_match_kinds_and_seed(model: HookedModel) -> None:
    task = answered(model, _task())
    circuit = Circuit((Node("head", 0, 0), Node("mlp", 0)), "heads", "m", "t", "hand", "")
    one = evaluate(model, task, circuit, sizes=[2], n_random=20, seed=1)
    two = evaluate(model, task, circuit, sizes=[2], n_random=20, seed=1)
    assert one == two
    heads, layers = sum(model.layout.n_heads for _ in model.layout.blocks), model.layout.n_layers
    others = min(20, heads * layers - 1)  # one head and one MLP, and not this head with this MLP
    assert len(one.curve[0].random) == one.n_twins == others
    assert one.faithfulness.value is not None
    near = [abs(1 - r) <= abs(1 - one.faithfulness.value) for r in one.curve[0].random if r is not None]
    assert len(near) == others and one.random_above == pytest.approx(np.mean(near))


def test_undefined_where_the_span_may_be_zero() -> None:
    """Clean and corrupt prompts that are the same leave nothing to explain."""
    model = HookedModel(tiny("gpt2"))
    same = tuple(
        dataclasses.replace(p, ids=dataclasses.replace(p.ids, corrupt=p.ids.clean)) for p in _task().pairs if p.ids
    )
    found = evaluate(model, Task("same", same), Circuit((Node("mlp", 0),), "heads", "m", "t", "hand", ""), n_random=2)
    assert found.faithfulness.value is None and "includes 0" in found.reason


def test_circuit_and_evaluation_read_back_equal(tmp_path: Path) -> None:
    model = HookedModel(tiny("gpt2"), name="tiny")
    scores = attribute(model, _task(), method="atp", level="heads")
    circuit = discover(scores, n=3)
    circuit.save(tmp_path / "c.json")
    assert Circuit.load(tmp_path / "c.json") == circuit
    found = evaluate(model, _task(seed=1), circuit, scores=scores, n_random=3)
    found.save(tmp_path / "e.json")
    assert Evaluation.load(tmp_path / "e.json") == found
    scores.save(tmp_path / "s.parquet")
    again = Scores.load(tmp_path / "s.parquet")
    assert again.parts == scores.parts and again.provenance == scores.provenance
    assert np.array_equal(again.per_example, scores.per_example)


def test_a_circuit_of_another_model_is_refused() -> None:
    model = HookedModel(tiny("gpt2"))
    with pytest.raises(CircuitError, match="not a node"):
        evaluate(model, _task(), Circuit((Node("head", 77, 0),), "heads", "m", "t", "hand", ""))


def test_areas_of_nodes_go_through_the_curve_of_evaluate(model: HookedModel) -> None:
    """The same prefixes by two ways; and f of what is left."""
    task = answered(model, _task(n=8))
    scores = attribute(model, task, method="exact", level="heads", direction="noise")
    areas = ranking_areas(model, task, scores, n_random=1)
    order = [scores.parts[i] for i in scores.rank("signed") if scores.parts[i].kind != "embed"]
    assert areas.n_parts == len(order) == areas.signed.points[-1].size and areas.counts == "nodes"
    assert not areas.held_out and ranking_areas(model, _task(n=8, seed=5), scores, n_random=1).held_out
    for point in areas.signed.points:
        top = Circuit(tuple(order[: point.size]), "heads", "m", "t", "hand", "")
        found = evaluate(model, task, top, sizes=[point.size], n_random=1)
        assert found.faithfulness.value is not None
        assert point.faithfulness.value == pytest.approx(found.faithfulness.value, abs=1e-4)
        assert point.completeness.value == pytest.approx(found.completeness.value, abs=1e-4)


def test_minimality_of_nodes_is_the_faithfulness_of_smaller_circuits(model: HookedModel) -> None:
    task, kept = answered(model, _task(n=8)), (Node("head", 0, 1), Node("mlp", 1), Node("head", 1, 2))
    found = leave_one_out(model, task, Circuit(kept, "heads", "m", "t", "hand", ""))

    def value(nodes: tuple[Node, ...]) -> float:
        own = Circuit(nodes, "heads", "m", "t", "hand", "")
        found = evaluate(model, task, own, sizes=[len(nodes)], n_random=1).faithfulness.value
        assert found is not None
        return found

    whole = value(kept)
    for removal in found.removals:
        rest = value(tuple(node for node in kept if node.name != removal.part))
        assert removal.drop.value == pytest.approx(whole - rest, abs=1e-4)


def test_scores_of_another_level_are_refused_by_name() -> None:
    model = HookedModel(tiny("gpt2"))
    own = Circuit((Node("mlp", 0),), "heads", "m", "t", "hand", "")
    with pytest.raises(CircuitError, match="give scores of the same"):
        evaluate(model, _task(), own, scores=_scores([1.0, 2.0], level="neurons", kv="shared", split_positions=False))
    with pytest.raises(CircuitError, match="not a node"):
        ranking_areas(model, _task(), _scores([1.0, *[0.5] * 9], kv="shared", split_positions=False))
