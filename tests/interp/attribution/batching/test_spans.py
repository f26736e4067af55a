"""Spans of the built-in tasks as positions of scores."""

from __future__ import annotations

import pytest

from interp.tasks import builtin


@pytest.mark.parametrize("name", builtin.names())
def test_spans_never_overlap_so_that_scores_can_be_taken_by_span(name: str) -> None:
    from interp.attribution.batching.positions import align
    from interp.model.loading.load import load
    from interp.tasks.find import task

    model = load("demo")
    pairs = task(name, model, n=30).tokenize(model.tokenizer, model.layout.d_vocab)
    aligned = align("spans", pairs)
    assert len(aligned.labels) >= 2 and all(
        len(row) == pair.length for row, pair in zip(aligned.of_token, pairs, strict=True)
    )
