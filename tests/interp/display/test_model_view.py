"""The page of all heads: it holds the weights and the tokens, and nothing of a token is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from interp.display.model_view import MOST_WEIGHTS, framed
from interp.heads.patterns import AttentionPatterns
from tests.interp.display.displayed import HOSTILE, read


def patterns(token: str = "cat", n: int = 3) -> AttentionPatterns:
    rows = np.random.default_rng(0).dirichlet(np.ones(n), size=(2, 4, n)).astype(np.float32)
    return AttentionPatterns((token, *(f"t{i}" for i in range(n - 1))), (1, 3), rows, token)


def held(page: str) -> dict[str, object]:
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_page_holds_every_weight() -> None:
    found = patterns()
    data = held(found.render())
    weights = np.frombuffer(base64.b64decode(str(data["weights"])), dtype=np.uint8).reshape(found.weights.shape) / 255
    assert np.abs(weights - found.weights).max() <= 0.5 / 255 + 1e-6
    assert (data["tokens"], data["layers"], data["heads"]) == (["cat", "t0", "t1"], [1, 3], 4)


def test_the_page_loads_nothing_and_runs_its_own_script_alone() -> None:
    page = patterns().render()
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page.replace("&#39;", "'")
    assert not re.search(r"""(src|href)\s*=|url\(|@import|fetch\(|import\(""", page)


@pytest.mark.parametrize("name", HOSTILE)
def test_tokens_are_text(name: str) -> None:
    assert read(patterns(name).render()).found == read(patterns("x").render()).found
    assert read(str(framed(patterns(name)))).found == ["iframe"]


def test_what_is_too_large_for_a_frame_is_said() -> None:
    found = AttentionPatterns(("a",) * 512, (0,), np.zeros((1, MOST_WEIGHTS // 512**2 + 1, 512, 512)))
    assert "read fewer layers" in found._repr_html_() and "iframe" not in found._repr_html_()
