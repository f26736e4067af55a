"""How circuits and what was measured of them show themselves in notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup, escape

from circuits.circuit.circuit import Circuit, ShownCircuit
from circuits.evaluation.assessment import Assessment
from circuits.evaluation.evaluation import Evaluation, Point, Search
from circuits.evaluation.none_smaller import NoneSmaller, none_smaller
from circuits.report.drawing import svg
from circuits.report.drawing.svg import Scale
from circuits.runs.judged import other_words, random_words
from circuits.terms.words import pairs_in_words
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, NEGATIVE, block, caption, element, facts, joined, left_out, table, text
from interp.formatting.numbers import MISSING, column_digits, count, number, percent, percent_interval
from interp.parts.nodes import FEATURES
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores

MOST_PARTS: Final = 60
#: Of the frame, in pixels: a drawing with its panel beside it, and the slider above.
HEIGHT: Final = 860
WITHOUT_SLIDER: Final = 730
_WIDE, _HIGH = 300.0, 96.0


@showing.card.register
def _in_view(shown: ShownCircuit) -> Markup:
    return circuit_card(shown.circuit, shown.scores, shown.evaluation, shown.edges)


@showing.card.register
def circuit_card(
    found: Circuit, scores: Scores | None = None, evaluation: Evaluation | None = None, edges: Scores | None = None
) -> Markup:
    """The interactive view in a frame that may run its own scripts and nothing else, and the parts as a list."""
    from circuits.report.pages import circuit_page

    what = found.level if found.level in ("edges", FEATURES) else f"nodes of level {found.level}"
    said = joined(
        f"{count(len(found))} {what}", Markup("{} on {}").format(text(found.task), text(found.model)),
        Markup("{} by {}").format(text(found.selection), text(found.method)),
    )  # fmt: skip
    # Without allow-same-origin the page has an origin of its own: it reaches neither the notebook nor its server.
    frame = Markup(
        '<iframe sandbox="allow-scripts" title="{}" width="100%" height="{}" style="{}" srcdoc="{}"></iframe>'
    ).format(
        "The circuit as a graph",
        WITHOUT_SLIDER if evaluation is None else HEIGHT,
        "border: 1px solid rgba(128, 128, 128, .4); border-radius: 4px",
        str(circuit_page(found, scores, evaluation, edges=edges)),
    )
    return block("Circuit", said, frame, _parts(found))


def _parts(found: Circuit) -> Markup:
    """The parts in order, for viewers that take frames out."""
    items = [element("li", text(part.name)) for part in found.parts[:MOST_PARTS]]
    style = "columns: 12em; margin: 2px 0; padding-left: 2.4em"
    left = left_out(len(found), len(items), "parts")
    inner = [element("ol", *items, style=style), *([caption(left)] if left else [])]
    return element("details", element("summary", "The parts, most important first"), *inner)


# ---------------------------------------------------------------- evaluations


@showing.card.register
def evaluation_card(found: Evaluation) -> Markup:
    """Faithfulness with its interval, the random circuits, and the curve over sizes."""
    said = joined(
        f"{count(found.size)} of {count(found.n_nodes)} {found.counts}",
        pairs_in_words(found.n_pairs, found.held_out),
        f"errors {found.errors}" if found.errors else "",
    )
    curve = [_curve(found)] if sum(p.faithfulness.value is not None for p in found.curve) > 1 else []
    return block(
        "Evaluation",
        said,
        _measured(found),
        *curve,
        caption(_meaning(found), "" if found.held_out else "The same pairs gave the scores."),
    )


def _measured(found: Evaluation) -> Markup:
    f, c = found.faithfulness, found.completeness
    means = (
        f"whole model {number(found.full)}, circuit {number(found.circuit)}, empty {number(found.empty)} {found.unit}"
    )
    undefined = Markup("undefined: {}").format(text(found.reason, 400)) if found.reason else "undefined"
    shown = element("b", _ratio(f)) if f.value is not None else undefined
    return facts(
        [
            ("faithfulness", shown),
            ("completeness (the complement; near 0 % is good)", _ratio(c)),
            (
                "random circuits as near 100 %",
                random_words(found),
            ),
            (found.metric, means),
            *([(f"under {found.other.ablation} ablation", other_words(found))] if found.other is not None else []),
        ]
    )


def _ratio(found: Estimate, digits: int | None = None) -> str:
    return MISSING if found.value is None else percent_interval(found.value, found.low, found.high, digits)


def _meaning(found: Evaluation) -> str:
    return f"Share of the {found.metric} that is left with everything outside replaced by {found.ablation} ablation; 95 % intervals over pairs."


def _curve(found: Evaluation) -> Markup:
    """A small drawing in the colour of the text around: the circuit's curve, the random circuits below it as dots."""
    points = sorted((p for p in found.curve if p.faithfulness.value is not None), key=lambda p: p.size)
    values = [v for p in points for v in (p.faithfulness.value, *p.random) if v is not None]
    low, high = max(-0.5, min([0.0, *values])), min(1.6, max([1.0, *values]))
    x = Scale(points[0].size, points[-1].size, 44, _WIDE - 12, log=True)
    y = Scale(low, high, _HIGH - 22, 8)
    parts = [_line((x.start, y(at)), (x.end, y(at)), "2 3") for at in (0.0, 1.0)]
    parts += [_written(38.0, y(at) + 4, "end", percent(at)) for at in (0.0, 1.0)]
    parts += [_written(x(p.size), _HIGH - 6, "middle", count(p.size)) for p in (points[0], points[-1])]
    parts += list(_dots(points, x, y))
    own = [(x(p.size), _inside(p.faithfulness.value, y)) for p in points]
    steps = Markup("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in own))
    parts.append(svg.element("path", {"d": steps, "fill": "none", "stroke": f"rgb({NEGATIVE})", "stroke-width": 2}))
    if x.holds(found.size):
        parts.append(_line((x(found.size), y.start), (x(found.size), y.end), "4 2"))
    name = f"Faithfulness over size; dots are random circuits, the dashed line is this circuit of {count(found.size)} {found.counts}"
    return _drawing(name, parts)


def _drawing(name: str, parts: Sequence[Markup]) -> Markup:
    """A small picture that takes its colours from around it: no style sheet reaches a notebook."""
    size: dict[str, str | float] = {
        "width": _WIDE,
        "height": _HIGH,
        "viewBox": f"0 0 {_WIDE:.0f} {_HIGH:.0f}",
        "role": "img",
        "aria-label": name,
    }
    return svg.element("svg", size, svg.element("title", {}, name), *parts)


def _written(x: float, y: float, anchor: str, said: str) -> Markup:
    place: dict[str, str | float] = {"x": x, "y": y, "text-anchor": anchor, "fill": "currentColor", "font-size": 10}
    return svg.element("text", place, said)


def _dots(points: Sequence[Point], x: Scale, y: Scale) -> Iterator[Markup]:
    for p in points:
        for value in p.random:
            if value is not None:
                place: dict[str, str | float] = {"cx": x(p.size), "cy": _inside(value, y), "r": 1.6}
                yield svg.element("circle", {**place, "fill": "currentColor", "fill-opacity": 0.35})


def _line(start: tuple[float, float], end: tuple[float, float], dashes: str) -> Markup:
    at: dict[str, str | float] = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return svg.element("line", {**at, "stroke": "currentColor", "stroke-opacity": 0.6, "stroke-dasharray": dashes})


def _inside(value: float | None, y: Scale) -> float:
    return y(min(max(value or 0.0, y.low), y.high))


@showing.card.register
def search_card(found: Search) -> Markup:
    """The smallest size that is faithful enough, and every size that was run."""
    limits = f"f at least {percent(found.target)}" + (
        f", at most {percent(found.at_most)}" if found.at_most is not None else ""
    )
    if found.size is not None:
        answer = element(
            "b", f"{count(found.size)} of {count(found.n_parts)} {found.counts}: {_ratio(found.faithfulness)}"
        )
    elif found.reason:
        answer = Markup("undefined: {}").format(text(found.reason, 400))
    else:
        best = f"; best {_ratio(found.best)} at {count(found.best_size)}" if found.best_size is not None else ""
        answer = Markup(escape(f"none up to {count(found.largest)} of {count(found.n_parts)} {found.counts}{best}"))
    tried = sorted(found.tried, key=lambda p: p.size)
    shown = tried[: 2 * MOST_ROWS]
    digits = column_digits(p.faithfulness for p in shown)
    rows = [(count(p.size), _ratio(p.faithfulness, digits)) for p in shown]
    grid = table((found.counts, "faithfulness"), rows, numeric=(0, 1), left=left_out(len(tried), len(rows), "sizes"))
    none = none_smaller([found])
    below = [caption(str(none))] if none is not None else []
    said = caption("Sizes that were run, with 95 % intervals over pairs.")
    return block("Search", joined(limits, answer), grid, said, *below)


@showing.card.register
def none_smaller_card(found: NoneSmaller) -> Markup:
    """What was tried in vain."""
    return block("No smaller circuit", caption(str(found)))


@showing.card.register
def assessment_card(found: Assessment) -> Markup:
    """The evaluation, then what each test says."""
    tests = [found.sufficient, found.necessary, found.minimality, found.areas]
    items = [_lines(str(test).splitlines()) for test in tests if test is not None]
    items += [element("li", "not measured: ", text(reason, 400)) for reason in found.left_out]
    without = [evaluation_card(found.without_errors)] if found.without_errors is not None else []
    said = f"of {count(found.evaluation.size)} {found.evaluation.counts}"
    listed = element("ul", *items, style="margin: 2px 0; padding-left: 1.4em")
    return block("Assessment", said, evaluation_card(found.evaluation), *without, listed)


def _lines(lines: Sequence[str]) -> Markup:
    """The first line, and the others below it to the right; as many as fit."""
    shown = lines[: MOST_ROWS + 1]
    below = [element("div", text(line.strip(), 600), style="padding-left: 1.4em") for line in shown[1:]]
    left = left_out(len(lines), len(shown), "lines")
    return element("li", text(lines[0], 600), *below, *([caption(left)] if left else []))
