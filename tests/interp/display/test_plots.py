"""Figures hold the numbers of the values they show, centred at zero, with units, and harmless text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from interp.attribution.feature_edges import feature_edges
from interp.attribution.request import attribute_all
from interp.attribution.token_attribution import TokenAttribution
from interp.display.attention_plots import MOST_HEADS, plot_attention
from interp.display.plots import MOST_BARS, plot_agreement, plot_scores
from interp.errors import InterpError, ScoreError
from interp.heads.patterns import AttentionPatterns, attention_patterns
from interp.lenses.lens import direct_logit_attribution, logit_lens
from interp.scores.scores import Scores
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

NASTY_TAG = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def found() -> dict[str, Scores]:
    """Estimate and exact scores of a tiny model with more than one K/V head and MLP."""
    return attribute_all(hooked("llama"), toy_task(), methods=["relp", "exact"], level="heads")


def as_json(figure: Any) -> dict[str, Any]:
    """What a browser is sent."""
    return json.loads(figure.to_json())


def cells(figure: Any) -> dict[tuple[str, str], float]:
    heat = figure.data[0]
    return {(y, x): v for y, row in zip(heat.y, heat.z, strict=True) for x, v in zip(heat.x, row, strict=True)}


def test_score_map_holds_every_score_once(found: dict[str, Scores]) -> None:
    scores = found["relp"]
    shown = cells(plot_scores(scores))
    assert shown["1", "h2"] == pytest.approx(scores["a1.h2"])
    assert shown["0", "mlp"] == pytest.approx(scores["m0"])
    assert shown["none", "embed"] == pytest.approx(scores["embed"])
    assert sum(value is not None for value in shown.values()) == len(scores.parts)


def test_score_map_is_centred_and_has_units(found: dict[str, Scores]) -> None:
    figure = found["relp"].plot()
    heat = figure.data[0]
    assert heat.zmid == 0
    middle = dict(heat.colorscale)[0.5]
    assert middle.upper() == "#FFFFFF"
    assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text == "layer"
    assert heat.colorbar.title.text == "logits"
    assert "a0.h1" in heat.text[list(heat.y).index("0")][list(heat.x).index("h1")]


@pytest.mark.parametrize(
    ("level", "positions"), [("resid", "each"), ("heads", "end"), ("qkv", "all"), ("blocks", "all")]
)
def test_every_level_has_a_map(level: str, positions: str) -> None:
    scores = attribute_all(hooked("llama"), toy_task(), methods=["atp"], level=level, positions=positions)["atp"]
    figure = plot_scores(scores)
    values = [v for v in cells(figure).values() if v is not None]
    assert sorted(values) == pytest.approx(sorted(scores.mean))
    layers = [int(found[0]) if (found := re.findall(r"\d+", name)) else -1 for name in figure.data[0].y]
    assert layers == sorted(layers) and figure.layout.yaxis.autorange != "reversed"
    assert as_json(figure)["data"]


def test_neurons_are_bars_of_the_largest() -> None:
    scores = attribute_all(hooked("gpt2"), toy_task(), methods=["atp"], level="neurons")["atp"]
    bar = plot_scores(scores).data[0]
    assert len(bar.x) == MOST_BARS
    assert (bar.y[-1], bar.x[-1]) == pytest.approx(scores.top(1)[0])


def test_features_and_their_edges_are_bars_of_the_largest() -> None:
    model, names = hooked("gpt2"), ("resid_post.0", "mlp_out.1")
    dictionaries = {d.target: d for d in (made(name, model.layout.d_model, n=40) for name in names)}
    common = {"level": "features", "dictionaries": dictionaries}
    nodes = attribute_all(model, toy_task(), methods=["relp"], **common)["relp"]
    edges = feature_edges(model, toy_task(), [name for name, _ in nodes.top(6)], dictionaries=dictionaries)
    for scores, what in ((nodes, "feature"), (edges, "edge")):
        bar, size = plot_scores(scores).data[0], min(MOST_BARS, len(scores.parts))
        wanted = sorted(scores.mean.tolist(), key=abs, reverse=True)[:size]
        assert bar.type == "bar" and [abs(x) for x in bar.x[::-1]] == pytest.approx([abs(x) for x in wanted])
        assert plot_scores(scores).layout.yaxis.title.text == f"{what}, the {size} largest of {len(scores.parts)}"


def test_agreement_shows_every_node_at_both_scores(found: dict[str, Scores]) -> None:
    figure = plot_agreement(found["relp"], found["exact"])
    points = {
        text: (x, y) for trace in figure.data[1:] for text, x, y in zip(trace.text, trace.x, trace.y, strict=True)
    }
    assert points.keys() == {node.name for node in found["exact"].parts}
    assert points["a1.h3"] == pytest.approx((found["exact"]["a1.h3"], found["relp"]["a1.h3"]))
    assert "logits" in figure.layout.xaxis.title.text and "logits" in figure.layout.yaxis.title.text


def test_agreement_of_a_sample_pairs_nodes_by_name(found: dict[str, Scores]) -> None:
    sample = found["exact"].select_components({"m1", "a0.h0", "a1.h1"})
    figure = plot_agreement(found["relp"], sample)
    assert sum(len(trace.x) for trace in figure.data[1:]) == 3


def test_agreement_refuses_other_conventions(found: dict[str, Scores]) -> None:
    with pytest.raises(ScoreError, match="exact"):
        plot_agreement(found["exact"], found["relp"])


def test_names_from_files_are_text_and_never_tags(found: dict[str, Scores]) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    scores = replace(found["relp"], provenance=replace(found["relp"].provenance, task=hostile, unit=hostile))
    text = plot_scores(scores).to_json()
    assert "<img" not in text and "\\u003cimg" not in text


def test_labels_with_angle_brackets_are_escaped() -> None:
    scores = attribute_all(hooked("llama"), toy_task(), methods=["atp"], level="qkv")["atp"]
    columns = plot_scores(scores).data[0].x
    assert "h0&lt;q&gt;" in columns and "kv1&lt;v&gt;" in columns


# ------------------------------------------------------------ logits, tokens, attention


def test_attention_maps_hold_the_weights_with_tokens_on_both_axes() -> None:
    model = hooked("llama")
    patterns = attention_patterns(model, [3, 4, 5, 6])
    figure = patterns.plot(["a1.h2", "a0.h0"])
    assert [note.text for note in figure.layout.annotations] == ["a1.h2", "a0.h0"]
    for heat, name in zip(figure.data, ("a1.h2", "a0.h0"), strict=True):
        assert np.allclose(np.array(heat.z), patterns[name], atol=1e-5)
        assert list(heat.x) == list(heat.y) and len(set(heat.x)) == 4
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0.0, 1.0)
    every = plot_attention(model, [3, 4, 5, 6])
    assert len(every.data) == min(MOST_HEADS, len(patterns.heads))
    for given, prompt, message in (
        (model, None, "takes a model and a prompt"),
        (patterns, [3], "or attention patterns alone"),
    ):
        with pytest.raises(InterpError, match=message):
            plot_attention(given, prompt)
    with pytest.raises(InterpError, match="unknown head 'a9"):
        patterns.plot("a9.h9")
    with pytest.raises(InterpError, match="none given"):
        patterns.plot([])


def test_heads_that_are_left_out_are_counted() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), size=(5, 4, 3))
    figure = plot_attention(AttentionPatterns(("a", "b", "c"), tuple(range(5)), weights))
    assert len(figure.data) == MOST_HEADS
    assert f"{20 - MOST_HEADS} more heads are left out" in figure.layout.title.text


def test_lens_and_logits_hold_what_the_values_hold() -> None:
    model = hooked("gpt2")
    lens = logit_lens(model, [3, 4, 5])
    heat = lens.plot().data[0]
    probabilities, ids = lens.top(1)
    assert np.allclose(np.array(heat.z), probabilities[:, 0, :, 0].numpy())
    assert [list(row) for row in heat.text] == [[str(i) for i in row] for row in ids[:, 0, :, 0].tolist()]
    parts = direct_logit_attribution(model, [3, 4, 5])
    figure = parts.plot()
    shown = cells(figure)
    assert shown["layer 1", "h2"] == pytest.approx(parts["a1.h2"])
    assert shown["layer 0", "mlp"] == pytest.approx(parts["m0"])
    assert figure.data[0].zmid == 0 and f"embed {parts['embed']:+.3f}" in figure.layout.title.text


def test_pixels_are_a_map_and_positions_of_no_whole_image_are_bars() -> None:
    names = tuple(f"r{i}c{j}" for i in range(2) for j in range(3))
    values = (0.5, -0.25, 0.0, 1.0, 2.0, -4.0)
    found = TokenAttribution(
        (names, names[1:]),
        (values, values[1:]),
        (1.0, 2.0),
        None,
        "epsilon",
        "logit",
        NASTY_TAG,
        "zero",
        None,
        "",
        "m",
        NASTY_TAG,
    )
    heat = found.plot().data[0]
    assert heat.type == "heatmap" and [list(row) for row in heat.z] == [[0.5, -0.25, 0.0], [1.0, 2.0, -4.0]]
    assert (heat.zmin, heat.zmax) == (-4.0, 4.0) and found.plot().layout.yaxis.autorange == "reversed"
    assert "<img" not in found.plot().to_json() and found.plot(1).data[0].type == "bar"


def test_tokens_are_bars_and_hostile_tokens_are_text() -> None:
    found = TokenAttribution(
        ((NASTY_TAG, "b"), ("c",)), ((0.5, -0.25), (1.0,)), (1.0, 2.0), None, NASTY_TAG, "logit_diff", NASTY_TAG, "corrupt",
        None, "", "m", NASTY_TAG,
    )  # fmt: skip
    bar = found.plot().data[0]
    assert list(bar.y) == [0.5, -0.25] and len(bar.x) == 2
    assert bar.marker.color[0] != bar.marker.color[1]
    assert "<img" not in found.plot().to_json() and "\\u003cimg" not in found.plot().to_json()
