"""The report of a dictionary: how good it is, how often its features are active, what they look like, what they can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing import dashboard_figures as figures
from interp.formatting.numbers import count, count_word, decimals, number, percent, share_digits

if TYPE_CHECKING:
    from interp.dictionaries.evaluation.dashboard_values import Dashboard, Example, LogitEffects
    from interp.dictionaries.evaluation.measured import CrossEntropies, DictionaryEvaluation
    from interp.dictionaries.evaluation.probing import ProbeResult, ProbeRow
    from interp.probes.classifier import Interval

#: Features named in a row of the table of probes, and heads named in words.
MOST_NAMED: Final = 5
MOST_HEADS: Final = 3


def payload(
    evaluation: DictionaryEvaluation, dashboards: Sequence[Dashboard], probes: Sequence[ProbeResult]
) -> dict[str, Any]:
    """Plain data, and pictures as markup."""
    known = frozenset(d.feature for d in dashboards)
    return {
        "title": f"{evaluation.dictionary}, {evaluation.model}",
        "finding": finding(evaluation),
        "facts": _facts(evaluation),
        "fidelity": _fidelity(evaluation),
        "pca_fit": evaluation.pca_fit,
        "costs": _costs(evaluation.cross_entropies),
        "predicted": evaluation.cross_entropies.tokens,
        "densities": figures.densities(evaluation.counts, evaluation.tokens),
        "tokens": evaluation.tokens,
        "probes": [_probe(p, known) for p in probes],
        "cards": [_card(d, known) for d in dashboards],
        "n_features": evaluation.n_features,
        "of_z": any(d.heads for d in dashboards),
        "settings": [{"name": key.replace("_", " "), "value": value} for key, value in evaluation.settings.items()],
    }


def finding(e: DictionaryEvaluation) -> str:
    """What was found, in one or two sentences."""
    said = (
        f"{count(e.n_features)} features explain {percent(e.explained_variance)} of the variance at {e.target} "
        f"with {number(e.l0, 1)} active per token"
    )
    if beside := [b for b in e.pca if b.components == min(max(1, round(e.l0)), e.d_out)]:
        said += f", where as many principal components explain {percent(beside[0].explained_variance)}"
    recovered = e.cross_entropies.recovered
    if recovered is None:
        said += ". Zero in its place does the model no harm, so there is no loss to recover"
    else:
        said += f". With the dictionary's output in its place the model recovers {percent(recovered)} of the loss that zero ablation costs"
    dead = f"{count_word(e.dead)} of the features {'is' if e.dead == 1 else 'are'} never active"
    return f"{said}. {dead if e.dead else 'Every feature is active somewhere'}."


# ------------------------------------------------------------ numbers


def _facts(e: DictionaryEvaluation) -> list[dict[str, str]]:
    spread = ", ".join(f"{number(v, 0)} at {percent(float(q))}" for q, v in e.l0_quantiles.items())
    facts = {
        "dictionary": e.dictionary,
        "model": e.model,
        "reads": f"{e.site}, {count(e.d_in)} numbers per token",
        **({"makes up": f"{e.target}, {count(e.d_out)} numbers per token"} if e.target != e.site else {}),
        "features": f"{count(e.n_features)}, {e.activation}",
        "text": f"{e.data}: {count(e.tokens)} tokens (BOS and padding do not count unless said so)",
        "active features per token (L0)": f"mean {number(e.l0, 2)}" + (f"; quantiles {spread}" if spread else ""),
        "never active (dead)": f"{count(e.dead)} of {count(e.n_features)} ({percent(e.dead_share)})",
        "active on more than a tenth of the tokens (dense)": f"{count(e.dense)} ({percent(e.dense_share)})",
    }
    return [{"name": name, "value": value} for name, value in facts.items()]


def _fidelity(e: DictionaryEvaluation) -> list[dict[str, Any]]:
    own = {"what": "the dictionary", "size": f"{number(e.l0, 1)} of {count(e.n_features)} features"}
    rows = [{**own, "explained": e.explained_variance, "cosine": e.cosine, "mse": e.mse, "own": True}]
    for b in e.pca:
        size = f"{count(b.components)} components"
        rows.append({"what": "PCA", "size": size, "explained": b.explained_variance, "own": False})
    return rows


def _costs(ce: CrossEntropies) -> list[dict[str, Any]]:
    return [
        {"what": "the model as it is", "nats": ce.clean},
        {"what": "the dictionary's output in its place", "nats": ce.spliced},
        {"what": "its mean in its place", "nats": ce.mean, "recovered": ce.recovered_from_mean},
        {"what": "zero in its place", "nats": ce.zero, "recovered": ce.recovered},
    ]


# ------------------------------------------------------------ probes


def _probe(found: ProbeResult, known: frozenset[int]) -> dict[str, Any]:
    return {
        "name": found.name,
        "n_train": found.n_train,
        "n_test": found.n_test,
        "share": found.share,
        "site": found.site,
        "rows": [_probe_row(row, known) for row in found.rows],
    }


def _probe_row(row: ProbeRow, known: frozenset[int]) -> dict[str, Any]:
    of_features = row.what == "features"
    named = [figures.link(c, known) if of_features else count(c) for c in row.chosen[:MOST_NAMED]]
    quality = row.quality
    return {
        "what": row.what,
        "k": row.k or None,
        "own": of_features,
        "measures": [_measure(m) for m in (quality.accuracy, quality.balanced, quality.auc)],
        "named": named,
        "left": len(row.chosen) - len(named),
    }


def _measure(value: Interval) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}


# ------------------------------------------------------------ cards


def _card(d: Dashboard, known: frozenset[int]) -> dict[str, Any]:
    digits = decimals([d.maximum], 3)
    return {
        "feature": d.feature,
        "name": count(d.feature),
        "chosen": d.chosen,
        "density": _share(d.density),
        "active": d.n_active,
        "mean": d.mean,
        "maximum": d.maximum,
        "digits": digits,
        "peak": d.top[0].tokens[d.top[0].peak] if d.top else None,
        "raises": d.effects.top[0].token if d.effects.top else None,
        "histogram": figures.activations(d.histogram, d.maximum) if d.n_active else None,
        "top": [_example(e, d) for e in d.top],
        "bands": [{"low": b.low, "high": b.high, "examples": [_example(e, d) for e in b.examples]} for b in d.bands],
        "effects": _effects(d.effects),
        "nearest": [{"link": figures.link(n.feature, known), "cosine": n.cosine} for n in d.nearest],
        "heads": _heads(d.heads),
    }


def _example(e: Example, d: Dashboard) -> dict[str, Any]:
    where = f"document {e.document}, position {e.position}"
    return {"value": e.activations[e.peak], "text": figures.text(e, d.maximum), "where": where}


def _effects(found: LogitEffects) -> dict[str, Any]:
    values = [t.effect for t in (*found.top, *found.bottom)]
    limit = max(map(abs, values), default=0.0)
    named = {"raises": found.top, "lowers": found.bottom}
    lists = [
        {"what": what, "tokens": [{"token": t.token, "effect": t.effect} for t in tokens]}
        for what, tokens in named.items()
    ]
    return {"reason": found.reason, "limit": limit, "digits": decimals([limit], 3), "lists": lists if values else []}


def _share(value: float) -> str:
    """A density in percent with two significant digits: most are small."""
    return f"{number(100 * value, decimals([100 * value], 2))} %"


def _heads(shares: Sequence[float]) -> dict[str, Any] | None:
    if not shares:
        return None
    order = sorted(range(len(shares)), key=lambda h: (-shares[h], h))[:MOST_HEADS]
    digits = share_digits(shares[h] for h in order)
    named = ", ".join(f"head {h} {percent(shares[h], digits)}" for h in order)
    return {"named": named, "first": order[0], "share": shares[order[0]], "picture": figures.heads(shares)}
