"""Values as pictures that stand alone: one SVG file with its style inside, in light colours, that needs no browser and loads nothing.

The drawings are those of the report and so are their colours, written out so that programs other than browsers show them too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from circuits.report.drawing import figures, svg
from circuits.report.drawing.svg import element, label
from circuits.report.drawing.view_picture import picture
from circuits.report.payload import payload
from circuits.report.sections.edges_section import edge_maps
from circuits.report.sections.faithfulness_section import faithfulness
from circuits.report.sections.maps import ranked_bars, score_maps
from circuits.report.view.view import view
from circuits.runs.record import Record
from interp.formatting.numbers import count, score
from interp.formatting.text import visible
from interp.parts.nodes import FEATURE_EDGES, FEATURES
from interp.scores.wording import neither

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.evaluation.evaluation import Evaluation
    from interp.scores.provenance import Provenance
    from interp.scores.scores import Scores

MARGIN: Final = 20.0
LINE: Final = 18.0
_STYLES: Final = ("page.css", "view.css")
_OWN: Final = "svg { overflow: visible; background: #ffffff } svg text.title { font-size: 16px; font-weight: 600 }"
_MEDIA: Final = re.compile(r"@media[^{}]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_RULE: Final = re.compile(r"(?:^|(?<=\} ))svg [.a-z][^{}]*\{[^{}]*\}", re.MULTILINE)
_ROOT: Final = re.compile(r"^:root \{([^{}]*)\}", re.MULTILINE)
_VARIABLE: Final = re.compile(r"--([\w-]+):\s*([^;]+);")
_TRIPLE: Final = re.compile(r"rgb\((\d+) (\d+) (\d+)\)")


@dataclass(frozen=True)
class Picture:
    """An SVG file as text, and its size in pixels."""

    text: str
    width: int
    height: int


def scores_picture(found: Scores) -> Picture:
    """The maps of some scores; of neurons, features and edges the largest as bars."""
    p = found.provenance
    data: list[dict[str, Any]] = []
    if p.level in ("edges", FEATURE_EDGES):
        data = [ranked_bars(found), *(edge_maps(found, frozenset(), fine=False) if p.level == "edges" else [])]
    else:
        data = score_maps(found, frozenset())
    drawn = [
        (f"{m['title']} {m['note']}".strip(), figures.heat_map(m) if m["form"] == "grid" else figures.bars(m))
        for m in data
    ]
    known = (
        "exact"
        if found.exact is not None and found.exact.all()
        else "estimated, some exact"
        if found.exact is not None
        else neither(p) or "estimated"
    )
    return _page(
        f"{p.task} on {p.model}: scores by {p.method}", [f"level {p.level}, {_pairs(p)}, in {p.unit}; {known}"], drawn
    )


def agreement_picture(found: Scores, exact: Scores) -> Picture:
    """An approximation over exact patching, with the diagonal. Raises: ScoreError where the two cannot be compared."""
    from interp.errors import ScoreError
    from interp.scores.agreement import agreement, headlines

    compared, p = agreement(found, exact), found.provenance
    if compared.order:
        raise ScoreError(
            f"scores of {p.method} are an order of parts in {compared.order}, no estimates of effects; nothing to draw over exact "
            "ones. Give them alone."
        )
    rows = "; ".join(headlines(compared))
    (data,) = payload(Record({}, (found,), exact=exact))["scatters"]
    legend = [
        element("g", {}, figures.marker(i, 8, 8 + LINE * i), label(22, 12 + LINE * i, kind))
        for i, kind in enumerate(data["kinds"])
    ]
    drawn = [("", figures.scatter(data)), ("", svg.drawing(200, LINE * len(legend), "", *legend))]
    said = [
        f"{_pairs(p)}; on the dashed line both agree",
        f"Pearson: {rows}" if rows else "too few of each kind to quote a correlation",
    ]
    if data["outside"]:
        beyond = [
            f"{at['name']} (exact {score(at['exact'])}, {p.method} {score(at['score'])})" for at in data["outside"]
        ]
        more = f" and {count(data['outside_left'])} more" if data["outside_left"] else ""
        said.append(f"not drawn, as far outside: {', '.join(beyond)}{more}")
    return _page(f"{p.task} on {p.model}: {p.method} against exact patching", said, drawn)


def circuit_picture(found: Circuit, scores: Scores | None = None, edges: Scores | None = None) -> Picture:
    """The circuit as a graph, as the report draws it, but whole: a file has no frame."""
    of_features = found.level == FEATURES
    record = Record(
        {},
        () if scores is None else (scores,),
        circuit=found,
        feature_edges=edges if of_features else None,
        node_edges=None if of_features else edges,
    )
    seen = view(record)
    what = found.level if found.level in ("edges", FEATURES) else f"nodes of level {found.level}"
    said = [f"{count(len(found))} {what}, {found.selection}, by {found.method}"]
    if seen is not None and seen["signed"]:
        said.append(
            f"orange and an arrow: works for {seen['goal']}; blue and a bar: works against it; size: importance"
        )
    if seen is not None and any(edge["channel"] for edge in seen["edges"]):
        said.append("dashes: a head's query; dots: its key; a full line: its value, an MLP or the logits")
    if seen is not None and seen["arrows"]:
        said.append(seen["arrows"])
    drawn = [] if seen is None else [("", picture(seen, whole=True))]
    return _page(f"{found.task} on {found.model}: the circuit", said, drawn)


def evaluation_picture(found: Evaluation) -> Picture:
    """Faithfulness over size, and what was measured in words."""
    data = faithfulness(found)
    facts = [] if data is None else [f"{fact['name']}: {fact['value']}" for fact in data["facts"]]
    if data is not None and data["drawn"]:
        facts.append(
            "line and band: circuits of that size with the 95 % interval; dashes and grey band: median and range of the random circuits"
        )
    drawn = [("", figures.curve(data))] if data is not None and data["drawn"] else []
    return _page(f"Faithfulness of a circuit of {count(found.size)} {found.counts}", facts, drawn)


def _pairs(p: Provenance) -> str:
    return f"{p.direction}, {p.ablation} ablation, {count(p.n_pairs)} pairs"


# ---------------------------------------------------------------- the file


def _page(title: str, said: Sequence[str], drawn: Sequence[tuple[str, Markup]]) -> Picture:
    """Title, sentences, and the drawings below each other."""
    lines = [visible(line, 160) for line in said]
    title = visible(title, 160)
    parts: list[Markup] = [label(MARGIN, MARGIN + 14, title, "name title")]
    parts += [label(MARGIN, MARGIN + 14 + LINE * i, line) for i, line in enumerate(lines, 1)]
    y = MARGIN + 14 + LINE * (len(lines) + 1)
    width = max(svg.width_of([title]) * 1.4, svg.width_of(lines))
    for name, drawing in drawn:
        if name:
            parts.append(label(MARGIN, y + 6, name, "name"))
            y += LINE
        wide, high = _size(drawing)
        parts.append(Markup(str(drawing).replace("<svg", f'<svg x="{MARGIN:g}" y="{y:g}"', 1)))
        width, y = max(width, wide, svg.width_of([name])), y + high + LINE
    return _file(title, " ".join(lines), round(width + 2 * MARGIN), round(y + MARGIN - LINE), parts)


def _file(title: str, said: str, width: int, height: int, parts: Sequence[Markup]) -> Picture:
    back = element("rect", {"x": 0.0, "y": 0.0, "width": width, "height": height, "fill": "#ffffff"})
    named = [
        element("title", {}, title),
        element("desc", {}, said),
        Markup("<style>{}</style>").format(escape(style())),
    ]
    whole = str(svg.drawing(width, height, title, *named, back, *parts))
    whole = whole.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return Picture(f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n', width, height)


def _size(drawing: Markup) -> tuple[float, float]:
    """Width and height of one of our drawings."""
    found = re.match(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"', drawing)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)


@cache
def style() -> str:
    """The rules for drawings of the report's style sheets, with every colour written out."""
    sheets = [files("circuits.report.page").joinpath(f"styles/{name}").read_text(encoding="utf-8") for name in _STYLES]
    light = _ROOT.search(sheets[0])
    colours = dict(_VARIABLE.findall(light[1])) if light else {}
    rules = "\n".join([_OWN, *(rule for sheet in sheets for rule in _RULE.findall(_MEDIA.sub("", sheet)))])
    plain = re.sub(r"var\(--([\w-]+)\)", lambda found: colours.get(found[1], "currentColor"), rules)
    return _TRIPLE.sub(lambda found: "#" + "".join(f"{int(c):02x}" for c in found.groups()), plain)
