"""How effects of neurons, of the last block, of an MLP and sources of features show themselves in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from markupsafe import Markup

from interp.effects.last_block import LastBlock
from interp.effects.mlp_response import MlpResponse
from interp.effects.neuron_table import NeuronEffects
from interp.effects.source_table import NO_TOKEN, TOKENS, FeatureSources
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, bar, block, caption, joined, left_out, shaded, table, text
from interp.formatting.numbers import number, percent, score, several
from interp.formatting.text import token

MOST_TOKENS: Final = 3
MOST_FEATURES: Final = 10
MOST_SOURCES: Final = 128
DIGITS: Final = 4


@showing.card.register
def neurons_card(found: NeuronEffects) -> Markup:
    """The first neurons in both units with the tokens that they raise and lower, and below what zeroing them did."""
    n, means = len(found.nodes[:MOST_ROWS]), found.mean
    limit = max(map(abs, means[:n].tolist()), default=0.0)
    low, fell = found.share_logit_lowered, found.share_log_prob_lowered
    rows = [
        (
            text(found.nodes[i].name),
            bar(float(means[i]), limit),
            score(float(found.log_probs[:, i].mean()), DIGITS),
            percent(float(fell[i])),
            score(float(found.logits[:, i].mean()), DIGITS),
            percent(float(low[i])),
            _tokens(found.raised(i)),
            _tokens(found.lowered(i)),
        )
        for i in range(n)
    ]
    columns = ("neuron", found.measure, "log p", "lowered", "logit", "lowered", "raises most", "lowers most")
    said = joined(
        several(found.n_neurons, "neuron"), several(len(found.per_example), "prompt"), _where(found.task, found.model)
    )
    note = "What each writes directly where the answer is read, in nats and logits; lowered: on so many of the prompts."
    note += " All less their value in the run that is compared." if found.compared else ""
    shown = table(columns, rows, numeric=(2, 3, 4, 5), left=left_out(len(found.nodes), n, "neurons"))
    return block("NeuronEffects", said, shown, *_checks(found), caption(note))


def _checks(found: NeuronEffects) -> list[Markup]:
    """What zeroing the first neurons and random ones did."""
    rows = [
        (
            f"{len(row.neurons)} {row.which}",
            score(row.log_prob, DIGITS),
            score(row.logit, DIGITS),
            score(row.logit_diff, DIGITS),
            percent(row.share_lowered),
        )
        for row in found.checks
    ]
    if not rows:
        return [caption("Nothing was zeroed: this order is not checked.")]
    told = {
        True: "Zeroing the first lowers the answer more than zeroing random ones.",
        False: "Zeroing the first does not lower the answer more than zeroing random ones: do not believe this order.",
    }
    columns = ("zeroed at every position", "log p", "logit", "logit difference", "prompts lowered")
    verdict = [caption(told[found.believed])] if found.believed is not None else []
    return [table(columns, rows, numeric=(1, 2, 3, 4)), *verdict]


@showing.card.register
def last_block_card(found: LastBlock) -> Markup:
    """A row per half of the last block."""
    rows = [
        (
            row.half,
            f"{number(row.p_before, 3)} → {number(row.p_after, 3)}",
            score(row.logit, 3),
            percent(row.logit_lowered),
            score(row.increase, 3),
            percent(row.increase_lowered),
            score(row.others, 3),
        )
        for row in found.to_pandas().itertuples()
    ]
    columns = ("half", "p of the answer", "logit", "lowered", "log p", "lowered", "of it all others")
    said = joined(f"layer {found.layer}", several(len(found.logits), "prompt"), _where(found.task, found.model))
    note = f"The answer is less probable behind the block than in front of it on {percent(found.share_lowered)} of the prompts."
    return block("LastBlock", said, table(columns, rows, numeric=(1, 2, 3, 4, 5, 6)), caption(note))


@showing.card.register
def response_card(found: MlpResponse) -> Markup:
    """The heads with the largest weights."""
    order = np.argsort(-np.abs(found.weights), kind="stable")[:MOST_ROWS]
    limit = float(np.abs(found.weights).max(initial=0.0))
    rows = [
        (
            text(found.heads[i]),
            score(float(found.weights[i]), 3),
            bar(float(found.weights[i]), limit),
            score(float(found.logits[i]), DIGITS),
        )
        for i in order
    ]
    said = joined(f"MLP of layer {found.layer}", several(found.n, "prompt"), _where(found.task, found.model))
    note = f"R² {number(found.r2, 3)}, of left-out prompts {number(found.r2_left_out, 3)}; the constant adds {score(found.constant, 3)} logits."
    left = left_out(len(found.heads), len(order), "heads")
    return block(
        "MlpResponse", said, table(("head", "weight", "", "logit"), rows, numeric=(1, 3), left=left), caption(note)
    )


@showing.card.register
def sources_card(found: FeatureSources) -> Markup:
    """Of each feature the example where it is largest: its tokens shaded by what comes from them, or its largest parts."""
    rows = []
    for j, feature in enumerate(found.features[:MOST_FEATURES]):
        if not len(found.ids):
            break
        i = int(found.pre_activations[:, j].argmax())
        value, at = float(found.pre_activations[i, j]), str(int(found.positions[i, j]))
        rows.append((str(feature), score(value, 3), at, _strip(found, i, j)))
    said = joined(f"of {found.site}", f"by {found.split}", several(len(found.ids), "example"), text(found.model))
    note = "The pre-activation as a sum of what comes from each part; the attention pattern is taken as it is."
    shown = table(
        ("feature", "value", "position", "where from"),
        rows,
        numeric=(1, 2),
        left=left_out(len(found.features), len(rows), "features"),
    )
    return block("FeatureSources", said, shown, caption(note))


def _strip(found: FeatureSources, example: int, j: int) -> Markup:
    """The tokens of an example up to the position looked at, or the largest parts."""
    row = found.per_example[example, j]
    limit = float(np.abs(row).max(initial=0.0))
    if found.split != TOKENS:
        order = np.argsort(-np.abs(row), kind="stable")[:5]
        return joined(*(Markup("{} {}").format(text(found.parts[p]), score(float(row[p]), 3)) for p in order), by=", ")
    real = [p for p in range(len(row)) if found.ids[example, p] != NO_TOKEN][:MOST_SOURCES]
    pieces = [
        shaded(token(found.texts(int(found.ids[example, p]))), float(row[p]), limit, score(float(row[p]), 3))
        for p in real
    ]
    return joined(*pieces, by=" ")


def _tokens(texts: Sequence[str]) -> Markup:
    return joined(*(Markup("<bdi>{}</bdi>").format(token(t)) for t in texts[:MOST_TOKENS]), by=" ")


def _where(task: str, model: str) -> Markup | str:
    return Markup("{} on {}").format(text(task), text(model)) if task or model else ""
