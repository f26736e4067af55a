"""What the panel of a node shows, as plain data: what it writes to the logits, where a head looks, the neurons of an MLP,
what a feature reacts to. Every text is made visible here, as scripts put it into the page as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.report.view.view_parts import shares
from interp.formatting.numbers import decimals, number, percent, score
from interp.formatting.text import token, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuits.anatomy.anatomy import Anatomy, Effect, TopNeurons, Writes
    from circuits.anatomy.feature_study import Look
    from circuits.runs.record import Record

#: Prompts of a feature that the panel shows; its card in the section of features has more.
MOST_PROMPTS: Final = 4
#: Tokens on each side of the peak of a feature.
AROUND: Final = 12


def examples(anatomy: Anatomy | None) -> list[dict[str, Any]]:
    """The prompts looked at closely: tokens, answers, and the pattern of each head, in thousandths [query][key]."""
    if anatomy is None:
        return []
    return [
        {
            "tokens": [token(t) for t in e.tokens],
            "answers": ", ".join(map(token, e.answers)),
            "wrong": ", ".join(map(token, e.wrong)),
            "skipped": e.skipped,
            "patterns": {visible(p.head): [list(row) for row in p.rows] for p in e.patterns if p.rows},
            "writes": {visible(w.node): _writes(w, direct_digits(e.writes)) for w in e.writes},
        }
        for e in anatomy.examples
    ]


def reasons(anatomy: Anatomy | None) -> dict[str, str]:
    """View -> why a node may lack it: the run could not measure it, or only for the most important nodes."""
    if anatomy is None:
        return dict.fromkeys(("patterns", "writes", "neurons"), "this run did not look at it")
    heads, writes = anatomy.heads_left, anatomy.writes_left
    drawn = any(p.looks and not p.rows for e in anatomy.examples for p in e.patterns)
    left = {
        "patterns": "drawn over the input in “What the parts do”, for the heads of the circuit"
        if drawn
        else f"measured for the {_first(sum(len(e.patterns) for e in anatomy.examples[:1]), 'head')} of the circuit"
        if heads
        else "",
        "writes": f"measured for the {_first(len(anatomy.writes), 'node')} of the circuit" if writes else "",
        "neurons": "measured for the MLPs of the circuit",
    }
    return {
        view: visible(anatomy.reason(view) or why or "measured for what is in the circuit")
        for view, why in left.items()
    }


def _first(n: int, what: str) -> str:
    return f"first {what}" if n == 1 else f"first {n} {what}s"


def about(record: Record) -> dict[str, dict[str, Any]]:
    """Node name -> what is known of it besides its score."""
    found: dict[str, dict[str, Any]] = {}
    if record.anatomy is not None:
        for writes in record.anatomy.writes:
            found.setdefault(writes.node, {})["writes"] = _writes(writes, direct_digits(record.anatomy.writes))
        for top in record.anatomy.neurons:
            unit = record.scores[0].provenance.unit if record.scores else ""
            found.setdefault(top.mlp, {})["neurons"] = _neurons(top, record.anatomy.method, unit)
    for i, look in enumerate(record.features.looks if record.features is not None else (), 1):
        found.setdefault(look.name, {}).update(_look(look) | {"card": f"feature-{i}"})
    return found


def direct_digits(writes: Sequence[Writes]) -> int:
    """Digits of direct effects, the same for all nodes."""
    return decimals([w.direct for w in writes], 3)


def _writes(writes: Writes, digits: int) -> dict[str, Any]:
    return {"direct": f"{score(writes.direct, digits)} logits", **_tokens(writes.up, writes.down)}


def _tokens(up: Sequence[Effect], down: Sequence[Effect]) -> dict[str, Any]:
    """Tokens with their effects in words, and how strong each is among them."""
    values = [e.logit for e in (*up, *down)]
    digits, limit = decimals(values, 3), max(map(abs, values), default=0.0)
    return {
        side: [
            {"token": token(e.token), "value": score(e.logit, digits), "share": shares(e.logit, limit)} for e in effects
        ]
        for side, effects in (("up", up), ("down", down))
    }


def _neurons(top: TopNeurons, method: str, unit: str) -> dict[str, Any]:
    values = [n.score for n in top.neurons]
    digits, limit = decimals(values, 3), max(map(abs, values), default=0.0)
    return {
        "total": top.total,
        "method": visible(method),
        "unit": visible(unit),
        "rows": [
            {
                "name": visible(n.name), "value": score(n.score, digits), "share": shares(n.score, limit),
                "sign": "neg" if n.score < 0 else "pos",
            }
            for n in top.neurons
        ],
    }  # fmt: skip


def _look(look: Look) -> dict[str, Any]:
    """The first examples of a feature, cut around their peaks, and the tokens that it raises and lowers."""
    d = look.dashboard
    shown = []
    for e in d.top[:MOST_PROMPTS]:
        start, end = max(0, e.peak - AROUND), e.peak + AROUND + 1
        pairs = zip(e.tokens[start:end], e.activations[start:end], strict=True)
        texts = [{"token": token(t), "share": shares(a, d.maximum)} for t, a in pairs]
        shown.append({"value": number(e.activations[e.peak], 2), "tokens": texts})
    density, largest = percent(d.density), number(d.maximum)
    return {"reacts": {"line": f"Active on {density} of the tokens, largest {largest}.", "examples": shown}}
