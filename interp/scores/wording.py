"""What scores are called that are neither estimates nor exact patches of one part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from interp.scores.provenance import Provenance

#: Methods whose scores are exact differences, but not those of one patch alone: what they are.
IN_TURN: Final = {"acdc": "exact when its removal was tried"}
#: What the scores of searches on masks are.
ORDER: Final = "an order, no estimate"


def neither(told: Provenance) -> str | None:
    """What these scores are, in words; None where each is an estimate or exact."""
    return IN_TURN.get(told.method) or (ORDER if told.masks else None)
