"""Patches inside one layer, as changes of the stream that enters the next: what a replay starts from.

Inside its layer a patch is worked out by hand from the nearest recorded tensor, at the positions that it changes:

    head, q, k, v    raw := o(z) + (z' - z) W_O;  mid := x + attn(raw);  out := mid + mlp(MLP(mid))
    attn_out         mid := x + a;  out as above
    resid_mid        mid := a;  out as above
    neuron           out := mid + mlp(raw + (n' - n) W_down)
    mlp_out          out := mid + a
    stream           out := a

Axis words: `patch batch pos head d_head d_model`; pos counts the positions start..stop only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from interp.attribution.exact.engine import Replay
from interp.attribution.exact.modules import LayerModules
from interp.attribution.exact.recording import LayerRecord
from interp.attribution.exact.segments import Segment
from interp.model.modules.linear import linear
from interp.precision import wide

Some = Callable[[slice], Tensor]


@dataclass(frozen=True)
class Patches:
    """`n` patches that change the stream entering layer `entry` at positions start..stop, and nothing before it.

    `rows(some)`: that stream for some of them, [patch batch pos d_model].
    """

    entry: int
    n: int
    start: int
    stop: int
    rows: Some

    def segment(self, n: int) -> Segment:
        """The segment of `n` of them."""
        return Segment(n, self.start, self.stop)


@dataclass(frozen=True)
class Inside:
    """Patches in one layer of a recorded run, at positions start..stop."""

    replay: Replay
    layer: int
    start: int
    stop: int

    @classmethod
    def of(cls, replay: Replay, layer: int, start: int, stop: int) -> Inside | None:
        """The same, cut to where a change behind this layer is read; None where that is nowhere."""
        start, stop = replay.reach(layer + 1, start, stop)
        return cls(replay, layer, start, stop) if start < stop else None

    def cut(self, x: Tensor, dim: int = 1) -> Tensor:
        """The positions start..stop of a tensor."""
        return x.narrow(dim, self.start, self.stop - self.start)

    # ------------------------------------------------------------ recorded values

    @property
    def _own(self) -> LayerModules:
        return self.replay.machine.modules[self.layer]

    @property
    def _record(self) -> LayerRecord:
        return self.replay.recording.layers[self.layer]

    @property
    def x(self) -> Tensor:
        """The stream that enters the layer [batch pos d_model]."""
        return self.cut(self._record.x)

    @property
    def middle(self) -> Tensor:
        """The stream after attention [batch pos d_model]."""
        if not self._own.attends:
            return self.x
        added: Tensor = self._own.attn_added(self.cut(self._record.attn_raw))
        return self._own.between(self.x, added)

    @property
    def mlp_added(self) -> Tensor:
        """What the MLP adds [batch pos d_model]."""
        added: Tensor = self._own.mlp_added(self.cut(self._record.mlp_raw))
        return added

    # ------------------------------------------------------------ patches

    def heads(self, n: int, change: Some) -> Patches:
        """Changes of the output projection's output, `change(some)` [patch batch pos d_model]."""
        raw = self.cut(self._record.attn_raw)
        return self.attention(n, lambda some: self._own.attn_added(_plus(raw, change(some))))

    def attention(self, n: int, added: Some) -> Patches:
        """Other values for what attention adds."""
        return self.stream_between(n, lambda some: self._own.between(self.x, added(some)))

    def stream_between(self, n: int, middle: Some) -> Patches:
        """Other values for the stream after attention; the MLP of the same layer reads them unless it reads x."""

        def rows(some: slice) -> Tensor:
            new = middle(some)
            if not self._own.computes:
                return new
            if self._own.parallel:
                return self._own.leaving(new, self.mlp_added)
            return self._own.leaving(new, self._own.mlp_added(self.replay.mlp_raw(self.layer, new)))

        return self._leaving(n, rows)

    def mlp_reads(self, n: int, read: Some) -> Patches:
        """Other values for the copy of the stream that the MLP reads."""
        own, middle = self._own, self.middle
        return self._leaving(
            n, lambda some: own.leaving(middle, own.mlp_added(self.replay.mlp_raw(self.layer, read(some))))
        )

    def neurons(self, n: int, change: Some) -> Patches:
        """Changes of the MLP's output before its post-norm, `change(some)` [patch batch pos d_model]."""
        raw, middle = self.cut(self._record.mlp_raw), self.middle
        return self._leaving(n, lambda some: self._own.leaving(middle, self._own.mlp_added(_plus(raw, change(some)))))

    def mlp(self, n: int, added: Some) -> Patches:
        """Other values for what the MLP adds."""
        middle = self.middle
        return self._leaving(n, lambda some: self._own.leaving(middle, added(some)))

    def _leaving(self, n: int, rows: Some) -> Patches:
        return Patches(self.layer + 1, n, self.start, self.stop, rows)

    # ------------------------------------------------------------ weights

    def W_O(self) -> Tensor:
        """[head d_head d_model], in float32 or better."""
        attn = self.replay.machine.model.layout.blocks[self.layer].attn
        W, _ = linear(self.replay.machine.model, attn.o)
        return wide(W).reshape(attn.n_heads, -1, W.shape[-1])

    def W_down(self) -> Tensor:
        """[neuron d_model], in float32 or better."""
        W, _ = linear(self.replay.machine.model, self.replay.machine.model.layout.blocks[self.layer].mlp.down)
        return wide(W)


def _plus(base: Tensor, change: Tensor) -> Tensor:
    """Their sum in the dtype of `base`, rounded once."""
    return (wide(base) + change).to(base.dtype)
