"""Selection frequencies, overlaps of rankings, and the files of all results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.circuit.chance import shared_by_chance
from circuits.circuit.circuit import CircuitError
from circuits.evaluation.evaluation import Evaluation, Search
from circuits.evaluation.faithfulness import evaluate_on
from circuits.evaluation.hypotheses import HypothesisTest, hypothesis_on
from circuits.evaluation.minimality import Minimality, leave_one_out_on
from circuits.evaluation.smallest import find_smallest_on
from circuits.evaluation.stability import Consensus, Stability, consensus, selection_frequency
from interp.scores.resampling import resample_weights
from tests.circuits.evaluation.running.hand import EDGES, Hand, additive, circuit, falling, scored

# ---------------------------------------------------------------- stability


def test_selection_frequency_of_two_edges_in_closed_form() -> None:
    """Each is best on one of two examples; a tie goes to the first: 3/4 and 1/4. Bound: 5 standard errors of 4000."""
    table = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = selection_frequency(scored([], table), 1, resamples=4000)
    bound = 5 * (0.75 * 0.25 / 4000) ** 0.5
    assert [p.frequency for p in found.parts] == [pytest.approx(0.75, abs=bound), pytest.approx(0.25, abs=bound)]
    assert sum(p.frequency for p in found.parts) == pytest.approx(1.0)
    assert [p.selected for p in found.parts] == [True, False]
    # Top 1 of a resample is the first edge or shares nothing with it.
    assert found.overlap == pytest.approx(found.parts[0].frequency)
    # Of two edges of one kind two draws of one are the same in a half.
    assert EDGES[0].kind == EDGES[1].kind and found.chance is not None and found.chance.jaccard == pytest.approx(0.5)


@pytest.mark.parametrize("ranking", ["signed", "absolute"])
def test_selection_frequency_equals_a_slow_second_writing(ranking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(2).normal(0.0, 1.0, (5, 12))
    monkeypatch.setattr("circuits.evaluation.stability.CHUNK", 40)
    found = selection_frequency(scored([], table, importance_sign=-1), 4, ranking=ranking, resamples=200, seed=3)
    counts, shared = Counter[str](), []
    means = [sum(w * row for w, row in zip(weights, table, strict=True)) for weights in resample_weights(5, 3, 200)]

    def top(mean: np.ndarray) -> set[str]:
        key = -mean if ranking == "signed" else abs(mean)
        return {EDGES[i].name for i in sorted(range(12), key=lambda i: -key[i])[:4]}

    own = top(table.mean(0))
    for mean in means:
        counts.update(top(mean))
        shared.append(len(own & top(mean)) / len(own | top(mean)))
    assert {p.part: p.frequency for p in found.parts} == pytest.approx(
        {e.name: counts[e.name] / 200 for e in EDGES[:12]}
    )
    assert {p.part for p in found.parts if p.selected} == own and found.overlap == pytest.approx(np.mean(shared))
    for part in found.parts:
        i = [e.name for e in EDGES].index(part.part)
        low, high = np.percentile([m[i] for m in means], [2.5, 97.5])
        assert part.score.value == pytest.approx(table[:, i].mean())
        assert (part.score.low, part.score.high) == (pytest.approx(low), pytest.approx(high))


def test_consensus_by_hand() -> None:
    """Top 2: {0, 1}, {0, 2}, {0, 1}: Jaccard 1/3, 1, 1/3."""
    several = [scored([3.0, 2.0, 1.0]), scored([3.0, 1.0, 2.0]), scored([-9.0, 2.0, 0.0])]
    found = consensus(several, 2)
    assert found.pairwise == pytest.approx((1 / 3, 1.0, 1 / 3)) and found.jaccard == pytest.approx(5 / 9)
    assert {p.part: p.frequency for p in found.parts} == pytest.approx(
        {EDGES[0].name: 1.0, EDGES[1].name: 2 / 3, EDGES[2].name: 1 / 3}
    )
    tops = [(EDGES[0], EDGES[1]), (EDGES[0], EDGES[2]), (EDGES[0], EDGES[1])]
    assert found.chance == tuple(shared_by_chance(a, b, EDGES[:3]) for a, b in combinations(tops, 2))
    assert found.jaccard_by_chance is not None and f"(by chance {found.jaccard_by_chance:.3f})" in str(found)
    assert found.parts[0].part == EDGES[1].name  # the mean of 3, 3 and -9 is 1 in size, the mean of 2, 1 and 2 more
    assert (found.parts[0].score.low, found.parts[0].score.high) == (1.0, 2.0)


def test_stability_refuses() -> None:
    one = scored([1.0, 2.0])
    bad: list[Callable[[], Any]] = [
        lambda: selection_frequency(one, 0),
        lambda: selection_frequency(one, 3),
        lambda: selection_frequency(one, 1.5),  # type: ignore[arg-type]
        lambda: selection_frequency(one, 1, resamples=0),
        lambda: consensus([one], 1),
        lambda: consensus([one, scored([1.0, 2.0, 3.0])], 1),
        lambda: consensus([one, scored([1.0, 2.0], importance_sign=-1)], 1),
        lambda: consensus([one, scored([1.0, 2.0], unit="nats")], 1),
    ]
    for call in bad:
        with pytest.raises(CircuitError):
            call()


# ---------------------------------------------------------------- files


def test_results_read_back_equal_and_damaged_files_are_refused(tmp_path: Path) -> None:
    hand, one, scores = Hand(additive(falling())), circuit(*EDGES[:4]), scored([falling()[e] for e in EDGES])
    results: list[Any] = [
        evaluate_on(hand, one, n_random=2),
        find_smallest_on(hand, scores),
        leave_one_out_on(hand, one),
        hypothesis_on(hand, one, "sufficient", n_random=5),
        selection_frequency(scores, 3, resamples=10),
        consensus([scores, scores], 3),
    ]
    kinds = [Evaluation, Search, Minimality, HypothesisTest, Stability, Consensus]
    for kind, result in zip(kinds, results, strict=True):
        path = tmp_path / f"{kind.__name__}.json"
        result.save(path)
        assert kind.load(path) == result  # type: ignore[attr-defined]
        data = json.loads(path.read_text())
        wrong = [{**data, "format": 99}, {**data, "odd": 1}, [], {k: v for k, v in data.items() if k != "n_pairs"}]
        wrong += [{**data, name: {"value": "much"}} for name in data if isinstance(data[name], dict)]
        for damaged in wrong:
            if damaged == data:
                continue
            path.write_text(json.dumps(damaged))
            with pytest.raises(CircuitError):
                kind.load(path)  # type: ignore[attr-defined]
