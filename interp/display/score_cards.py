"""How results show themselves in notebooks: scores, agreement, attributions to logits and to tokens, the logit lens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from interp.attribution.tokens.token_values import TokenAttribution
from interp.display.model_view import framed
from interp.examples.mechanisms import Mechanisms
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, bar, block, caption, element, joined, left_out, shaded, table, text
from interp.formatting.numbers import MISSING, count, decimals, interval, number, percent, score, several, share_digits
from interp.formatting.text import token
from interp.heads.patterns import AttentionPatterns
from interp.lenses.direct import LogitAttribution
from interp.lenses.lens import LogitLens
from interp.scores.agreement import Agreement, Row
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores
from interp.scores.wording import IN_TURN, neither

MOST_PROMPTS: Final = 3
MOST_TOKENS: Final = 24
MOST_SITES: Final = 16
_PARTS: Final = {"edges": "edges", "feature_edges": "edges", "features": "features and errors", "neurons": "neurons"}
_DIRECTIONS: Final = {
    "denoise": "the clean activation into the corrupt run",
    "noise": "the corrupt activation into the clean run",
}


def counted(level: str) -> str:
    """What the parts of a level are called."""
    return _PARTS.get(level, "nodes")


@showing.card.register
def scores_card(found: Scores) -> Markup:
    """The first of the ranking with their bars, and every convention that their numbers depend on."""
    p, order = found.provenance, [int(i) for i in found.rank()[:MOST_ROWS]]
    means, errors = found.mean, found.stderr
    sizes = [abs(float(means[i])) for i in order]
    limit, digits = max(sizes, default=0.0), decimals(sizes)
    mixed = found.exact is not None and not found.exact.all()
    rows = [
        (
            text(found.parts[i].name),
            score(float(means[i]), digits),
            bar(float(means[i]), limit),
            f"± {number(float(errors[i]), digits)}" if math.isfinite(errors[i]) else "",
            *(["exact" if found.exact is not None and found.exact[i] else "estimated"] if mixed else []),
        )
        for i in order
    ]
    columns = ("edge" if "edges" in p.level else "node", "score", "", "std. error", *(["known"] if mixed else []))
    said = joined(text(p.method), f"level {p.level}", p.direction, f"{count(len(found.parts))} {counted(p.level)}")
    left = left_out(len(found.parts), len(order), counted(p.level))
    below = [caption(str(found.search.certificate))] if found.search is not None else []
    return block("Scores", said, table(columns, rows, numeric=(1, 3), left=left), _conventions(found), *below)


def _conventions(found: Scores) -> Markup:
    p = found.provenance
    exact = (
        "all exact"
        if found.exact is not None and found.exact.all()
        else f"{int(found.exact.sum())} exact, the others estimated"
        if found.exact is not None
        else f"each {IN_TURN[p.method]}, after what was removed before"
        if p.method in IN_TURN
        else neither(p) or "estimated"
    )
    return caption(
        Markup("Mean over {} pairs of {} on {}, in {}; {}.").format(
            count(p.n_pairs), text(p.task), text(p.model), text(p.unit), exact
        ),
        f"Patched: {_patched(p)}.",
        "Sizes without a sign."
        if p.unsigned
        else f"A {'positive' if p.importance_sign > 0 else 'negative'} score means important.",
        "Largest in size first.",
    )


def _patched(p: Provenance) -> str:
    if p.ablation != "counterfactual" and p.direction != "denoise":
        return f"{p.ablation} ablation in the clean run"
    return _DIRECTIONS.get(p.direction, p.direction)


@showing.card.register
def agreement_card(found: Agreement) -> Markup:
    """A row for each kind; where there are too few nodes for a correlation to say much, the row says so."""
    columns = (
        "kind",
        "n",
        "Pearson",
        "without the largest",
        "Spearman",
        "top-weighted",
        "slope",
        "error",
        "same sign",
        "top k",
    )
    shown = found.rows[:MOST_ROWS]
    digits = share_digits(v for row in shown for v in (row.sign, row.top_k))
    rows = [_agreement_row(row, digits) for row in shown]
    left = left_out(len(found.rows), len(rows), "kinds")
    said = joined(Markup("{} against exact patching").format(text(found.method)), several(found.n_pairs, "pair"))
    note = "Correlations of mean scores with 95 % bootstrap intervals over pairs; top-weighted: agreement of the order by size, the largest weighing most; slope: how many times the exact scores these are; error: mean difference over the mean size; top k: overlap of the k largest."
    ordered = "The scores of a search on masks are an order of parts and estimate no effects, so only their order is compared."
    return block(
        "Agreement",
        said,
        table(columns, rows, numeric=(1, 3, 5, 6, 7, 8, 9), left=left),
        caption(ordered if found.order else note, text(found.sampled) if found.sampled else ""),
    )


def _agreement_row(row: Row, digits: int) -> tuple[str | Markup, ...]:
    few = "" if row.headline else " (few: look at the points)"
    quoted = [
        MISSING if value is None else f"{number(value, 2)}{' ' + interval(ci, 2) if ci else ''}"
        for value, ci in ((row.pearson, row.pearson_ci), (row.spearman, row.spearman_ci))
    ]
    kind = Markup("{}{}").format(text(row.kind), few)
    shares = percent(row.sign, digits), f"{percent(row.top_k, digits)} of {row.k}"
    pearson, spearman = quoted
    without = number(row.pearson_without, 2), number(row.top_weighted, 2), number(row.slope, 2), number(row.error, 2)
    return kind, count(row.n), pearson, without[0], spearman, *without[1:], *shares


# ---------------------------------------------------------------- what is read off the logits


@showing.card.register
def logit_card(found: LogitAttribution) -> Markup:
    """The components that add most to the logit, either way."""
    means = [float(v) for v in found.mean]
    order = sorted(range(len(means)), key=lambda i: -abs(means[i]))[:MOST_ROWS]
    sizes = [abs(means[i]) for i in order]
    digits = decimals(sizes)
    rows = [(text(found.nodes[i]), score(means[i], digits), bar(means[i], max(sizes))) for i in order]
    said = joined(
        f"{several(len(found.nodes), 'component')} on {several(len(found.per_example), 'prompt')}", text(found.model)
    )
    note = f"What each writes directly to the logit at the last token, in logits. All together: {score(float(found.total.mean()), digits)}; largest gap of the sum on a prompt: {number(found.largest_gap)}."
    left = left_out(len(means), len(order), "components")
    return block(
        "LogitAttribution", said, table(("component", "adds", ""), rows, numeric=(1,), left=left), caption(note)
    )


@showing.card.register
def lens_card(found: LogitLens) -> Markup:
    """The three most probable tokens at each site, at the last token of the first prompt."""
    last = int(found.tokens.last()[0])
    probabilities, ids = found.top(3)
    sites = range(max(0, len(found.sites) - MOST_SITES), len(found.sites))
    digits = share_digits(p for s in sites for p in probabilities[s, 0, last].tolist())
    rows = [
        (
            text(found.sites[s]),
            *(
                shaded(joined(_token(found.decode(i)), percent(p, digits), by=" "), p, 1.0)
                for i, p in zip(ids[s, 0, last].tolist(), probabilities[s, 0, last].tolist(), strict=True)
            ),
        )
        for s in sites
    ]
    n, examples = len(found.sites), len(found.tokens.ids)
    said = joined(several(n, "site"), several(examples, "prompt"))
    at = _token(found.decode(int(found.tokens.ids[0, last])))
    note = Markup(
        "The most probable next tokens if the output head read each site, at the last token of the first prompt, {}."
    ).format(at)
    return block(
        "LogitLens",
        said,
        table(("site", "first", "second", "third"), rows, left=left_out(n, len(sites), "sites at the start")),
        caption(note),
    )


@showing.card.register
def patterns_card(found: AttentionPatterns) -> Markup:
    """All heads in a frame, and where the position that the answer is read at looks most, head by head."""
    shown = found.heads[:MOST_ROWS]
    rows = []
    for head in shown:
        last = found.looks(head)
        order = [int(i) for i in (-last).argsort(kind="stable")[:3]]
        digits = share_digits(float(last[i]) for i in order)
        most = [
            shaded(
                joined(f"{i}", _token(found.looked_at[i]), percent(float(last[i]), digits), by=" "), float(last[i]), 1.0
            )
            for i in order
        ]
        rows.append((text(head), *most))
    said = joined(
        several(len(found.heads), "head"), several(len(found.tokens), "token"), text(found.model) if found.model else ""
    )
    left = left_out(len(found.heads), len(shown), "heads")
    columns = ("head", "looks most at", "then at", "")[: 2 + len(found.looked_at[:3]) - 1]
    note = Markup("{}: position, token and attention weight. A large weight is not yet an effect.").format(
        _reader(found)
    )
    return block("AttentionPatterns", said, framed(found), table(columns, rows, left=left), caption(note))


def _reader(found: AttentionPatterns) -> Markup:
    """Whose look is shown."""
    if found.read is None:
        return Markup("Of all positions on average")
    own = _token(found.tokens[found.read])
    last = found.read in (-1, len(found.tokens) - 1)
    return (
        Markup("Of the last token, {}").format(own) if last else Markup("Of {}, where the answer is read").format(own)
    )


@showing.card.register
def tokens_card(found: TokenAttribution) -> Markup:
    """The first prompts, each token shaded by its value and with the value below."""
    shown = min(MOST_PROMPTS, len(found.tokens))
    parts = [_prompt(found.tokens[i], found.values[i], found.clean_metric[i]) for i in range(shown)]
    said = joined(
        text(found.method),
        Markup("{} on {}").format(text(found.task), text(found.model)),
        several(len(found.tokens), "prompt"),
    )
    note = Markup("What each token adds to {}, in {}, against the {} baseline.").format(
        text(found.metric), text(found.unit), found.baseline
    )
    return block("TokenAttribution", said, *parts, caption(note, left_out(len(found.tokens), shown, "prompts")))


def _prompt(tokens: Sequence[str], values: Sequence[float], metric: float) -> Markup:
    start = max(0, len(tokens) - MOST_TOKENS)
    limit, digits = max(map(abs, values), default=0.0), decimals(values, 2)
    first = element("tr", *(element("td", _token(t), style=_TIGHT) for t in tokens[start:]))
    second = element("tr", *(element("td", shaded(score(v, digits), v, limit), style=_TIGHT) for v in values[start:]))
    left = f"{count(start)} tokens before these are left out. " if start else ""
    grid = element(
        "table", element("tbody", first, second), style="border-collapse: collapse; font-size: .9em; margin-top: 4px"
    )
    return grid + caption(f"{left}The metric of this prompt: {score(metric)}.")


_TIGHT: Final = "padding: 1px 4px; text-align: center; white-space: nowrap"


def _token(text_of: str) -> Markup:
    return Markup("<bdi>{}</bdi>").format(token(text_of))


@showing.card.register
def mechanisms_card(found: Mechanisms) -> Markup:
    """The groups of examples with what each shares most surely, and each number of groups that was tried."""
    rows = []
    for i in range(min(found.n, MOST_ROWS)):
        places = found.places(i)
        traits = [str(shared) for shared in found.shared if shared.group == i]
        rows.append(
            (
                str(i + 1),
                count(len(places)),
                number(float(found.own[places].mean()), 3),
                text(traits[0] if traits else "nothing shared"),
            )
        )
    said = joined(
        several(found.n, "group"),
        several(len(found.groups), "example"),
        Markup("{} on {}").format(text(found.task), text(found.model)),
    )
    columns = ("group", "examples", "mean correlation inside", "shared most surely")
    tried = [
        (
            str(one.n),
            number(one.separation, 3),
            number(one.p_separation),
            number(one.stability, 3),
            number(one.p_stability),
        )
        for one in found.tried
    ]
    head = ("groups", "apart", "p", "come out again", "p")
    note = "Apart: mean silhouette, beside draws of one group. Come out again: adjusted Rand index under resampling, beside shuffled scores."
    grid = table(head, tried, numeric=(0, 1, 2, 3, 4)) if tried else Markup()
    return block("Mechanisms", said, table(columns, rows, numeric=(0, 1, 2)), grid, caption(note))
