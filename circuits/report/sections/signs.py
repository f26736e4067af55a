"""Whether the sign of a score says anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from interp.scores.scores import Scores

#: Methods whose scores are shares: how much, not which way.
_SHARES: Final = ("ifr",)


def has_sign(scores: Scores | None) -> bool:
    """Whether the sign of an importance says which way a part works, and not only how much it matters."""
    return scores is not None and not scores.provenance.unsigned and scores.provenance.method not in _SHARES
