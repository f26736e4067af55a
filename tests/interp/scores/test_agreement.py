"""The slope of an approximation on exact scores: what correlations do not see."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from interp.scores.agreement import Agreement, agreement
from interp.scores.scores import Scores
from tests.interp.scores.random_scores import head_nodes, some_scores


def pair(**of: str) -> tuple[Scores, Scores]:
    return some_scores(head_nodes(), 1, method="relp", **of), some_scores(head_nodes(), 0, method="exact")


def test_the_slope_is_that_of_the_best_line_through_zero() -> None:
    ours, exact = pair()
    keep = [i for i, part in enumerate(exact.parts) if part.kind == "head"]
    wanted = np.linalg.lstsq(exact.mean[keep][:, None], ours.mean[keep], rcond=None)[0][0]
    assert agreement(ours, exact)["head"].slope == pytest.approx(wanted)


def test_estimates_of_twice_the_size_keep_their_correlation_and_double_their_slope() -> None:
    ours, exact = pair()
    twice = replace(ours, per_example=2 * ours.per_example)
    one, two = (agreement(found, exact)["head"] for found in (ours, twice))
    assert one.slope is not None and two.slope == pytest.approx(2 * one.slope)
    assert two.pearson == pytest.approx(one.pearson)


def test_without_a_common_unit_or_an_effect_there_is_no_slope() -> None:
    ours, exact = pair(unit="share of what the reader reads")
    assert agreement(ours, exact)["head"].slope is None
    ours, exact = pair()
    assert agreement(ours, replace(exact, per_example=0 * exact.per_example))["head"].slope is None


def test_scores_with_a_unit_of_their_own_are_compared_with_what_matters() -> None:
    """Where a negative effect of patching matters, a share agrees with minus the effect; effects themselves are not turned."""
    ours, exact = pair()
    turned = replace(exact, provenance=replace(exact.provenance, importance_sign=-1))
    share = replace(ours, provenance=replace(ours.provenance, unit="share", importance_sign=1))
    minus = Scores(exact.parts, -exact.per_example, turned.provenance)
    assert agreement(share, minus)["head"].pearson == pytest.approx(agreement(ours, exact)["head"].pearson)
    effects = replace(ours, provenance=replace(ours.provenance, importance_sign=-1))
    assert agreement(effects, turned)["head"].pearson == pytest.approx(agreement(ours, exact)["head"].pearson)


def means(ours: Scores, exact: Scores) -> tuple[np.ndarray, np.ndarray, list[str]]:
    keep = [i for i, part in enumerate(exact.parts) if part.kind == "head"]
    return ours.mean[keep], exact.mean[keep], [exact.parts[i].name for i in keep]


def test_the_error_is_the_mean_difference_over_the_mean_size() -> None:
    ours, exact = pair()
    a, b, _ = means(ours, exact)
    assert agreement(ours, exact)["head"].error == pytest.approx(np.abs(a - b).sum() / np.abs(b).sum())
    assert agreement(replace(ours, per_example=exact.per_example), exact)["head"].error == 0


def test_one_node_that_makes_the_correlation_is_named() -> None:
    ours, exact = pair()
    noise = np.random.default_rng(3).normal(size=ours.per_example.shape)
    ours = replace(ours, per_example=noise)
    place = next(i for i, part in enumerate(exact.parts) if part.kind == "head")
    tables = [x.per_example.copy() for x in (ours, exact)]
    for table in tables:
        table[:, place] = 1000.0
    carried = agreement(replace(ours, per_example=tables[0]), replace(exact, per_example=tables[1]))["head"]
    assert carried.largest == exact.parts[place].name and carried.carried
    assert carried.pearson is not None and carried.pearson > 0.999
    a, b, names = means(ours, exact)
    rest = [i for i, name in enumerate(names) if name != carried.largest]
    assert carried.pearson_without == pytest.approx(np.corrcoef(a[rest], b[rest])[0, 1])
    assert not agreement(replace(ours, per_example=exact.per_example), exact)["head"].carried


def test_the_order_of_the_top_weighs_most() -> None:
    """Against the definition of weighted tau, written out over pairs of nodes; and a swap at the top costs more than one below."""
    ours, exact = pair()
    a, b, names = (np.abs(x) if isinstance(x, np.ndarray) else x for x in means(ours, exact))

    def by_hand(x: np.ndarray, y: np.ndarray) -> float:
        def one_way(first: np.ndarray, second: np.ndarray) -> float:
            rank = np.empty(len(first))
            rank[np.lexsort((second, first))[::-1]] = np.arange(len(first))
            weight = 1 / (rank + 1)
            total = agree = 0.0
            for i in range(len(x)):
                for j in range(i):
                    w = weight[i] + weight[j]
                    total += w
                    agree += w * np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            return agree / total

        return (one_way(x, y) + one_way(y, x)) / 2

    assert agreement(ours, exact)["head"].top_weighted == pytest.approx(by_hand(a, b))
    order = np.argsort(-b)
    column = {part.name: i for i, part in enumerate(exact.parts)}

    def swapped(one: int, other: int) -> float:
        table = exact.per_example.copy()
        i, j = column[names[order[one]]], column[names[order[other]]]
        table[:, [i, j]] = table[:, [j, i]]
        found = agreement(replace(ours, per_example=table), exact)["head"].top_weighted
        assert found is not None
        return found

    assert swapped(0, 1) < swapped(len(b) - 2, len(b) - 1) < 1


def test_agreements_of_older_files_have_no_such_numbers() -> None:
    row = {"kind": "head", "n": 9, "pearson": 0.9, "pearson_ci": [0.8, 1.0], "spearman": 0.9, "spearman_ci": None}
    row |= {"sign": 1.0, "top_k": 1.0, "k": 2}
    found = Agreement.from_dict({"method": "relp", "rows": [row], "n_pairs": 3, "sampled": ""})["head"]
    assert found.top_weighted is None and found.error is None and not found.carried


def test_scores_of_all_examples_together_have_no_standard_error() -> None:
    ours, _ = pair()
    assert np.isfinite(ours.stderr).all()
    same = replace(ours, per_example=np.repeat(ours.per_example[:1], len(ours.per_example), axis=0))
    assert np.isnan(same.stderr).all()
    assert (replace(ours, per_example=0 * ours.per_example).stderr == 0).all()


def test_of_a_search_on_masks_only_the_order_is_compared() -> None:
    """Parts that work against the answer are last in its order, however large their effects are."""
    ours, exact = pair()
    assert (exact.mean < 0).sum() > 5
    order = np.argsort(np.argsort(exact.mean)) / len(exact.parts)
    told = replace(ours.provenance, method="learned", unit="place", masks="40 rounds")
    found = agreement(Scores(exact.parts, np.tile(order, (len(exact.per_example), 1)), told), exact)
    row = found["head"]
    assert found.order == "place" and not agreement(ours, exact).order
    assert (row.pearson, row.pearson_ci, row.sign, row.slope, row.error) == (None,) * 5 and not row.carried
    assert row.spearman == pytest.approx(1) and row.top_weighted == pytest.approx(1) and row.top_k == 1
    assert {row.kind for row in found.rows} == {"all", "head", "mlp"}
    assert Agreement.from_dict(json.loads(json.dumps(asdict(found)))) == found
