"""How probes and subspaces look: a row for each probe, and AUC over the number of columns beside what it must beat."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from interp.display.plots import shown
from interp.errors import ProbeError
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, joined, left_out, table, text
from interp.formatting.numbers import number, several
from interp.probes.classifier import Interval
from interp.probes.probes import COLUMNS, EVERY, ROTATED, SHUFFLED, Probes
from interp.probes.subspace import Subspace


@showing.card.register
def probes_card(found: Probes) -> Markup:
    """A row for each probe, the first of many."""
    rows = [
        (
            text(row.site),
            text(row.what),
            str(row.k),
            _said(row.quality.auc),
            _said(row.quality.f1),
            _said(row.quality.mcc),
        )
        for row in found.rows[:MOST_ROWS]
    ]
    said = joined(text(found.model), text(found.kind), several(found.n_test, "held-out text"))
    names = ("site", "probe on", "k", "AUC", "F1", "MCC")
    note = "That a probe can read a label does not say that the model uses it. Intervals: 95 %."
    left = left_out(len(found.rows), len(rows), "probes")
    return block("Probes", said, table(names, rows, numeric=(2, 3, 4, 5), left=left), caption(text(note)))


def _said(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


@showing.figure.register
def probes_figure(found: Probes, site: str | None = None) -> Any:
    """AUC over k at one site, by default the best, with rotated columns, and all dimensions and shuffled labels as lines. Raises: ProbeError."""
    import plotly.graph_objects as go

    name = str(site) if site is not None else max(found.rows, key=lambda row: row.quality.auc.value).site
    own = [row for row in found.rows if row.site == name]
    if not own:
        raise ProbeError(f"no probes at {name!r}; see to_pandas() for the sites that there are.")
    figure = go.Figure()
    for what in (COLUMNS, ROTATED):
        rows = [row for row in own if row.what == what]
        auc = [row.quality.auc for row in rows]
        error = {
            "array": [a.high - a.value for a in auc],
            "arrayminus": [a.value - a.low for a in auc],
            "symmetric": False,
        }
        figure.add_scatter(x=[row.k for row in rows], y=[a.value for a in auc], error_y=error, name=what)
    for row in own:
        if row.what in (EVERY, SHUFFLED):
            figure.add_hline(y=row.quality.auc.value, line_dash="dot", annotation_text=row.what)
    return figure.update_layout(title=shown(f"{name}, {found.model}"), xaxis_title="k", yaxis_title="AUC, held out")


@showing.card.register
def subspace_card(found: Subspace) -> Markup:
    """The checks of a subspace."""
    rows = [(text(name.replace("_", " ")), number(value)) for name, value in found.checks.items()]
    said = joined(text(found.site), text(found.method), f"rank {found.rank} of {len(found.basis)}")
    return block("Subspace", said, table(("check", "value"), rows, numeric=(1,)))


@showing.figure.register
def subspace_figure(found: Subspace) -> Any:
    """The checks as bars."""
    import plotly.graph_objects as go

    figure = go.Figure(go.Bar(x=list(found.checks), y=list(found.checks.values())))
    return figure.update_layout(title=shown(f"{found.method} at {found.site}"))
