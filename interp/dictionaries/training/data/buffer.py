"""A shuffled buffer of activations: fixed slots, refilled where they were served, served in a drawn order.

Its memory is fixed: capacity x (widths of all sites) x bytes, and 16 bytes per slot for the order. A chunk and a batch come on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data.chunks import Chunk, Source
from interp.parts.sites import Site

#: By default: this many tokens, or as many as fit these bytes.
TOKENS: Final = 1 << 17
BYTES: Final = 1 << 28
#: What a slot takes beside its activations: its place in the order, and in the next one while that is drawn.
ORDER_BYTES: Final = 16
#: The buffer is refilled when this share of it has been served.
SERVED: Final = 0.5


class Buffer:
    """Draws batches without putting back, from at least half of its capacity.

    Raises: DictionaryError where `capacity` cannot hold a chunk and a batch beside the half that is kept.
    """

    def __init__(self, source: Source, sites: Sequence[Site], capacity: int, batch: int, seed: int) -> None:
        least = 2 * (source.largest + batch)
        if capacity < least:
            raise DictionaryError(
                f"buffer of {capacity:,} tokens: expected {least:,} or more, twice a batch of {batch:,} and what is read at once."
            )
        self.source, self.sites, self.capacity, self.batch = source, tuple(sites), capacity, batch
        self.generator = torch.Generator().manual_seed(seed)
        self.slots: Chunk = {}
        self.order = torch.empty(0, dtype=torch.long)
        self.free = torch.arange(capacity)

    def next(self) -> Chunk:
        """A batch [token d_in] per site, refilled before where it is time."""
        if len(self.order) < max(self.batch, self.capacity * (1 - SERVED)):
            self._fill()
        taken, self.order = self.order[: self.batch], self.order[self.batch :]
        self.free = torch.cat([self.free, taken])
        return {site: x[taken.to(x.device)] for site, x in self.slots.items()}

    def sample(self, most: int) -> Chunk:
        """Up to `most` of the tokens that come next, which stay in the buffer."""
        if not len(self.order):
            self._fill()
        return {site: x[self.order[:most].to(x.device)] for site, x in self.slots.items()}

    def _fill(self) -> None:
        """Put chunks into free slots for as long as any chunk fits, and draw the order again."""
        filled = [self.order]
        while len(self.free) >= self.source.largest:
            chunk = self.source.next()
            n = len(chunk[self.sites[0]])
            at, self.free = self.free[:n], self.free[n:]
            for site in self.sites:
                if site not in self.slots:
                    self.slots[site] = torch.zeros(self.capacity, chunk[site].shape[-1]).to(chunk[site])
                self.slots[site][at.to(chunk[site].device)] = chunk[site]
            filled.append(at)
        order = torch.cat(filled)
        self.order = order[torch.randperm(len(order), generator=self.generator)]

    # ------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Tensor]:
        """Order, generator and the slots themselves, no copy of them: a checkpoint must not need the buffer's memory again."""
        own = {"order": self.order, "free": self.free, "generator": self.generator.get_state()}
        return {**own, **{f"slots.{site}": x for site, x in self.slots.items()}}

    def load(self, state: dict[str, Tensor], device: torch.device | str) -> None:
        """Go on from a state, whose slots are taken out of it, with the activations on `device`."""
        self.order, self.free = state["order"].clone(), state["free"].clone()
        self.generator.set_state(state["generator"].clone())
        for site in self.sites:
            self.slots[site] = state.pop(f"slots.{site}").to(device)
