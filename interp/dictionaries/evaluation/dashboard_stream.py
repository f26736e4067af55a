"""The features of a dictionary over a stream of token batches: one forward per batch, then a few tokens at a time.

Axis words: `batch pos feature d_in`; `token` counts the kept tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.splice import check_dictionaries, widths
from interp.dictionaries.training.data.rows import Cutter
from interp.parts.sites import Site
from interp.parts.tokens import Tokens
from interp.precision import wide

#: Bytes of encoder outputs that are held at once.
ENCODE_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Seen:
    """One batch. begins: where a text begins, keep: the tokens that count [batch pos]; x: what the dictionary reads
    [batch pos d_in]; final: what enters the final norm [batch pos d_model], where it was asked for."""

    tokens: Tokens
    begins: Tensor
    keep: Tensor
    x: Tensor
    final: Tensor | None


def seen(
    model: Any, dictionary: Dictionary, data: Iterable[Any], *, keep_bos: bool = False, final: bool = False
) -> Iterator[Seen]:
    """What the dictionary reads, batch by batch.

    Padding never counts, and a token that begins a text (BOS, as in training) only with `keep_bos`. Cost: one forward.
    Raises: DictionaryError for activations that are not finite.
    """
    bos = Cutter.of(model, None, keep_bos).bos
    reads = [dictionary.site, *([Site("resid_final")] if final else [])]
    for given in data:
        with torch.no_grad():
            run = model.run(model.tokenize(given), reads=reads, logits_to_keep=1)
        tokens = run.tokens
        x = run[dictionary.site].flatten(2).to(tokens.mask.device)
        first = torch.zeros_like(tokens.mask) if bos is None else tokens.ids == bos
        keep = tokens.mask if keep_bos else tokens.mask & ~first
        if not bool(torch.isfinite(x[keep]).all()):
            raise DictionaryError(
                f"activations at '{dictionary.site}' are not finite; try dtype='float32' or other data."
            )
        yield Seen(tokens, first, keep, x, run[Site("resid_final")].to(x.device) if final else None)


def check_fits(model: Any, dictionary: Dictionary) -> None:
    """Raises: DictionaryError or SiteError for what is no dictionary, or where the model has no such place, or one of another width."""
    if not isinstance(dictionary, Dictionary):
        raise DictionaryError(
            f"dictionary: given {dictionary!r:.80}; expected a Dictionary that reads a place, for example one that "
            "interp.load_dictionary or interp.train_dictionary gives."
        )
    check_dictionaries({dictionary.target: dictionary}, model.layout, widths(model.layout))


def encoded(dictionary: Dictionary, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Features [token feature] of x [token d_in], as many tokens at a time as `ENCODE_BYTES` holds."""
    step = max(1, ENCODE_BYTES // (dictionary.n_features * dictionary.dtype.itemsize))
    with torch.no_grad():
        for start in range(0, len(x), step):
            at = slice(start, min(len(x), start + step))
            yield at, dictionary.encode(x[at].to(dictionary.device))


def gathered(dictionary: Dictionary, x: Tensor, features: Sequence[int]) -> Tensor:
    """Some features [token feature] of x [token d_in], in float32 or better, on the CPU; all are encoded."""
    chosen = torch.tensor(list(features), device=dictionary.device)
    parts = [f[:, chosen].cpu() for _, f in encoded(dictionary, x)]
    return wide(torch.cat(parts) if parts else torch.zeros(0, len(chosen)))
