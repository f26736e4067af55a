"""The sentence at the head of a report on edges."""

from __future__ import annotations

from dataclasses import replace

from circuits.runs.finding import finding
from circuits.runs.record import Record
from interp.scores.agreement import Agreement, Row, agreement
from tests.circuits.runs.edge_records import SMALL, edge_record, edge_scores
from tests.interp.scores.random_scores import PAIRS


def with_rows(*rows: tuple[str, int, float]) -> Record:
    found = tuple(
        Row(kind, n, r, (r - 0.05, r + 0.04) if n >= 8 else None, r, None, 0.9, 0.8, 3) for kind, n, r in rows
    )
    return replace(edge_record(), agreements=(Agreement("relp", found, PAIRS),))


def test_finding_in_full() -> None:
    assert finding(with_rows(("all", 120, 0.9), ("head->q", 60, 0.95), ("mlp->logits", 4, 0.1))) == (
        "30 of 479 edges carry 93 % [88, 97] of the logit difference on 50 held-out pairs of they_plural (no random circuit of "
        "the same size did as well, n = 3); relp agrees with exact patching with r = 0.90 [0.85, 0.94] over 120 of 479 edges."
    )


def test_finding_names_the_worst_kinds() -> None:
    text = finding(with_rows(("all", 479, 0.9), ("head->q", 60, 0.5), ("embed->mlp", 9, -0.2), ("mlp->logits", 4, 0.1)))
    assert text.endswith(
        "with r = 0.90 [0.85, 0.94] over 479 edges, but poorly, with r = −0.20 [−0.25, −0.16] over 9 edges from the embedding "
        "to MLPs and r = 0.50 [0.45, 0.54] over 60 edges from heads to queries."
    )
    kinds = [(f"head->{c}", 20, 0.1 * i) for i, c in enumerate(("q", "k", "v", "mlp", "logits"))]
    assert finding(with_rows(("all", 479, 0.9), *kinds)).endswith("edges from heads to values and 2 more of 5 kinds.")


def test_finding_of_poor_or_few_edges() -> None:
    poor = finding(with_rows(("all", 100, 0.4)))
    assert "relp agrees poorly with exact patching: r = 0.40 [0.35, 0.44] over 100 of 479 edges" in poor
    assert "there are too few edges (5) to quote a correlation" in finding(with_rows(("all", 5, 0.9)))


def test_finding_of_compared_methods() -> None:
    exact = edge_scores(SMALL.edges, 0, "exact")
    found = tuple(edge_scores(SMALL.edges, i, m) for i, m in enumerate(("relp", "atp"), 1))
    text = finding(Record({}, found, exact, tuple(agreement(s, exact) for s in found)))
    assert "correlation with exact patching over 479 edges, best first: relp" in text
