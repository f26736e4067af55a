"""Cards and figures of statistics of a corpus."""

from __future__ import annotations

import pytest

from interp.activations.summarise import summarise
from interp.statistics.accumulator import StatisticError
from tests.interp.model.tiny import hooked, ids


def test_a_summary_shows_its_sites_and_draws_one_number() -> None:
    model = hooked("llama")
    model.name = "<b>mine</b>"
    found = summarise(model, ids(3, 6).tolist(), ["mlp_post", "z.1"], ["sparsity", "moments"])
    card = found._repr_html_()
    assert "mlp_post.1" in card and "<b>mine" not in card and "hoyer" in card
    figure = found.plot(number="positive")
    assert list(figure.data[0].x) == ["mlp_post.0", "mlp_post.1", "z.1"]
    assert list(figure.data[0].y) == found.numbers()["positive"].tolist()
    with pytest.raises(StatisticError, match="Did you mean hoyer"):
        found.plot(number="hoyr")
    with pytest.raises(StatisticError, match="no number for a site"):
        summarise(model, ids(3, 6).tolist(), "z.1").plot()
