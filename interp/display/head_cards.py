"""How what heads look at over many texts shows itself in notebooks: statistics, distances, groups, relations."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, bar, block, caption, joined, left_out, shaded, table, text
from interp.formatting.numbers import MISSING, count, interval, number, percent, percent_interval, several
from interp.heads.clusters import HeadClusters
from interp.heads.distances import HeadDistances
from interp.heads.relations import Followed, HeadRelations
from interp.heads.statistics import HeadStatistics

MOST_HEADS: Final = 24


@showing.card.register
def statistics_card(found: HeadStatistics) -> Markup:
    """The three heads with most of each measure."""
    shown = found.measures[:MOST_ROWS]
    rows = [(text(measure), *_most(found, measure), count(int(found.n[i]))) for i, measure in enumerate(shown)]
    said = joined(
        several(len(found.heads), "head"),
        several(len(found.per_example), "text"),
        Markup("{} on {}").format(text(found.task), text(found.model)) if found.task else text(found.model),
    )
    note = "Mean over texts of the mean over queries, with 95 % bootstrap intervals over texts. Entropies in nats, all else attention weight, 0 to 1."
    left = left_out(len(found.measures), len(shown), "measures")
    columns = ("measure", "most", "then", "", "texts")
    return block("HeadStatistics", said, table(columns, rows, numeric=(4,), left=left), caption(note))


def _most(found: HeadStatistics, measure: str) -> tuple[str | Markup, ...]:
    place, limit = found.measures.index(measure), 1.0 if "entropy" not in measure else float("inf")
    cells: list[str | Markup] = []
    for head, value in found.largest(measure, 3):
        low, high = found.interval[found.heads.index(head), place]
        ends = interval((low, high), 2) if low == low else ""
        cells.append(shaded(joined(text(head), number(value, 2), ends, by=" "), value, limit))
    return (*cells, *[MISSING] * (3 - len(cells)))


@showing.card.register
def distances_card(found: HeadDistances) -> Markup:
    """The heads that have another very near, the nearest first."""
    rows = found.to_pandas().sort_values("distance", kind="stable").head(MOST_ROWS)
    limit = 1.0 if found.metric == "tv" else 0.7
    lines = [
        (text(head), text(nearest), number(distance, 3), bar(distance, limit), number(mean, 3))
        for head, nearest, distance, mean in rows.itertuples(index=False)
    ]
    said = joined(several(len(found.heads), "head"), several(found.n_examples, "text"), text(found.model))
    what = "Jensen-Shannon divergence in nats, at most 0.693" if found.metric == "js" else "total variation, at most 1"
    note = f"Mean over {count(found.n_queries)} queries: {what}."
    columns = ("head", "looks most like", "distance", "", "mean to others")
    left = left_out(len(found.heads), len(lines), "heads")
    return block("HeadDistances", said, table(columns, lines, numeric=(2, 4), left=left), caption(note))


@showing.card.register
def clusters_card(found: HeadClusters) -> Markup:
    """The heads of each group."""
    shown = found.members[:MOST_ROWS]
    lines = [(str(i), count(len(heads)), _named(heads)) for i, heads in enumerate(shown)]
    said = joined(f"{several(len(found.heads), 'head')} in {several(len(found.members), 'group')}", text(found.model))
    note = f"Average linkage of distances ({found.metric}); in the plane of plot() are {percent(found.share)} of what the distances hold."
    left = left_out(len(found.members), len(shown), "groups")
    return block("HeadClusters", said, table(("group", "n", "heads"), lines, numeric=(1,), left=left), caption(note))


def _named(heads: tuple[str, ...]) -> Markup:
    more = f"and {count(len(heads) - MOST_HEADS)} more" if len(heads) > MOST_HEADS else ""
    return joined(*map(text, heads[:MOST_HEADS]), more, by=" ")


@showing.card.register
def relations_card(found: HeadRelations) -> Markup:
    """The head chosen for each relation, beside the best fixed offset."""
    shown = found.rows[:MOST_ROWS]
    said = joined(
        several(len(found.relations), "relation"),
        several(len(found.heads), "head"),
        several(len(found.chosen_on), "text"),
        text(found.model),
    )
    note = f"How often the {'word' if found.word_level else 'token'} that a head looks at most is the right one, on texts that did not choose it, with 95 % bootstrap intervals over texts; beside it the best fixed offset, chosen in the same way, and the accuracy where the head was chosen."
    columns = ("relation", "n", "head", "looks", "held out", "offset", "its accuracy", "where chosen")
    left = left_out(len(found.relations), len(shown), "relations")
    return block(
        "HeadRelations",
        said,
        table(columns, list(map(_followed, shown)), numeric=(1, 4, 5, 6, 7), left=left),
        caption(note),
    )


def _followed(row: Followed) -> tuple[str | Markup, ...]:
    if row.head is None or row.offset is None:
        return text(row.relation), count(row.n), *[MISSING] * 6
    judged = percent_interval(row.accuracy, row.low, row.high)
    baseline = f"{row.offset:+d}", percent(row.offset_accuracy)
    return text(row.relation), count(row.n), text(row.head), row.direction or "", judged, *baseline, percent(row.chosen)
