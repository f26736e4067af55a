"""The sentence at the head of a report: what was found, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from circuits.evaluation.evaluation import OtherAblation, Point
from circuits.evaluation.faithfulness import evaluate_on
from circuits.evaluation.none_smaller import none_smaller
from circuits.evaluation.smallest import find_smallest_on
from circuits.runs.finding import finding
from circuits.runs.judged import random_words
from circuits.runs.record import Record
from interp.scores.agreement import Agreement, Row
from interp.scores.resampling import Estimate
from tests.circuits.evaluation.running.hand import EDGES, Hand, N, additive, circuit, scored, weighted
from tests.circuits.runs.records import a_record, an_evaluation, compare_record, searched_record
from tests.interp.scores.random_scores import PAIRS


def one_row(pearson: float | None, n: int = 40, kind: str = "head") -> Row:
    ci = None if pearson is None or n < 8 else (pearson - 0.05, pearson + 0.04)
    return Row(kind, n, pearson, ci, pearson, ci, 0.9, 0.8, 10)


def with_rows(*rows: Row) -> Record:
    return replace(a_record(), agreements=(Agreement("relp", rows, PAIRS),))


def test_finding_in_full() -> None:
    assert finding(with_rows(one_row(0.9, 45, "all"), one_row(0.85), one_row(0.3, 5, "mlp"))) == (
        "Six of 45 heads and MLPs carry 93 % [88, 97] of the logit difference on 50 held-out pairs of they_plural (no random circuit of "
        "the same size did as well, n = 20); relp agrees with exact patching with r = 0.85 [0.80, 0.89] over 40 heads."
    )


def test_finding_says_when_agreement_is_poor() -> None:
    assert "relp agrees poorly with exact patching: r = 0.42 [0.37, 0.46] over 40 heads" in finding(
        with_rows(one_row(0.42))
    )
    text = finding(with_rows(one_row(0.85), one_row(0.3, 12, "mlp")))
    assert (
        "agrees with exact patching with r = 0.85 [0.80, 0.89] over 40 heads, but poorly, with r = 0.30 [0.25, 0.34] over 12 MLPs"
        in text
    )


def test_finding_does_not_hide_a_kind_of_few_nodes() -> None:
    text = finding(with_rows(one_row(0.41, 45, "all"), one_row(0.98), one_row(-0.5, 5, "mlp")))
    assert (
        "r = 0.98 [0.93, 1.02] over 40 heads, but poorly, with r = 0.41 [0.36, 0.45] over 45 nodes of all kinds" in text
    )


def test_finding_warns_where_a_few_nodes_make_the_correlation() -> None:
    row = replace(one_row(0.9), spearman=0.4)
    assert "over 40 heads (rank correlation only 0.40)" in finding(with_rows(row))


def test_finding_without_a_correlation() -> None:
    assert "too few nodes (5)" in finding(with_rows(one_row(0.9, 5, "all")))
    assert "too few" in finding(with_rows(one_row(None, 3)))
    assert "was not measured in this run" in finding(replace(a_record(), agreements=()))


EVALUATIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"random_above": 0.6},
        "but 12 of 20 random circuits of the same size did as well: this is not clearly better than chance",
    ),
    ({"random_above": 0.05}, "(1 of 20 random circuits of the same size did as well)"),
    ({"random_above": None, "n_random": 0}, "no random circuits were measured"),
    (
        {"random_above": 0.05, "n_random": 100},
        "(1 of 20 other circuits of the same size and kinds, all there are, did as",
    ),
    (
        {"random_above": None, "curve": (Point(6, Estimate(0.9, 0.8, 1.0), ()),)},
        "(no other circuit of the same size and",
    ),
    ({"size": 45}, "All 45 heads and MLPs were chosen for they_plural: nothing is left out"),
    ({"held_out": False}, "on the 50 pairs also used to choose them"),
    (
        {"faithfulness": Estimate(None, None, None), "reason": "the interval of m(full) - m(empty) includes 0"},
        "they carry is undefined: the interval",
    ),
    ({"faithfulness": Estimate(0.2, 0.1, 0.3)}, "carry only 20 % [10, 30]"),
    ({"faithfulness": Estimate(-0.2, -0.3, -0.1)}, "push against the answer"),
    ({"faithfulness": Estimate(1.3, 1.2, 1.4)}, "130 % [120, 140] of the logit difference (more than the whole model"),
]


def test_finding_without_evaluation_or_circuit() -> None:
    assert "what they carry was not measured in this run" in finding(replace(a_record(), evaluation=None))
    text = finding(compare_record())
    assert text.startswith(
        "No circuit was chosen in this run: relp, atp, random scored 50 pairs of they_plural (denoise)"
    )
    assert text.index("relp 0.") < text.index("atp 0.") < text.index("random 0.")
    assert "correlation with exact patching over 45 nodes, best first" in text


def test_searches_are_no_estimates_that_may_be_best() -> None:
    text = finding(searched_record())
    best, _, apart = text.partition("best first: ")[2].partition("; learned (in place) and ")
    assert [name for name in ("relp", "atp", "random", "learned", "iterated") if name in best] == [
        "relp",
        "atp",
        "random",
    ]
    assert apart.startswith("iterated (in rounds kept) are searches on masks")
    assert "circuits discover --method learned" in apart
    alone = searched_record()
    text = finding(replace(alone, scores=alone.scores[:2], agreements=alone.agreements[:2]))
    assert "best first" not in text and "searches on masks" in text


def test_finding_of_exact_scores() -> None:
    record = a_record()
    assert "exact patching itself" in finding(replace(record, scores=(record.exact,), agreements=()))


def test_finding_is_safe_text() -> None:
    text = finding(a_record(lambda t: f"{t}\u202e\n"))
    assert "\u202e" not in text and "\n" not in text


def test_a_circuit_is_not_compared_with_itself() -> None:
    """All weight is on the circuit: any other has less, so none does as well. At the whole model there is no other."""
    own = EDGES[:1]
    others = sum(edge.kind == own[0].kind for edge in EDGES) - 1
    hand = Hand(additive(weighted([1.0])))
    found = evaluate_on(
        hand, circuit(*own), scores=scored([float(-i) for i in range(N)]), sizes=[0, 1, N], n_random=500
    )
    assert [len(p.random) for p in found.curve] == [0, others, 0]
    assert (found.random_above, found.n_twins, found.n_random) == (0.0, others, 500)
    whole = evaluate_on(hand, circuit(*EDGES), n_random=5)
    assert (whole.random_above, whole.n_twins) == (None, 0) and "no other of this size" in str(whole)
    assert random_words(whole).startswith("none:") and f"0 of the {others} that exist" in random_words(found)


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [(-0.2, -0.3, -0.1, "less than nothing"), (-0.002, -0.005, 0.001, "not told apart from nothing"), (0.2, 0.1, 0.3, "only")],
)  # fmt: skip
def test_little_is_called_what_it_is(value: float, low: float, high: float, words: str) -> None:
    text = finding(replace(a_record(), evaluation=an_evaluation(faithfulness=Estimate(value, low, high))))
    assert words in text
    assert ("push against" in text) == (high < 0)


def test_one_pair_is_one() -> None:
    text = finding(replace(a_record(), evaluation=an_evaluation(n_pairs=1, held_out=False)))
    assert "on the pair also used to choose them" in text


def test_one_pair_from_the_command_line_is_not_called_by_a_name_of_ours() -> None:
    own = a_record().circuit
    assert own is not None
    circuit = replace(own, task="command-line")
    text = finding(replace(a_record(), circuit=circuit, evaluation=an_evaluation(n_pairs=1, held_out=False)))
    assert "on the pair given on the command line, also used to choose them (" in text and "command-line" not in text
    assert "on 1 pair:" in str(an_evaluation(n_pairs=1, held_out=False))


@pytest.mark.parametrize(
    ("further", "short"),
    [
        (Estimate(0.2, 0.05, 0.3), True),
        (Estimate(0.2, -0.05, 0.3), False),
        (Estimate(0.05, 0.01, 0.09), False),
        (Estimate(0.2, None, None), True),
        (Estimate(None, None, None), False),
    ],
)
def test_a_circuit_falls_short_by_a_tenth_and_not_by_chance(further: Estimate, short: bool) -> None:
    judged = OtherAblation("zero", Estimate(0.29, 0.2, 0.4), further, 3.0, 0.5, 1.2, (0.01, 0.034))
    assert judged.falls_short is short
    record = replace(a_record(), evaluation=an_evaluation(other=judged))
    assert (
        ", but made for that ablation: f = 93 % [88, 97] under counterfactual, 29 % [20, 40] under zero ablation"
        in finding(record)
    ) is short


def test_a_size_that_was_looked_for_comes_with_what_was_tried_in_vain() -> None:
    """By halving, by trying every size, and where no size was faithful."""
    values = [1.0] * N
    weights = weighted(values)
    orders = {"target": 0.9, "largest": N}
    every, some = (find_smallest_on(Hand(additive(weights)), scored(values), every=e, **orders) for e in (True, False))  # type: ignore[arg-type]
    assert every.size is not None and every.size == some.size
    record = a_record()
    parts = circuit(*scored(values).parts[: every.size])
    said = [finding(replace(record, circuit=parts, size_search=search)) for search in (every, some)]
    assert "the size is the smallest: every smaller size was tried" in said[0]
    none = none_smaller([some])
    assert none is not None and none.parts == every.size - 1
    assert f"the size is the smallest found: {none}" in said[1] or some.exhaustive
    failed = find_smallest_on(Hand(additive(weights)), scored(values), target=0.9, largest=2)
    assert f"no circuit of at most 2 of {N} edges with f >= 0.9 was found by" in finding(
        replace(record, size_search=failed)
    )
