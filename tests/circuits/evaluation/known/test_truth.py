"""Known circuits: the ROC against a slow second writing, the files, and exact patching."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.evaluation.known import programs as compiled
from circuits.evaluation.known.programs import TruthError, load_truth, programs
from circuits.evaluation.known.truth import judge, table
from interp.attribution.methods import METHODS
from interp.errors import InterpError, ScoreError
from interp.scores.roc import roc
from tests.interp.model.loading.test_reference_model import PROGRAMS, SETTINGS, folder_of, random_tensors

# ---------------------------------------------------------------- the curve


def pairs_ranked_right(scores: list[float], known: list[bool]) -> float:
    """AUROC the slow way: over all pairs of a positive and a negative, ties counting one half."""
    inside, outside = ([s for s, k in zip(scores, known, strict=True) if k is side] for side in (True, False))
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    return sum(wins) / len(wins)


def over_every_tie_breaking(scores: list[float], known: list[bool]) -> float:
    """Precision at the true size, averaged over every order that the scores allow."""
    size, found = sum(known), []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            found.append(sum(known[i] for i in order[:size]) / size)
    return sum(found) / len(found)


@pytest.mark.parametrize("levels", [2, 4, 1000])
@pytest.mark.parametrize("seed", range(8))
def test_auroc_counts_pairs(levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=40) / 7 - 1
    known = rng.permutation(np.arange(40) < 1 + 4 * seed)
    curve = roc(scores, known)
    assert curve.auroc == pytest.approx(pairs_ranked_right(scores.tolist(), known.tolist()), abs=1e-12)
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(curve.fpr) >= 0).all() and (np.diff(curve.tpr) >= 0).all()
    assert len(curve.fpr) == len(np.unique(scores)) + 1
    assert curve.gap == min(scores[known]) - max(scores[~known])


@pytest.mark.parametrize("seed", range(12))
def test_precision_at_the_true_size_is_the_mean_over_tie_breakings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, known = rng.integers(3, size=7).astype(float), rng.permutation(np.arange(7) < 1 + seed % 6)
    curve = roc(scores, known)
    assert curve.precision == pytest.approx(over_every_tie_breaking(scores.tolist(), known.tolist()), abs=1e-12)
    assert curve.recall == curve.precision and curve.size == known.sum()


def test_perfect_reversed_and_blind_rankings() -> None:
    known = [True, True, False, False, False]
    assert (roc([5, 4, 3, 2, 1], known).auroc, roc([5, 4, 3, 2, 1], known).gap) == (1, 1)
    assert (roc([1, 2, 3, 4, 5], known).auroc, roc([1, 2, 3, 4, 5], known).precision) == (0, 0)
    blind = roc([7, 7, 7, 7, 7], known)
    assert (blind.auroc, blind.precision, blind.gap) == (0.5, 0.4, 0)


@pytest.mark.parametrize(
    ("scores", "known", "says"),
    [
        ([1.0, 2.0], [True, True], "both positives and negatives"),
        ([1.0, 2.0], [False, False], "both positives and negatives"),
        ([1.0, float("nan")], [True, False], "score 1 is not finite"),
        ([1.0], [True, False], "one bool for each"),
        ([1.0, 2.0], [1, 0], "one bool for each"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores: Any, known: Any, says: str) -> None:
    with pytest.raises(ScoreError, match=says):
        roc(scores, known)


# ---------------------------------------------------------------- the files

ONE_LAYER = {**SETTINGS, "n_layers": 1, "n_heads": 1, "d_vocab_out": 1, "name": "toy", "doc": "a toy"}
#: embed and pos_embed -> q, k, v (6) and m0 and logits (4), a0.h0 -> m0 and logits (2), m0 -> logits (1).
N_EDGES = 13
PAIRS = [{"clean_ids": [1, 2, 3], "corrupt_ids": [1, 4, 3], "clean": ["BOS", "a", "b"]}]


def entry(sender: str, receiver: str, inside: bool) -> dict[str, Any]:
    return {"sender": sender, "receiver": receiver, "in_resample_circuit": inside, "in_zero_circuit": inside}


def circuit_file() -> dict[str, Any]:
    counts = {"n_edges_total": N_EDGES, "n_edges_resample_circuit": 2, "n_edges_zero_circuit": 2}
    edges = [entry("pos_embed", "a0.h0<q>", True), entry("m0", "logits", True), entry("a0.h0", "m0", False)]
    return {"edge_format": compiled._FORMAT, "edges": edges, **counts}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path / "toy", ONE_LAYER, random_tensors(ONE_LAYER))
    (folder / "circuit.json").write_text(json.dumps(circuit_file()))
    (folder / "pairs.json").write_text(json.dumps(PAIRS))
    return folder


def test_a_known_circuit_is_read(program: Path) -> None:
    found = load_truth(program)
    assert len(found.graph.edges) == N_EDGES and found.graph.split_positions
    assert {edge.name for edge in found.positives} == {"pos_embed->a0.h0<q>", "m0->logits"}
    assert found.circuit.edges == (found.graph.edge("pos_embed->a0.h0<q>"), found.graph.edge("m0->logits"))
    (pair,) = found.task.tokenize(None, found.model.layout.d_vocab)
    assert (pair.clean, pair.corrupt) == ((1, 2, 3), (1, 4, 3)) and found.task.pairs[0].clean == "BOS a b"
    assert programs(program) == programs(program.parent) == [program]


def test_without_position_edges_the_count_says_which_graph(program: Path) -> None:
    data = {**circuit_file(), "n_edges_total": 8, "n_edges_resample_circuit": 1}
    data["edges"] = data["edges"][1:]
    (program / "circuit.json").write_text(json.dumps(data))
    assert not load_truth(program).graph.split_positions


def test_an_edge_that_is_not_listed_is_a_negative(program: Path) -> None:
    found = load_truth(program)
    scores = np.array([1.0 if edge in found.positives else 0.0 for edge in found.graph.edges])
    scores[found.graph.index[found.graph.edge("embed->logits")]] = 2.0
    # Each of the 2 positives outranks 10 of the 11 negatives.
    assert found.judge(found.graph.edges, scores).auroc == pytest.approx(10 / 11)
    with pytest.raises(TruthError, match=r"missing m0->logits\."):
        found.judge(found.graph.edges[:-1], scores[:-1])


def _edges(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda data: change(data["edges"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(n_edges_total=12), "counts 12 edges; the graph of this model has 13"),
        (lambda d: d.update(n_edges_resample_circuit=3), "is 3, but it marks 2"),
        (lambda d: d.update(edge_format="a|b"), "edge_format 'a|b'"),
        (lambda d: d.update(colour="red"), "unknown key 'colour'"),
        (lambda d: d.pop("n_edges_total"), "lacks n_edges_total"),
        (_edges(lambda e: e[0].update(weight=1)), "edge 0: unknown key 'weight'"),
        (_edges(lambda e: e[0].pop("in_resample_circuit")), "edge 0 lacks in_resample_circuit"),
        (_edges(lambda e: e[1].update(sender="m7")), "edge 1: unknown edge 'm7->logits'"),
        (_edges(lambda e: e.append(e[0])), "edge 3: pos_embed->a0.h0<q> is listed twice"),
        (_edges(lambda e: e[0].update(in_resample_circuit=1)), "not true or false"),
        (_edges(lambda e: e.append("m0->logits")), "expected an object"),
    ],
)
def test_a_circuit_file_that_is_not_as_expected(program: Path, change: Any, says: str) -> None:
    data = circuit_file()
    change(data)
    (program / "circuit.json").write_text(json.dumps(data))
    with pytest.raises(TruthError, match=says):
        load_truth(program)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"clean_ids": [1, 2], "corrupt_ids": [1, 2, 3]}, "2 and 3 tokens"),
        ({"clean_ids": [1] * 15, "corrupt_ids": [1] * 15}, "from 2 to 14"),
        ({"clean_ids": [1, 17], "corrupt_ids": [1, 2]}, "token id 17"),
        ({"clean_ids": [1, True], "corrupt_ids": [1, 2]}, "token id True"),
        ({"clean_ids": "ab", "corrupt_ids": "ab"}, "two lists"),
        ({"clean_ids": [1, 2]}, "lacks corrupt_ids"),
        ({**PAIRS[0], "odd": 1}, "unknown key 'odd'"),
    ],
)
def test_pairs_that_are_not_as_expected(program: Path, row: dict[str, Any], says: str) -> None:
    (program / "pairs.json").write_text(json.dumps([row]))
    with pytest.raises(TruthError, match=says):
        load_truth(program)


def test_other_ablations_and_folders_are_refused(program: Path, tmp_path: Path) -> None:
    with pytest.raises(TruthError, match="Valid: counterfactual, zero"):
        load_truth(program, "mean")
    with pytest.raises(TruthError, match=r"expected circuit\.json"):
        programs(tmp_path / "nothing")
    with pytest.raises(TruthError, match="atp: judged by the projection"):
        judge(program, ["exact", "atp"], "zero")
    shutil.copy(program / "pairs.json", program / "circuit.json")
    with pytest.raises(TruthError, match="holds a list; expected an object with keys"):
        load_truth(program)


# ---------------------------------------------------------------- the programs


@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_exact_patching_finds_every_known_circuit(assets: Path, ablation: str) -> None:
    rows = judge(assets / "truth", ["exact"], ablation)
    assert [row.program for row in rows] == list(PROGRAMS)
    for row in rows:
        assert (row.auroc, row.precision, row.recall, row.seen) == (1, 1, 1, 1), row
        assert row.gap > compiled.THRESHOLD
    assert table(rows).count("1.000  1.000") == len(PROGRAMS)


def test_every_approximation_has_a_place_in_the_table(assets: Path) -> None:
    names = [name for name, method in METHODS.items() if method.scores("edges") and not method.exact]
    assert "atp" in names
    rows = judge(assets / "truth", names, limit=20)
    assert [(row.program, row.method) for row in rows] == [(p, name) for p in PROGRAMS for name in names]
    for row in rows:
        assert 0 <= row.auroc <= 1 and 0 <= row.precision <= 1 and np.isfinite(row.gap)
        assert row.metric == "projection"


def test_the_seed_decides_what_the_random_baseline_finds(assets: Path) -> None:
    found = [judge(assets / "truth" / "reverse", ["random"], seed=seed, limit=5)[0].gap for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_an_unknown_method_is_named(program: Path) -> None:
    with pytest.raises(InterpError, match="unknown method 'exct'"):
        judge(program, ["exct"])
