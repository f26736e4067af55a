"""Methods that need all batches at once: which pairs go through together, and what such a method says beside its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.masks.masked import Masked
from interp.attribution.masks.searches import Search
from interp.attribution.protocol.registry import Method, Options
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import TokenPair

#: So many pairs at least go through at once, where parts of the pairs take turns.
LEAST_IN_A_TURN: Final = 4


class Aside(NamedTuple):
    """What a method that needs all batches at once says beside its scores: the threshold that it used, and how it searched."""

    tau: float | None = None
    said: str = ""


#: What other methods say.
NOTHING: Final = Aside()


def in_turns(
    method: Method, pairs: Sequence[TokenPair], batch_size: int, generator: torch.Generator
) -> list[tuple[list[int], int]]:
    """The pairs of each batch, and its turn; where pairs take turns it is drawn which go together."""
    turns = max(1, min(method.turns, len(pairs) // LEAST_IN_A_TURN))
    drawn = torch.randperm(len(pairs), generator=generator).tolist() if turns > 1 else range(len(pairs))
    found = []
    for turn in range(turns):
        own = sorted(drawn[turn::turns])
        for index in by_length([pairs[i].shape for i in own], batch_size):
            found.append(([own[i] for i in index], turn))
    return found


def together(
    method: Method, batches: Sequence[Batch], options: Sequence[Options], turn: Sequence[int]
) -> tuple[list[Tensor], Aside]:
    """Scores [batch part] of every batch, of a method that needs all of them at once, and what it says beside them."""
    if method.masked is not None:
        search = Search(Masked(batches, options[0].masks.keep, options[0].advance, turn))
        found = method.masked(search, options, method.rules)
        kept = _kept_whole(search, found.scores).double().cpu()
        return [kept.expand(len(batch.pairs), -1) for batch in batches], Aside(said=found.said)
    if method.joint is None:
        raise RuntimeError(f"{method.name} scores batch by batch")
    scores, tau = method.joint(batches, options, method.rules)
    return [found.reshape(len(found), -1).double().cpu() for found in scores], Aside(tau)


def _kept_whole(search: Search, found: Tensor) -> Tensor:
    """Scores [part] of a search, in which what is in every circuit is first: it is kept whole in all runs, and whatever the search made
    of its score decided nothing."""
    competing = search.masked.competing
    return found.where(competing, found[competing].max().ceil())
