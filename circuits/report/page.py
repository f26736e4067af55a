"""Plain data to one HTML file that needs nothing else: no script, no font, no image, no network."""

from __future__ import annotations

import json
import shlex
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from circuits.report import features, figures, graph, numbers, svg
from circuits.report.text import token, visible


def html(data: dict[str, Any], template: str = "template.html.j2") -> str:
    """The page of a payload."""
    return _environment().get_template(template).render(data)


@cache
def _environment() -> Environment:
    """Everything that is put into the page is first made visible, then escaped, unless it is markup made here."""
    made = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        name=_isolated,
        tok=_token,
        scalar=_scalar,
        command=_command,
        shade=_shade,
        score=numbers.score,
        number=numbers.number,
        percent=numbers.percent,
        interval=numbers.interval,
        count=numbers.count,
        heat_map=figures.heat_map,
        bars=figures.bars,
        scatter=figures.scatter,
        curve=figures.curve,
        legend_mark=figures.legend_mark,
        circuit_graph=graph.drawing,
        edge_sample=graph.edge_sample,
        site_shares=features.shares,
    )
    made.globals["percent_interval"] = numbers.percent_interval
    return made


def _source(name: str) -> str:
    return files("circuits.report").joinpath(name).read_text(encoding="utf-8")


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


def _shade(value: float | None, limit: float) -> Markup:
    """Attributes of a table cell whose background shows a value."""
    if value is None:
        return Markup('class="none"')
    sign, opacity = svg.strength(value, limit)
    return Markup('class="shade {}" style="--a:{}"').format(sign, opacity)
