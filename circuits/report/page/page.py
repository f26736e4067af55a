"""Plain data to one HTML file that needs nothing else: no font, no image, no network, and no script but our own, named by its hash."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from circuits.report.drawing import edge_drawing, figures, input_drawing, pattern_drawing, svg, view_picture
from circuits.report.sections import area_curves, features_section, map_numbers
from interp.formatting import numbers
from interp.formatting.self_contained import as_json, policy
from interp.formatting.text import token, visible

#: What makes tables of class `sortable` so; its rules are in the style sheet `tables.css`.
TABLES: Final = ("scripts/tables.js",)


@dataclass(frozen=True)
class Page:
    """What stands around the sections. `policy` forbids every request, and every script and style but these, and images but those in the page."""

    policy: Markup
    style: Markup
    scripts: tuple[Markup, ...]
    data: Markup | None


def html(
    payload: Mapping[str, Any],
    template: str = "report.html.j2",
    *,
    styles: Sequence[str] = ("page.css",),
    scripts: Sequence[str] = (),
    data: Any = None,
) -> str:
    """The page of a payload. `styles`, `scripts`: files of this package, put into the page in this order. `data`: what the scripts read."""
    style = "\n".join(_source(f"styles/{name}") for name in styles)
    sources = [_source(name) for name in scripts]
    page = Page(
        policy=Markup(policy(style, sources, pictures=bool(payload.get("pictures")))),
        style=Markup(style),
        scripts=tuple(map(Markup, sources)),
        data=None if data is None else as_json(data),
    )
    return _environment().get_template(template).render(payload, page=page)


@cache
def _environment() -> Environment:
    """Everything that is put into the page is first made visible, then escaped, unless it is markup made here."""
    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(_WORDS, **_DRAWINGS)
    made.globals["percent_interval"] = numbers.percent_interval
    return made


def _source(name: str) -> str:
    return files("circuits.report.page").joinpath(name).read_text(encoding="utf-8")


def _template(name: str) -> str:
    return _source(f"templates/{name}")


def _shown(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return numbers.MISSING if value is None else visible(str(value))


def _isolated(value: object) -> Markup:
    """Text whose direction does not leak into what is around it."""
    return Markup("<bdi>{}</bdi>").format(escape(_shown(value)))


def _token(value: str | None) -> Markup:
    return Markup('<bdi class="tok">{}</bdi>').format(numbers.MISSING if value is None else token(value))


def _scalar(value: object) -> Markup:
    """A leaf of the manifest: text as it is, all else as JSON writes it."""
    return _isolated(value if isinstance(value, str) or value is None else json.dumps(value))


def _command(value: object) -> Markup:
    """A command line as it can be typed again."""
    return _isolated(shlex.join(str(part) for part in value) if isinstance(value, list) else value)


def _share_digits(rows: Iterable[Mapping[str, float | None] | None], *keys: str) -> int:
    """The digits of some columns of percentages."""
    return numbers.share_digits(row[key] for row in rows if row is not None for key in keys)


def _shade(value: float | None, limit: float) -> Markup:
    """Attributes of a table cell whose background shows a value."""
    if value is None:
        return Markup('class="none"')
    return Markup('class="{}"').format(svg.shade(value, limit))


#: What templates call: text and numbers as they are written, and drawings.
_WORDS: Final[Mapping[str, Callable[..., Any]]] = {
    "name": _isolated,
    "tok": _token,
    "scalar": _scalar,
    "command": _command,
    "shade": _shade,
    "score": numbers.score,
    "number": numbers.number,
    "percent": numbers.percent,
    "share_digits": _share_digits,
    "interval": numbers.interval,
    "count": numbers.count,
}
_DRAWINGS: Final[Mapping[str, Callable[..., Any]]] = {
    "heat_map": figures.heat_map,
    "bars": figures.bars,
    "scatter": figures.scatter,
    "curve": figures.curve,
    "area_chart": area_curves.area_chart,
    "legend_mark": figures.legend_mark,
    "circuit_graph": edge_drawing.drawing,
    "edge_sample": edge_drawing.edge_sample,
    "circuit_picture": view_picture.picture,
    "picture_left": view_picture.left_out,
    "site_shares": features_section.shares,
    "pattern": pattern_drawing.pattern,
    "pixels": input_drawing.pixels,
    "seen": input_drawing.seen,
    "heat": input_drawing.heat_over,
    "map_numbers": map_numbers.map_numbers,
}
