"""Values against what is known to matter: the area under the ROC curve, and the pointing game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp.attribution.tokens.token_features import Groups
from interp.errors import MethodError
from interp.scores.roc import roc
from interp.tasks.pairs.token_pairs import TokenPair
from interp.whole_numbers import is_whole


def known_groups(truth: Any, pairs: Sequence[TokenPair], groups: Sequence[Groups]) -> list[np.ndarray]:
    """Which groups of each prompt are known to matter [group]: those with a position of the truth.

    truth: the name of a span of the pairs, or the positions, one set for all pairs or a list with one for each. Raises: MethodError.
    """
    if isinstance(truth, str):
        lacking = next((i for i, pair in enumerate(pairs) if truth not in pair.spans), None)
        if lacking is not None:
            known = ", ".join(pairs[lacking].spans) or "none"
            raise MethodError(f"truth {truth!r}: pair {lacking + 1} has no such span; it has {known}.")
        each: list[Any] = [range(*pair.spans[truth]) for pair in pairs]
    else:
        given = [truth] if is_whole(truth) else list(truth)
        each = [given] * len(pairs) if all(map(is_whole, given)) else given
    if len(each) != len(pairs):
        raise MethodError(
            f"truth: positions for {len(each)} prompts given; expected {len(pairs)}, one set for each pair."
        )
    return [_known(positions, own, i) for i, (positions, own) in enumerate(zip(each, groups, strict=True))]


def _known(given: Any, own: Groups, pair: int) -> np.ndarray:
    positions = [given] if is_whole(given) else list(given)
    wrong = [at for at in positions if not is_whole(at) or not 0 <= at < len(own.places)]
    if wrong or not positions:
        given = f"position {wrong[0]!r}" if wrong else "no position"
        raise MethodError(f"truth of pair {pair + 1}: {given}; expected some of 0 to {len(own.places) - 1}.")
    return np.isin(np.arange(len(own.names)), [own.places[at] for at in positions])


def auroc(values: np.ndarray, known: np.ndarray) -> float | None:
    """The chance that a group that matters has a larger value than one that does not; None where there are not both."""
    return None if known.all() or not known.any() else roc(values, known).auroc


def pointing(values: np.ndarray, known: np.ndarray) -> float:
    """1 where the largest value is of a group that matters, else 0; of equal largest ones the share of those that do.

    Source: Zhang et al. 2018.
    """
    return float(known[values == values.max()].mean())
