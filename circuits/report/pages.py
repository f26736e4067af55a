"""Every page as one HTML file that can be read offline: a run, a circuit alone, an assessment, two side by side, the table of a
paper, a dictionary, a training, a look inside a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from circuits.report.dictionary import dashboard_page, training_page
from circuits.report.page.page import TABLES, html
from circuits.report.payload import payload
from circuits.report.sections import assessed
from circuits.report.side import side
from circuits.terms.kinds import kinds_checked

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.comparison.sides import SideBySide
    from circuits.evaluation.assessment import Assessment
    from circuits.evaluation.evaluation import Evaluation
    from circuits.reproduction.paper import Paper
    from circuits.reproduction.reproduced import Reproduced
    from circuits.runs.looked import Looked
    from circuits.runs.record import Record
    from interp.dictionaries.evaluation.dashboard_values import Dashboard
    from interp.dictionaries.evaluation.measured import DictionaryEvaluation
    from interp.dictionaries.evaluation.probing import ProbeResult
    from interp.scores.scores import Scores

STYLES: Final = ("page.css", "anatomy.css", "tables.css", "view.css")
#: In the order in which they need each other.
VIEW: Final = (
    "vendor/cytoscape-3.34.4.min.js",
    *(
        f"scripts/{name}.js"
        for name in (
            "base",
            "colours",
            "paths",
            "layouts",
            "drawing",
            "pointer",
            "pattern",
            "panel",
            "slider",
            "search",
            "view",
        )
    ),
)


@kinds_checked
def render(record: Record) -> str:
    """The report of a run: one self-contained HTML page. The same record gives the same bytes."""
    return _page(payload(record), "report.html.j2")


def circuit_page(
    circuit: Circuit, scores: Scores | None = None, evaluation: Evaluation | None = None, *, edges: Scores | None = None
) -> str:
    """The interactive view of a circuit alone, as a self-contained HTML page. `scores`: what it was chosen by, for the scores of
    its parts and what follows it in the ranking; `evaluation`: for the faithfulness at each size; `edges`: scores of the edges between
    the nodes of a circuit of nodes or features."""
    from circuits.report.sections.edges_section import graph
    from circuits.report.view.view import view
    from circuits.runs.record import Record

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


# ---------------------------------------------------------------- other pages


def render_assessment(found: Assessment, circuit: Circuit) -> str:
    """The page of an assessment: one self-contained HTML file. The same values give the same bytes."""
    return html(
        assessed.payload(found, circuit), "assessment.html.j2", styles=("page.css", "tables.css"), scripts=TABLES
    )


def render_side_by_side(found: SideBySide) -> str:
    """The page of two runs side by side. The same values give the same bytes."""
    return html(side.payload(found), "side.html.j2", styles=("page.css", "side.css"))


def render_reproduction(found: Reproduced, paper: Paper) -> str:
    """The page of a paper's table as it was measured here. The same values give the same bytes."""
    # Late, so that this package imports no torch.
    from circuits.report.sections import paper_table

    return html(paper_table.payload(found, paper), "paper.html.j2", styles=("page.css", "tables.css"), scripts=TABLES)


def render_dictionary(
    evaluation: DictionaryEvaluation, dashboards: Sequence[Dashboard] = (), probes: Sequence[ProbeResult] | None = None
) -> str:
    """One self-contained HTML page, whose only script sorts tables. The same values give the same bytes."""
    shown = dashboard_page.payload(evaluation, dashboards, probes or ())
    return html(shown, "dictionary.html.j2", styles=("page.css", "tables.css", "dictionary.css"), scripts=TABLES)


def render_looked(found: Looked, manifest: Mapping[str, Any]) -> str:
    """The page of a look inside a model, whose only script sorts tables. The same values give the same bytes."""
    # Late, so that this package imports no torch.
    from circuits.report.looked import looked_page

    shown = looked_page.payload(found, manifest)
    return html(shown, "looked.html.j2", styles=("page.css", "tables.css"), scripts=TABLES)


def render_training(record: Mapping[str, Any]) -> str:
    """The page of a complete `training.json`. The same record gives the same bytes."""
    return html(training_page.payload(record), "training.html.j2", styles=("page.css", "tables.css"), scripts=TABLES)
