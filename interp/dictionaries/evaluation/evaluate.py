"""Evaluating dictionaries on text: one forward for all of them, then three per dictionary for what they cost the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.damage import cross_entropy, replacing_by, scored, splicing, total_cross_entropy
from interp.dictionaries.evaluation.dashboard_stream import check_fits
from interp.dictionaries.evaluation.evaluated_text import Text, read_text
from interp.dictionaries.evaluation.fidelity import Fidelity
from interp.dictionaries.evaluation.measured import Baseline, CrossEntropies, DictionaryEvaluation
from interp.dictionaries.training.data.rows import Cutter
from interp.given import kinds_checked
from interp.progress import progress
from interp.whole_numbers import count

#: Runs of the model per dictionary and batch beside the common one: spliced, zero, mean.
_RUNS = 3


@kinds_checked
def evaluate_dictionary(
    model: Any,
    dictionary: Dictionary,
    data: Any,
    *,
    tokens: int = 100_000,
    context: int | None = None,
    seed: int = 0,
    keep_bos: bool = False,
    hold_out: float = 0.0,
    pca: int | None = 32,
    show_progress: bool | None = None,
) -> DictionaryEvaluation:
    """L0, explained variance, dead and dense features, and cross-entropy recovered, of a dictionary on text.

    data: what training takes: files, datasets on disk, texts, batches of token ids, or "demo". tokens: at most so many are
    counted; BOS and padding are not (BOS with `keep_bos`). hold_out: only the documents that training with this share and
    `seed` sets aside; 0: all. pca: components of the baseline (at most d_out) beside as many as the L0; None: none.

    Cost: 4 forwards per batch; for PCA d_out^2 per token and memory of 2 d_out^2 float64. Source: explained variance as
    Gao et al. 2024; cross-entropy recovered as Rajamanoharan et al. 2024.
    Raises: DictionaryError for another model's width, no data, activations that are not finite.
    """
    settings: dict[str, Any] = {
        "tokens": tokens,
        "context": context,
        "seed": seed,
        "keep_bos": keep_bos,
        "hold_out": hold_out,
    }
    text = read_text(model, data, **settings)
    return evaluate_on(model, [dictionary], text, pca=pca, settings=settings, show_progress=show_progress)[0]


def evaluate_on(
    model: Any,
    dictionaries: Sequence[Dictionary],
    text: Text,
    *,
    pca: int | None = 32,
    settings: dict[str, Any] | None = None,
    show_progress: bool | None = None,
) -> list[DictionaryEvaluation]:
    """Evaluations of several dictionaries on the same text, in order; see `evaluate_dictionary`."""
    if pca is not None:
        count(pca, "pca", DictionaryError, expected="1 component or more, or None")
    for d in dictionaries:
        check_fits(model, d)
    model.check_next("the damage that a dictionary does, to the next token")
    steps = len(text.batches) * (1 + _RUNS * len(dictionaries))
    with progress("evaluating", steps, show_progress) as advance:
        sums = [Fidelity(d, pca is not None) for d in dictionaries]
        clean, predicted = _read(model, sums, text, advance)
        measured = [_measured(model, one, text, pca) for one in sums]
        return [
            DictionaryEvaluation(
                **fixed, cross_entropies=_damage(model, one, text, clean, predicted, advance), settings=settings or {}
            )
            for one, fixed in zip(sums, measured, strict=True)
        ]


def _bos(model: Any) -> int | None:
    return Cutter.of(model, None, False).bos


def _read(model: Any, sums: Sequence[Fidelity], text: Text, advance: Callable[[int], None]) -> tuple[float, int]:
    """Fill the sums; the summed cross-entropy of the model as it is, and over how many tokens."""
    sites = list({site for one in sums for site in (one.dictionary.site, one.dictionary.target)})
    total, predicted, bos = 0.0, 0, _bos(model)
    for batch in text.batches:
        with torch.no_grad():
            run = model.run(batch.ids, reads=sites)
        where = scored(batch, bos)
        total += cross_entropy(run.logits, batch.ids, where)
        predicted += int(where.sum())
        counted = batch.counted.to(model.device)
        odd = (batch.numbers % 2 == 1)[:, None].expand_as(batch.counted)[batch.counted].to(model.device)
        for one in sums:
            x, y = (run[site].flatten(2)[counted] for site in (one.dictionary.site, one.dictionary.target))
            one.add(x, y, odd)
        advance(1)
    if not predicted:
        raise DictionaryError("no next token to predict: rows of one token each; use longer texts.")
    return total, predicted


def _damage(
    model: Any, one: Fidelity, text: Text, clean: float, predicted: int, advance: Callable[[int], None]
) -> CrossEntropies:
    d, bos, mean = one.dictionary, _bos(model), one.all.mean
    totals = [0.0] * _RUNS
    for batch in text.batches:
        counted = batch.counted.to(model.device)
        edits = splicing(d, counted), replacing_by(d, counted, torch.zeros_like(mean)), replacing_by(d, counted, mean)
        for i, edit in enumerate(edits):
            totals[i] += total_cross_entropy(model, batch, edit, bos)
            advance(1)
    spliced, zero, by_mean = (total / predicted for total in totals)
    return CrossEntropies(clean / predicted, spliced, zero, by_mean, predicted)


def _measured(model: Any, one: Fidelity, text: Text, pca: int | None) -> dict[str, Any]:
    """All but the cross-entropies."""
    d = one.dictionary
    sizes = [] if pca is None else sorted({min(k, d.d_out) for k in (max(1, round(one.mean_l0)), pca)})
    return {
        "dictionary": d.name or str(d.target),
        "site": str(d.site),
        "target": str(d.target),
        "activation": type(d.activation).__name__,
        "model": model.name,
        "data": text.name,
        "d_in": d.d_in,
        "d_out": d.d_out,
        "tokens": one.n,
        "l0": one.mean_l0,
        "l0_quantiles": one.l0_quantiles(),
        "explained_variance": one.explained_variance,
        "mse": one.squared / (one.n * d.d_out),
        "cosine": one.cosines / one.n,
        "counts": one.counts.numpy(),
        "pca": tuple(Baseline(k, one.pca(k)) for k in sizes),
        "pca_fit": "" if pca is None else "on each half of the rows, measured on the other",
    }
