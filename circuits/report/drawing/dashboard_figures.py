"""The pictures of a dictionary's report: densities, activations of one feature, the heads that it is made of, coloured text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from circuits.report.drawing import svg
from circuits.report.drawing.svg import Scale, element, label, line
from interp.formatting.numbers import count, number, percent
from interp.formatting.text import token

if TYPE_CHECKING:
    import numpy as np

    from interp.dictionaries.evaluation.dashboard_values import Example, Histogram

#: Bars per factor of ten in the histogram of densities.
PER_DECADE: Final = 4
_RAISED: Final = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_CELL: Final = 22.0
_NUMBERED: Final = 16


def densities(counts: np.ndarray, tokens: int) -> Markup:
    """How many features have a density of each size, on a logarithmic axis; those never active in a bar of their own."""
    decades = max(1, math.ceil(math.log10(tokens)))
    bars = [0] * (decades * PER_DECADE)
    for n in counts[counts > 0].tolist():
        place = math.floor((math.log10(n / tokens) + decades) * PER_DECADE + 1e-9)
        bars[min(max(place, 0), len(bars) - 1)] += 1
    dead = int((counts == 0).sum())
    x, y = Scale(-decades, 0, 150, 660), Scale(0, max(1, *bars, dead), 220, 20)
    powers = [(float(p), _power(p)) for p in range(-decades, 1)]
    heights = sorted({round(t) for t in svg.ticks(0, y.high, 4)})
    parts = [svg.axes(x, y, powers, [(float(t), count(t)) for t in heights], ("share of the tokens (logarithmic)", ""))]
    parts.append(label(20, 120, "features", "middle name", turn=-90))
    for i, n in enumerate(bars):
        start, stop = (-decades + (i + j) / PER_DECADE for j in (0, 1))
        text = f"{count(n)} features active on {number(10**start)} to {number(10**stop)} of the tokens"
        parts += _bar(x(start), x(stop), y(n), y.start, text, "k0") if n else []
    parts += _bar(70, 100, y(dead), y.start, f"{count(dead)} features never active", "k1") if dead else []
    parts += [label(85, y.start + 18, "never", "middle"), line(60, y.start, 110, y.start, "axis")]
    parts.append(label(85, y(dead) - 6, count(dead), "middle value"))
    return svg.drawing(680, 268, "Histogram of how often features are active", *parts)


def _power(p: int) -> str:
    return "10⁻" + "".join(_RAISED[int(c)] for c in str(-p)) if p else "1"


def _bar(x1: float, x2: float, top: float, bottom: float, text: str, kind: str) -> list[Markup]:
    box: dict[str, str | float] = {"x": x1 + 0.5, "y": top, "width": max(1.0, x2 - x1 - 1), "height": bottom - top}
    return [element("rect", {**box, "class": kind}, element("title", {}, text))]


def activations(histogram: Histogram, maximum: float) -> Markup:
    """How many tokens have which activation, where the feature is active; heights in log(1 + tokens)."""
    n = len(histogram.counts)
    x, y = Scale(0, n * histogram.width, 8, 268), Scale(0, max(1, *histogram.counts), 92, 16, log=True)
    parts = [line(8, 92, 268, 92, "axis")]
    for i, tokens in enumerate(histogram.counts):
        start, stop = i * histogram.width, (i + 1) * histogram.width
        text = f"{count(tokens)} tokens with activations from {number(start)} to {number(stop)}"
        parts += _bar(x(start), x(stop), y(tokens), 92, text, "k0") if tokens else []
    ticks = svg.ticks(0, maximum, 4)
    parts += [label(x(at), 108, text, "middle") for at, text in svg.numbered(ticks)]
    parts.append(label(268, 10, f"tallest bar: {count(max(histogram.counts))} tokens", "end"))
    return svg.drawing(280, 114, "Histogram of the feature's activations", *parts)


def heads(shares: Sequence[float]) -> Markup:
    """One cell per head, stronger for a larger share of the decoder row."""
    limit, parts = max(shares), []
    for head, share in enumerate(shares):
        box: dict[str, str | float] = {"x": 1 + head * _CELL, "y": 1.0, "width": _CELL - 2, "height": 18.0}
        opacity = svg.strength(share, limit)[1]
        title = element("title", {}, f"head {head}: {percent(share)}")
        parts.append(element("rect", {**box, "class": "cell pos", "fill-opacity": opacity}, title))
        if len(shares) <= _NUMBERED:
            parts.append(label(head * _CELL + _CELL / 2, 34, str(head), "middle"))
    return svg.drawing(len(shares) * _CELL, 40, "Share of each head in the decoder row", *parts)


def text(example: Example, maximum: float) -> Markup:
    """The tokens of an example in a row, the stronger coloured the more active, the peak underlined."""
    return Markup("").join(_runs(example, maximum))


def _runs(example: Example, maximum: float) -> Iterator[Markup]:
    """Tokens where the feature is silent are put together, so that a page of many examples stays small."""
    silent = ""
    for i, (one, value) in enumerate(zip(example.tokens, example.activations, strict=True)):
        shown = _flowing(one)
        if not value and i != example.peak:
            silent += shown
            continue
        if silent:
            yield Markup("<bdi>{}</bdi>").format(silent)
        peak = " peak" if i == example.peak else ""
        made = '<bdi class="{}{}" title="{}">{}</bdi>'
        yield Markup(made).format(svg.shade(value or 0.0, maximum), peak, number(value), shown)
        silent = ""
    if silent:
        yield Markup("<bdi>{}</bdi>").format(silent)


def _flowing(given: str) -> str:
    """A token as text that flows: spaces stay spaces. A middle dot in the token itself is shown as its code before."""
    return token(given).replace("·", " ")


def link(feature: int, known: frozenset[int]) -> Markup:
    """The number of a feature, as a link where the page has a card of it."""
    name = escape(count(feature))
    return Markup('<a href="#f{}">{}</a>').format(feature, name) if feature in known else name
