"""How tables of effects and probes show themselves in notebooks: direct effects, second-order effects, paths, probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from interp.attribution.path_effects import PathEffects
from interp.dictionaries.evaluation.probing import ProbeResult, ProbeRow
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, bar, block, caption, joined, left_out, table, text
from interp.formatting.numbers import MISSING, count, decimals, interval, number, percent, score, several
from interp.formatting.text import token
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.second_order import SecondOrder
from interp.probes.classifier import Interval

MOST_TOKENS: Final = 3
MOST_CHOSEN: Final = 4
MOST_OUTPUTS: Final = 8


@showing.card.register
def effects_card(found: DirectEffects) -> Markup:
    """The nodes that write most to the answer, either way, and the tokens that each raises and lowers most."""
    order, means = found.order[:MOST_ROWS], found.mean
    sizes = [abs(float(means[i])) for i in order]
    limit, digits = max(sizes, default=0.0), decimals(sizes)
    rows = [
        (
            text(found.nodes[i].name),
            score(float(means[i]), digits),
            bar(float(means[i]), limit),
            _tokens(found.raised(i)),
            _tokens(found.lowered(i)),
        )
        for i in order
    ]
    said = joined(
        several(len(found.nodes), "node"),
        several(len(found.total), "prompt"),
        Markup("{} on {}").format(text(found.task), text(found.model)) if found.task or found.model else "",
    )
    total = score(float(found.total.mean()) if len(found.total) else None, digits)
    what = "the logit of the answer at the last token, in logits"
    what = what if found.measure in ("logit", "logit_diff") else f"the answer at the last token, {found.measure}"
    note = f"What each writes directly to {what}; the model's own logit: {total}."
    left = left_out(len(found.nodes), len(order), "nodes")
    columns = ("node", "adds", "", "raises most", "lowers most")
    return block("DirectEffects", said, table(columns, rows, numeric=(1,), left=left), caption(note))


def _tokens(texts: Sequence[str]) -> Markup:
    return joined(*(Markup("<bdi>{}</bdi>").format(token(t)) for t in texts[:MOST_TOKENS]), by=" ")


@showing.card.register
def second_card(found: SecondOrder) -> Markup:
    """The neurons with the largest effect on each of the first outputs."""
    shown = found.outputs[:MOST_OUTPUTS]
    rows = [(text(output), *_strongest(found, output)) for output in shown]
    said = joined(
        f"{several(len(found.neurons), 'neuron')} of layer {found.layer}",
        several(len(found.per_example), "example"),
        text(found.model),
    )
    note = "What each adds to the output through exactly one later attention, patterns and norms frozen: mean over the examples, the largest in size first; beside it all of the MLP, biases too."
    left = left_out(len(found.outputs), len(shown), "outputs")
    columns = ("output", "first", "second", "third", "whole MLP")
    return block("SecondOrder", said, table(columns, rows, numeric=(4,), left=left), caption(note))


def _strongest(found: SecondOrder, output: str) -> tuple[str | Markup, ...]:
    most = found.largest(output, 3)
    digits = decimals([value for _, value in most])
    cells = [joined(text(name), score(value, digits), by=" ") for name, value in most]
    whole = float(found.whole[:, found.outputs.index(output)].mean())
    return (*cells, *[MISSING] * (3 - len(cells)), score(whole, digits))


@showing.card.register
def paths_card(found: PathEffects) -> Markup:
    """The pairs of the largest effects, either way."""
    order = found.order[:MOST_ROWS]
    sizes = [abs(e.mean) for e in order]
    limit, digits = max(sizes, default=0.0), decimals(sizes)
    rows = [
        (
            text(effect.name),
            score(effect.mean, digits),
            bar(effect.mean, limit),
            f"± {number(effect.stderr, digits)}" if math.isfinite(effect.stderr) else "",
        )
        for effect in order
    ]
    first = found.effects[0] if found.effects else None
    where = Markup("{} on {}").format(text(first.task), text(first.model)) if first is not None else ""
    note = Markup("Change of {} from {}: {}.").format(
        text(first.metric), number(first.base_metric), text(first.conventions)
    ) if first is not None else ""  # fmt: skip
    left = left_out(len(found), len(order), "pairs")
    grid = table(("path", "effect", "", "std. error"), rows, numeric=(1, 3), left=left)
    return block(
        "PathEffects", joined(f"{several(len(found), 'pair')} of sender and receiver", where), grid, caption(note)
    )


@showing.card.register
def probe_card(found: ProbeResult) -> Markup:
    """A row for each probe on the held-out half: features, as many dimensions, all of them, and the label that is more frequent."""
    rows = [_probe_row(row) for row in found.rows[:MOST_ROWS]]
    said = joined(text(found.name), text(found.site), f"{count(found.n_test)} held out")
    note = f"On held-out examples, {percent(found.share)} of them of label 1, with 95 % bootstrap intervals; fitted on {count(found.n_train)} others."
    left = left_out(len(found.rows), len(rows), "probes")
    columns = ("of", "k", "accuracy", "balanced", "AUC", "chosen")
    return block("ProbeResult", said, table(columns, rows, numeric=(1, 2, 3, 4), left=left), caption(note))


def _probe_row(row: ProbeRow) -> tuple[str | Markup, ...]:
    more = f"and {count(len(row.chosen) - MOST_CHOSEN)} more" if len(row.chosen) > MOST_CHOSEN else ""
    chosen = joined(*map(str, row.chosen[:MOST_CHOSEN]), more, by=", ")
    measures = map(_measure, (row.quality.accuracy, row.quality.balanced, row.quality.auc))
    return text(row.what), count(row.k) if row.k else MISSING, *measures, chosen


def _measure(value: Interval) -> str:
    return f"{number(value.value, 3)} {interval((value.low, value.high), 3)}"
