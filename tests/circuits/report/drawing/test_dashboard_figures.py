"""Figures of dashboards: to scale, and nothing hidden."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from circuits.report.drawing import dashboard_figures as figures
from interp.dictionaries.evaluation.dashboard_values import (
    Example,
    Histogram,
)
from interp.dictionaries.evaluation.measured import Baseline, CrossEntropies, DictionaryEvaluation
from interp.formatting.text import token
from tests.interp.formatting.tags import Text, same


def an_evaluation(text: Text = same, **changes: Any) -> DictionaryEvaluation:
    counts = np.array([0, 0, 0, 1, 10, 99, 100, 101, 999, 1000, 5000, 10000])
    made = DictionaryEvaluation(
        dictionary=text("my dictionary"), site="resid_post.1", target="resid_post.1", activation="TopK", model=text("demo"),
        data=text("some text"), d_in=128, d_out=128, tokens=10000, l0=3.2, l0_quantiles={"0.05": 2.0, "0.95": 4.0},
        explained_variance=0.912, mse=0.125, cosine=0.953, counts=counts,
        cross_entropies=CrossEntropies(1.25, 1.41, 9.25, 6.25, 9000), pca=(Baseline(3, 0.5), Baseline(32, 0.8)),
        pca_fit=text("on the other half"), settings={"tokens": 10000, text("seed"): text("three")},
    )  # fmt: skip
    return replace(made, **changes)


def rectangles(picture: str) -> list[tuple[dict[str, float], str]]:
    found = []
    for given, title in re.findall(r"<rect ([^>]*)><title>([^<]*)</title>", picture):
        found.append(({k: float(v) for k, v in re.findall(r'(\w+)="([\d.]+)"', given)}, title))
    return found


def test_every_feature_is_in_one_bar_of_the_histogram_of_densities() -> None:
    e = an_evaluation()
    bars = rectangles(figures.densities(e.counts, e.tokens))
    numbers = [int(title.split()[0]) for _, title in bars]
    assert sum(numbers) == 12 and bars[-1][1] == "3 features never active"
    heights = [box["height"] for box, _ in bars]
    assert heights == pytest.approx([200 * n / max(numbers) for n in numbers], abs=0.1)
    for (box, title), n in zip(bars[:-1], numbers, strict=False):
        low, high = (float(x) for x in re.findall(r"on ([\d.e−-]+) to ([\d.e−-]+) of", title.replace("−", "-"))[0])
        shares = e.counts / e.tokens
        assert ((shares >= low * 0.9999) & (shares < high * 0.9999)).sum() == n or high == 1
        assert box["x"] == pytest.approx(150.5 + 510 * (np.log10(low) + 4) / 4, abs=0.2)


@pytest.mark.parametrize("tokens", [1, 2, 10, 11, 10**9])
def test_densities_of_any_amount_of_text_can_be_drawn(tokens: int) -> None:
    counts = np.array([0, 1, tokens])
    assert sum(int(title.split()[0]) for _, title in rectangles(figures.densities(counts, tokens))) == 3


def test_bars_of_activations_grow_with_the_logarithm_of_the_tokens() -> None:
    bars = rectangles(figures.activations(Histogram(0.5, (10, 5, 0, 3)), 1.9))
    assert [int(title.split()[0]) for _, title in bars] == [10, 5, 3]
    assert [box["height"] for box, _ in bars] == pytest.approx(
        [76 * np.log1p(n) / np.log1p(10) for n in (10, 5, 3)], abs=0.1
    )
    assert [box["x"] for box, _ in bars] == pytest.approx([8.5, 73.5, 203.5], abs=0.1)


@pytest.mark.parametrize("text", [" a b", "·", " · ", "\n\u202e<b>", "", "a" * 500, "\u0308", "\u00a0"])
def test_flowing_text_hides_nothing_that_a_token_shows(text: str) -> None:
    """Spaces are spaces, and everything else is what the table of tokens shows; a real middle dot stays its code."""
    shown = str(figures.text(Example(0, 0, 0, (text,), (1.0,)), 1.0))
    inner = re.findall(r'<bdi class="shade pos a100 peak"[^>]*>(.*)</bdi>', shown)[0]
    assert inner.replace(" ", "·").replace("&lt;", "<").replace("&gt;", ">") == token(text).replace(" ", "·")
    assert ("·" in text) == ("⟨U+00B7⟩" in inner)
