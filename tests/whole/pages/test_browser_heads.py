"""The page of all heads in a browser: it is silent, choosing a head shows it, and the numbers on it are its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from interp.heads.patterns import AttentionPatterns
from tests.whole.pages.browser import Chrome

TOKENS = ("the", "<b>cat</b>", " sat", " on")


def test_a_head_is_chosen_and_read(chrome: Chrome, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 5, 4))
    found = AttentionPatterns(TOKENS, (0, 2, 5), rows, "by hand")
    path = tmp_path / "heads.html"
    path.write_text(found.render())
    with chrome.open(path) as tab:
        page = tab.page
        assert page.locator("button").count() == 15
        page.click('button[title="a5.h3"]')
        assert page.inner_text("#name") == "a5.h3"
        assert page.get_attribute('button[title="a5.h3"]', "aria-pressed") == "true"
        page.hover("svg .name >> nth=2")
        shown = [float(text) for text in page.locator("svg .weight").all_text_contents()]
        wanted = found["a5.h3"][2]
        np.testing.assert_allclose(shown, wanted[np.rint(255 * wanted) / 255 >= 0.005], atol=0.0071)
        page.hover("#map", position={"x": 30, "y": 60})
        assert page.inner_text("#said").startswith("2 \u00b7sat looks at 1 <b>cat</b>: ")
        assert tab.wider_than_the_window() == 0
        tab.shot("heads")
        page.set_viewport_size({"width": 400, "height": 700})
        assert tab.wider_than_the_window() == 0
        assert not tab.trouble()


def test_heads_that_look_at_another_stream(chrome: Chrome, tmp_path: Path) -> None:
    """Two queries, six keys with names of their own."""
    rows = np.random.default_rng(0).dirichlet(np.ones(6), size=(2, 3, 2))
    there = ("t0", "t1", "t2", "<i>t3</i>", "t4", "t5")
    found = AttentionPatterns(TOKENS[:2], (0, 2), rows, "by hand", sources=there)
    path = tmp_path / "heads.html"
    path.write_text(found.render())
    with chrome.open(path) as tab:
        page = tab.page
        page.click('button[title="x2.h1"]')
        page.hover("svg .name >> nth=1")
        shown = [float(text) for text in page.locator("svg .weight").all_text_contents()]
        wanted = found["x2.h1"][1]
        np.testing.assert_allclose(shown, wanted[np.rint(255 * wanted) / 255 >= 0.005], atol=0.0071)
        page.hover("#map", position={"x": 82, "y": 36})
        assert page.inner_text("#said").startswith("1 <b>cat</b> looks at 3 <i>t3</i>: ")
        tab.shot("heads-across")
        assert not tab.trouble()
