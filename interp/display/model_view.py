"""All heads of a model at once: a page with a small map of every head, layers down and heads across, and one head large.

The page needs nothing else: its data, style and script are in it, named by their hashes, and it may load nothing. A notebook shows it in a
frame that may run this script and reaches nothing around it.
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from markupsafe import Markup

from interp.formatting import showing
from interp.formatting.self_contained import as_json, policy
from interp.formatting.text import token, visible
from interp.heads.patterns import AttentionPatterns

#: Weights that a frame in a notebook holds, a byte each.
MOST_WEIGHTS: Final = 1 << 20
HEIGHT: Final = 660
_PAGE: Final = Markup(
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    '<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title><style>{style}</style></head>'
    '<body><main><div id="grid" tabindex="0" role="region" aria-label="All heads"><h1>{title}</h1>'
    "<p>A map for each head, a row per query token and a column per key token, darker for more weight (by its root). Click one.</p></div>"
    '<div id="head" tabindex="0" role="region" aria-label="One head"><h2 id="name"></h2><canvas id="map"></canvas><p id="said">Point at the map or at a token on the left.</p>'
    '<div id="lines"></div></div></main>'
    '<script type="application/json" id="data">{data}</script><script>{script}</script></body></html>'
)


@showing.page.register
def patterns_page(found: AttentionPatterns) -> str:
    """The page of the patterns of one prompt. Weights are kept to 1/255."""
    style, script = _source("model_view.css"), _source("model_view.js")
    heads = found.weights.shape[1]
    data = {
        "tokens": [token(text) for text in found.tokens],
        "columns": [token(text) for text in found.looked_at],
        "layers": list(found.layers),
        "heads": heads,
        "prefix": f"{found.stack}:" if found.stack else "",
        "letter": "x" if found.sources else "a",
        "weights": base64.b64encode(np.rint(255 * found.weights.clip(0, 1)).astype(np.uint8).tobytes()).decode(),
    }
    title = f"{len(found.layers)} layers of {heads} heads" + (f", {visible(found.model, 80)}" if found.model else "")
    filled = _PAGE.format(
        policy=Markup(policy(style, [script])),
        title=title,
        style=Markup(style),
        data=as_json(data),
        script=Markup(script),
    )
    return str(filled)


def framed(found: AttentionPatterns) -> Markup:
    """The page in a frame for a notebook; a line that says what to do where it would be too large."""
    if (n := found.weights.size) > MOST_WEIGHTS:
        return Markup("<div>{}</div>").format(
            f"{n:,} weights are too many for the view of all heads ({MOST_WEIGHTS:,}); read fewer layers (layers=...) or a shorter text."
        )
    # Without allow-same-origin the page has an origin of its own: it reaches neither the notebook nor its server.
    return Markup(
        '<iframe sandbox="allow-scripts" title="{}" width="100%" height="{}" style="{}" srcdoc="{}"></iframe>'
    ).format("All heads", HEIGHT, "border: 1px solid rgba(128, 128, 128, .4); border-radius: 4px", patterns_page(found))


@cache
def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
