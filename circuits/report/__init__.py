"""What a run found as one HTML file that can be read offline, and as one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.report.finding import finding
from circuits.report.page import TABLES, html
from circuits.report.payload import payload

if TYPE_CHECKING:
    from circuits.circuit import Circuit
    from circuits.evaluation import Evaluation
    from circuits.record import Record
    from interp.scores import Scores

__all__ = ["circuit_page", "finding", "render"]

STYLES: Final = ("page.css", "anatomy.css", "tables.css", "view.css")
#: In the order in which they need each other.
VIEW: Final = (
    "vendor/cytoscape-3.34.4.min.js",
    *(
        f"scripts/{name}.js"
        for name in ("base", "colours", "paths", "drawing", "pointer", "pattern", "panel", "slider", "search", "view")
    ),
)


def render(record: Record) -> str:
    """The report of a run: one self-contained HTML page. The same record gives the same bytes."""
    return _page(payload(record), "report.html.j2")


def circuit_page(
    circuit: Circuit, scores: Scores | None = None, evaluation: Evaluation | None = None, *, edges: Scores | None = None
) -> str:
    """The interactive view of a circuit alone, as a self-contained HTML page. `scores`: what it was chosen by, for the scores of
    its parts and what follows it in the ranking; `evaluation`: for the faithfulness at each size; `edges`: scores of the edges between
    the nodes of a circuit of nodes or features."""
    from circuits.record import Record
    from circuits.report.edges import graph
    from circuits.report.view import view

    record = Record(
        {},
        () if scores is None else (scores,),
        circuit=circuit,
        evaluation=evaluation,
        node_edges=edges,
        feature_edges=edges,
    )
    title = f"Circuit of {circuit.task} on {circuit.model}"
    return _page({"title": title, "view": view(record), "graph": graph(record), "alone": True}, "alone.html.j2")


def _page(shown: dict[str, Any], template: str) -> str:
    """A page with the scripts of the view only where there is a view."""
    seen = shown["view"]
    if seen is None:
        return html(shown, template, styles=STYLES, scripts=TABLES)
    data = {"view": {key: value for key, value in seen.items() if key != "table"}}
    return html(shown, template, styles=STYLES, scripts=(*TABLES, *VIEW), data=data)
