"""Figures of what heads look at, and of pairs of tokens, hold the numbers of their values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interp.errors import InterpError
from interp.heads.clusters import head_clusters
from interp.heads.relations import HeadRelations
from tests.interp.display.displayed_heads import (
    head_distances_of,
    head_relations_of,
    head_statistics_of,
    pairs_of,
    second_order_of,
)

NASTY = "<img src=x onerror=alert(1)>"


def test_a_measure_by_layer_and_head() -> None:
    found = head_statistics_of("x")
    heat = found.plot(measure="to_self").data[0]
    assert (list(heat.y), list(heat.x), heat.zmax) == (["a0", "a1"], ["h0", "h1"], 1)
    np.testing.assert_allclose(np.array(heat.z).ravel(), found["to_self"], atol=1e-5)
    assert found.plot(measure="entropy").data[0].colorbar.title.text == "nats"
    with pytest.raises(InterpError, match="unknown measure"):
        found.plot(measure="to_none")


def test_distances_and_groups() -> None:
    found = head_distances_of("x")
    np.testing.assert_allclose(np.array(found.plot().data[0].z), found.distances, atol=1e-4)
    groups = head_clusters(found, 2)
    figure = groups.plot()
    assert [list(trace.hovertext) for trace in figure.data] == [list(heads) for heads in groups.members]
    np.testing.assert_allclose(figure.data[1].x, groups.places[2:, 0])


def test_relations_stand_beside_their_offset() -> None:
    found = head_relations_of("x")
    head, offset = found.plot().data
    assert (list(head.x), list(offset.x), list(head.y)) == ([1.0], [1 / 3], ["x (3)"])
    assert head.error_x.arrayminus[0] == pytest.approx(1 - found.rows[0].low)  # type: ignore[operator]
    one = HeadRelations(
        found.relations[1:],
        found.heads,
        found.hits[1:],
        found.total[1:],
        found.offset_hits[1:],
        found.chosen_on,
        True,
    )
    with pytest.raises(InterpError, match="in both parts"):
        one.plot()


def test_a_matrix_of_tokens() -> None:
    found = pairs_of("x")
    heat = found.plot().data[0]
    np.testing.assert_array_equal(np.array(heat.z), found.matrix())
    assert (list(heat.y), list(heat.x), heat.zmid) == (["0 x", "1 b"], ["0 c", "1 x", "2 d"], 0)
    with pytest.raises(InterpError, match="pairs 0 to 0"):
        found.plot(pair=1)


def test_neurons_are_bars_of_the_largest() -> None:
    bar = second_order_of("x").plot(output="x too").data[0]
    assert (list(bar.y), list(bar.x)) == (["m1.n2", "m1.n0", "m1.n1"], [0.0, 0.0, 0.5])
    with pytest.raises(InterpError, match="unknown output"):
        second_order_of("x").plot(output="y")


def test_names_are_text_and_never_tags() -> None:
    distances = head_distances_of(NASTY)
    for value in (
        head_statistics_of(NASTY),
        distances,
        head_clusters(distances, 2),
        head_relations_of(NASTY),
        pairs_of(NASTY),
        second_order_of(NASTY),
    ):
        assert "<img" not in json.dumps(json.loads(value.plot().to_json()))
