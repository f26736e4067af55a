"""What patches are going to cost: the rows that `engine` counts, from the shape of the prompts alone, before any run.

It is a bound. What cannot be known without a run is taken at its worst: that every part changes something, at every
position from the first token that differs between the two runs on (see `starts_at`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from interp.attribution.exact.counts import Counts
from interp.attribution.exact.engine import Machine
from interp.model.multiply_adds import Prices
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site

_STREAM: Final = ("embed", "resid_pre", "resid_post")
_INSIDE_MLP: Final = ("mlp_post", "mlp_out")
_CHANNELS: Final = ("q", "k", "v")


def starts_at(base: Tensor | Inputs, source: Tensor | Inputs | None, machine: Machine) -> int:
    """The first position where the values of two runs can differ; their length for none.

    base, source: token ids [batch pos], or inputs that are no text, which differ everywhere; `source` None where fixed values are patched in. Experts take the tokens of a batch
    together, so that later ones change the last bit of earlier ones.
    """
    if source is None or isinstance(base, Inputs) or isinstance(source, Inputs):
        return 0
    differ = (base != source).any(0).nonzero()
    if not len(differ):
        return int(base.shape[1])
    experts = any(own.experts for own in machine.modules)
    return int(differ[0]) if machine.causal and not experts else 0


@dataclass(frozen=True)
class Forecast:
    """Patches of prompts of `length` tokens that differ from position `start` on, priced in plain forwards of as many prompts.

    `parallel`: of each layer, whether its MLP reads what attention reads. `whole`, `causal`: as a `Machine` has them. `keep`:
    positions whose logits are read, 0 for all; `tokens`: the logits that each of these costs.
    """

    prices: Prices
    parallel: Sequence[bool]
    whole: bool
    causal: bool
    length: int
    start: int
    keep: int
    tokens: int

    def node(self, site: Site, units: int) -> float:
        """One patch at a site, beside what `shared` says; of heads, how many units share their layer's output projection."""
        layer = site.layer or 0
        if site.kind in _STREAM:
            return self._priced(self._stream(layer + (site.kind == "resid_post"), self.start))
        read = site.kind not in _INSIDE_MLP and not self.parallel[layer]
        return self._leaving(layer, read, units if site.kind in ("z", *_CHANNELS) else None)

    def shared(self, site: Site) -> float:
        """What all patches at a site cost together: attention, as it was and with another channel."""
        return 2 * self.attention(site.layer or 0) if site.kind in _CHANNELS else 0.0

    def edge(self, layer: int | None, channel: str, units: int) -> float:
        """One edge into a reader, beside the copies that its layer's attention reads and what its writer writes; `layer` None for
        the logits, `units` readers of the channel in a layer."""
        if layer is None:
            return self._priced(self._stream(len(self.parallel), self.start))
        read = channel == "mlp" or not self.parallel[layer]
        return self._leaving(layer, read, units if channel in _CHANNELS else None)

    def written(self, layer: int, heads: int) -> float:
        """What one of so many heads of a layer writes, at all positions."""
        return self._priced(Counts(written=self.length * self.prices.rows["o", layer] // heads))

    def copies(self, layer: int) -> float:
        """The queries, keys and values of a copy of the stream that a layer's attention reads."""
        counts = Counts()
        counts.add("qkv", layer, self.length - self.start)
        return self._priced(counts)

    def attention(self, layer: int) -> float:
        """Attention redone once with the queries, keys or values of a copy."""
        counts, rows = Counts(), self.length - self._reach(layer + 1, self.start)
        counts.add("attention", layer, rows, keys=self.length)
        return self._priced(counts)

    # ------------------------------------------------------------ as the engine does it

    @property
    def _first_read(self) -> int:
        return self.length - self.keep if self.keep else 0

    def _reach(self, entry: int, start: int) -> int:
        """The first position where a change of the stream that enters `entry` matters."""
        return max(start, self._first_read) if entry == len(self.parallel) else start

    def _leaving(self, layer: int, read: bool, units: int | None = None) -> float:
        """A patch inside a layer; `read`: whether the layer's MLP reads what it changes; `units`: how many share the output
        projection that it goes through, None where it goes through none."""
        counts, rows = self._stream(layer + 1, self.start), self.length - self._reach(layer + 1, self.start)
        if read:
            counts.add("mlp", layer, rows)
        if units is not None:
            counts.written += rows * self.prices.rows["o", layer] // units
        return self._priced(counts)

    def _stream(self, entry: int, start: int) -> Counts:
        """A patch of the stream that enters a layer at the positions from `start` on, redone to the logits."""
        counts, start = Counts(), self._reach(entry, start)
        if start >= self.length:
            return counts
        for layer in range(entry, len(self.parallel)):
            start = self._through(counts, layer, start)
        counts.unembedded += (self.length - self._first_read) * self.tokens
        return counts

    def _through(self, counts: Counts, layer: int, start: int) -> int:
        """One layer; where the stream that leaves it starts."""
        attends = bool(self.prices.rows["o", layer])
        after = self._reach(layer + 1, start if self.causal or not attends else 0)
        entering, leaving = self.length - start, self.length - after
        if not attends:
            counts.add("mlp", layer, leaving)
            return after
        redone = self.length if self.whole else leaving
        counts.add("qkv", layer, self.length if self.whole else entering)
        counts.add("attention", layer, redone, keys=self.length)
        counts.add("o", layer, redone)
        counts.add("mlp", layer, leaving)
        return after

    def _priced(self, counts: Counts) -> float:
        return counts.multiply_adds(self.prices) / self.prices.forward(1, self.length)
