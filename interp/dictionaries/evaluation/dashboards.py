"""Feature dashboards: what a dictionary's features look like on text, and what the weights say of them.

dashboards = make_dashboards(model, dictionary, batches)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_examples import FeatureMemory, Memory
from interp.dictionaries.evaluation.dashboard_stream import Seen, check_fits, encoded, gathered, seen
from interp.dictionaries.evaluation.dashboard_values import (
    Dashboard,
    LogitEffects,
    Neighbour,
    load_dashboards,
    save_dashboards,
)
from interp.dictionaries.evaluation.feature_directions import Unembedding, head_shares, nearest, writes_logits
from interp.parts.tokens import Tokens
from interp.progress import progress
from interp.whole_numbers import whole

__all__ = ["Dashboard", "choose_features", "load_dashboards", "make_dashboards", "save_dashboards"]

#: Why a feature is shown.
MOST, DRAWN, ASKED = "writes most", "drawn at random", "asked for"
#: Features are chosen by the first batches that have so many tokens.
CHOOSE_TOKENS: Final = 50_000
NOTHING: Final = (
    "no tokens to look at: the data are empty, or hold nothing but BOS and padding; give batches of token ids."
)


def make_dashboards(
    model: Any,
    dictionary: Dictionary,
    data: Iterable[Any],
    *,
    features: Sequence[int] | None = None,
    n_features: int = 40,
    n_examples: int = 8,
    n_drawn: int = 2,
    window: int = 12,
    n_logits: int = 10,
    n_nearest: int = 5,
    keep_bos: bool = False,
    seed: int = 0,
    show_progress: bool | None = None,
) -> tuple[Dashboard, ...]:
    """Dashboards of some features, by one pass over `data` that holds one batch and a few examples per feature.

    data: batches of tokens, each as `model.run` takes them; rows are documents, and so is what a BOS begins inside a row.
    features: which ones; by default `n_features` chosen by `choose_features`. n_examples: top examples, each of another
    document. n_drawn: examples from each lower range of activations. window: tokens shown on each side of the peak.
    keep_bos: count the tokens that begin a text, which are left out by default.
    Empty where no feature is ever active on the tokens that the choice is made on.

    Cost: one forward and one encoding of the data, twice for the first `CHOOSE_TOKENS` tokens where features are chosen.
    Raises: DictionaryError for features out of range, numbers below their least, no data, or a dictionary of another model;
    SiteError for a place that the model does not have.
    """
    _check(n_features=(n_features, 1), n_examples=(n_examples, 1), window=(window, 0), n_drawn=(n_drawn, 0))
    _check(n_logits=(n_logits, 1), n_nearest=(n_nearest, 0))
    check_fits(model, dictionary)
    total, chosen = len(data) if isinstance(data, Sized) else 0, dict[int, str]()
    if features is not None:
        chosen = dict.fromkeys(_checked(dictionary, features), ASKED)
    else:
        first, data = _first(model, data)
        chosen = choose_features(model, dictionary, first, n=n_features, keep_bos=keep_bos, seed=seed)
    reason = writes_logits(dictionary)
    unembedding = None if reason or not chosen else Unembedding(model, dictionary)
    memory = Memory(len(chosen), n_examples, n_drawn, window, seed)
    if chosen:
        stream = seen(model, dictionary, data, keep_bos=keep_bos, final=unembedding is not None)
        with progress("dashboards", total, show_progress) as advance:
            _look(dictionary, stream, list(chosen), memory, unembedding, advance)
    beside = nearest(dictionary, list(chosen), n_nearest)
    effects = {
        feature: LogitEffects(reason=reason) if unembedding is None else unembedding.effects(feature, n_logits)
        for feature in chosen
    }
    return tuple(
        _dashboard(model, dictionary, feature, chosen[feature], memory.n_tokens, one, effects[feature], near)
        for feature, one, near in zip(chosen, memory.features, beside, strict=True)
    )


def _look(
    dictionary: Dictionary, stream: Iterable[Seen], features: Sequence[int], memory: Memory, unembedding: Unembedding | None,
    advance: Callable[[int], None],
) -> None:  # fmt: skip
    """The pass: what the features do on each batch goes into the memory, what the logits need into the unembedding."""
    for batch in stream:
        memory.add(batch, gathered(dictionary, batch.x[batch.keep], features))
        if unembedding is not None:
            unembedding.add(batch)
        advance(1)
    if not memory.n_tokens:
        raise DictionaryError(NOTHING)


def _dashboard(
    model: Any, dictionary: Dictionary, feature: int, why: str, n_tokens: int, memory: FeatureMemory, effects: LogitEffects,
    near: tuple[Neighbour, ...],
) -> Dashboard:  # fmt: skip
    return Dashboard(
        feature=feature,
        chosen=why,
        n_tokens=n_tokens,
        n_active=memory.n_active,
        mean=memory.total / memory.n_active if memory.n_active else 0.0,
        maximum=memory.maximum,
        histogram=memory.histogram(),
        top=tuple(piece.shown(model.text_of) for piece in memory.best()),
        bands=memory.bands(model.text_of),
        effects=effects,
        nearest=near,
        heads=head_shares(model, dictionary, feature),
    )


def choose_features(
    model: Any, dictionary: Dictionary, data: Iterable[Any], *, n: int = 40, keep_bos: bool = False, seed: int = 0
) -> dict[int, str]:
    """Which features to look at, each with the reason.

    Half of them write most: mean activation over all tokens times the norm of the decoder row. The others are drawn at random,
    with `seed`, from all that are active on some token of the data. Fewer where fewer are active.
    Raises: DictionaryError where there are no tokens.
    """
    total, active = torch.zeros(2, dictionary.n_features, dtype=torch.float64)
    n_tokens = 0
    for batch in seen(model, dictionary, data, keep_bos=keep_bos):
        n_tokens += int(batch.keep.sum())
        for _, f in encoded(dictionary, batch.x[batch.keep]):
            total += f.sum(0, dtype=torch.float64).cpu()
            active += (f > 0).sum(0).cpu()
    if not n_tokens:
        raise DictionaryError(NOTHING)
    written: Tensor = total * dictionary.W_dec.detach().cpu().double().norm(dim=1)
    order = [int(i) for i in written.argsort(descending=True, stable=True) if active[i] > 0]
    most, rest = order[: n - n // 2], order[n - n // 2 :]
    generator = torch.Generator().manual_seed(whole(seed, "seed"))
    drawn = [rest[i] for i in torch.randperm(len(rest), generator=generator)[: n // 2].tolist()]
    return dict.fromkeys(most, MOST) | dict.fromkeys(sorted(drawn), DRAWN)


def _first(model: Any, data: Iterable[Any]) -> tuple[list[Tokens], Iterable[Any]]:
    """The first batches, and all of them: what is read once is not lost."""
    rest, first, n = iter(data), list[Tokens](), 0
    for given in rest:
        first.append(model.tokenize(given))
        n += int(first[-1].mask.sum())
        if n >= CHOOSE_TOKENS:
            break
    if not first:
        raise DictionaryError(NOTHING)
    return first, itertools.chain(first, rest)


def _checked(dictionary: Dictionary, features: Sequence[int]) -> list[int]:
    found = [int(f) for f in features]
    if not found:
        raise DictionaryError("features: an empty list; name at least one, or leave it out to have some chosen.")
    wrong = [f for f in found if not 0 <= f < dictionary.n_features]
    if wrong or len(set(found)) < len(found):
        what = f"feature {wrong[0]} does not exist" if wrong else "a feature is named twice"
        raise DictionaryError(f"features: {what}; expected different numbers from 0 to {dictionary.n_features - 1}.")
    return found


def _check(**given: tuple[int, int]) -> None:
    for name, (value, least) in given.items():
        if value < least:
            raise DictionaryError(f"{name}={value}: expected {least} or more.")
