"""What the parts of a circuit do, as plain data: where heads look, what nodes write, the logit lens, the neurons of MLPs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.report.sections.pictures_section import looks
from circuits.terms.words import metric_name
from interp.formatting.numbers import decimals
from interp.formatting.text import token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuits.anatomy.anatomy import Anatomy, Effect, Example, Pattern, Writes
    from circuits.runs.record import Record

#: Characters of a token beside a pattern, rows of the table of writes, and tokens that the last one looks at.
LONGEST_LABEL: Final = 10
MOST_WRITES: Final = 40
MOST_LOOKED_AT: Final = 3
#: Tokens of a prompt behind the heading of an example.
LAST_TOKENS: Final = 40
#: Levels whose nodes, with the embedding, are disjoint parts of what the model writes.
DISJOINT: Final = ("blocks", "heads", "neurons")
VIEWS: Final = ("patterns", "writes", "lens", "neurons")


def anatomy(record: Record) -> dict[str, Any] | None:
    """Everything that the section shows; None for a run without a circuit."""
    found = record.anatomy
    if found is None:
        return None
    unit = record.scores[0].provenance.unit if record.scores else ""
    return {
        "examples": [_example(e, i) for i, e in enumerate(found.examples)],
        "has_patterns": any(e.patterns for e in found.examples),
        "has_lens": any(e.lens for e in found.examples),
        "heads_left": found.heads_left,
        "writes": _written(record, found),
        "neurons": _neurons(found, unit),
        "method": found.method,
        "metric": metric_name(found.metric),
        "unit": found.unit,
        "reasons": {view: found.reason(view) for view in VIEWS},
    }


# ------------------------------------------------------------ patterns and lens, prompt by prompt


def _example(example: Example, index: int) -> dict[str, Any]:
    return {
        "index": index + 1,
        "tokens": list(example.tokens[-LAST_TOKENS:]),
        "cut": example.skipped + max(0, len(example.tokens) - LAST_TOKENS),
        "skipped": example.skipped,
        "answers": list(example.answers),
        "wrong": list(example.wrong),
        "patterns": [{**_pattern(p, example), "heat": looks(p, example, index)} for p in example.patterns],
        "picture": None if example.picture is None else f"example-{index + 1}",
        "name": "" if example.picture is None else example.picture.name,
        "reads": example.reads,
        "next": example.next_token,
        "lens": _lens(example),
        "writes": [_write(w, _limit(example.writes)) for w in example.writes],
    }


def _pattern(pattern: Pattern, example: Example) -> dict[str, Any]:
    """A drawing, and in words what is looked at from where the answer is read."""
    last, there = pattern.looked, example.source if pattern.across else example.tokens
    shown, columns = ([token(t) for t in names] for names in (example.tokens, there))
    order = sorted(range(len(last)), key=lambda i: (-last[i], i))[:MOST_LOOKED_AT]
    return {
        "head": pattern.head,
        "rows": [list(row) for row in pattern.rows],
        "tokens": shown,
        "labels": [_label(text) for text in shown],
        "columns": columns,
        "columns_labels": [_label(text) for text in columns],
        "skipped": example.skipped,
        "skipped_columns": 0 if pattern.across else example.skipped,
        "from": example.reader or (example.tokens[-1] if example.tokens else ""),
        "looked_at": [{"token": there[i], "weight": last[i]} for i in order if last[i] >= 0.05],
    }


def _label(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _lens(example: Example) -> list[dict[str, Any]]:
    """A row per place of the stream, the answer and the wrong token marked among the most probable."""
    digits = decimals([row.metric for row in example.lens], 3)
    limit = max((abs(row.metric) for row in example.lens), default=0.0)
    return [
        {
            "place": _place(row.site),
            "cells": [
                {
                    "token": t,
                    "p": p,
                    "mark": "answer" if t in example.answers else "wrong" if t in example.wrong else "",
                }
                for t, p in zip(row.tokens, row.probabilities, strict=True)
            ],
            "answer": {"rank": row.answer_rank, "p": row.answer_probability},
            "wrong": {"rank": row.wrong_rank, "p": row.wrong_probability} if row.wrong_rank else None,
            "metric": row.metric,
            "limit": limit,
            "digits": digits,
        }
        for row in example.lens
    ]


def _place(site: str) -> str:
    """A place of the residual stream in words."""
    kind, _, layer = site.partition(".")
    return {"embed": "embedding", "resid_post": f"after layer {layer}"}.get(kind, site)


# ------------------------------------------------------------ writes


def _written(record: Record, found: Anatomy) -> dict[str, Any]:
    rows, circuit = found.writes, record.circuit
    # With ends of edges the embedding is there or not; with features, a direction may be counted twice.
    whole = circuit is not None and circuit.level in DISJOINT and not found.writes_left
    limit, first = _limit(rows), {w.node: w for e in found.examples[:1] for w in e.writes}
    shown = [{**_write(w, limit), "first": _write(first[w.node], limit) if w.node in first else None} for w in rows]
    return {
        "rows": shown[:MOST_WRITES],
        "left": len(rows) - len(shown[:MOST_WRITES]) + found.writes_left,
        "pairs": found.pairs,
        "total": found.total,
        "listed": sum(w.direct for w in rows) if whole else None,
        "digits": decimals([w.direct for w in rows], 3),
        "apart": bool(first),
        "features": circuit is not None and circuit.level == "features",
    }


def _limit(rows: Sequence[Writes]) -> float:
    return max((abs(w.direct) for w in rows), default=0.0)


def _write(writes: Writes, limit: float) -> dict[str, Any]:
    return {
        "node": writes.node,
        "direct": writes.direct,
        "limit": limit,
        "up": _effects(writes.up),
        "down": _effects(writes.down),
    }


def _effects(effects: Sequence[Effect]) -> dict[str, Any]:
    digits = decimals([e.logit for e in effects], 2)
    return {"digits": digits, "tokens": [{"token": e.token, "logit": e.logit} for e in effects]}


# ------------------------------------------------------------ neurons


def _neurons(found: Anatomy, unit: str) -> dict[str, Any]:
    values = [n.score for top in found.neurons for n in top.neurons]
    return {
        "rows": [
            {"mlp": top.mlp, "total": top.total, "cells": [{"name": n.name, "score": n.score} for n in top.neurons]}
            for top in found.neurons
        ],
        "most": max((len(top.neurons) for top in found.neurons), default=0),
        "limit": max(map(abs, values), default=0.0),
        "digits": decimals(values, 3),
        "unit": unit,
    }
