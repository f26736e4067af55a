"""What attention and the MLP of one layer add to the streams of many sets of nodes, computed only where a set has parts there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from interp.attribution.exact.engine import Replay
from interp.attribution.exact.segments import Segment
from interp.model.modules.linear import linear
from interp.model.modules.tensors import activation_in
from interp.parts.nodes import Group
from interp.precision import wide

#: Kinds of node that are ablated in a half of a layer.
IN_ATTENTION: Final = ("head", "attn_out")
IN_MLP: Final = ("mlp", "neuron")

#: A state, and which units of a group are kept in it, bool [unit]; None where nothing is ablated.
Way = tuple[int, np.ndarray | None]


@dataclass(frozen=True)
class Half(ABC):
    """One half of a layer. States are at the positions from `start` on, what is added at those from `first` on.

    group: the nodes that are ablated there, None for none; source: their ablated values at the positions from `first` on.
    """

    replay: Replay
    layer: int
    start: int
    first: int
    group: Group | None
    source: Tensor | None

    def added(self, x: Tensor, ways: Sequence[Way]) -> Tensor:
        """What is added to the stream [way batch pos d_model], for states x [state batch pos d_model]."""
        own = [i for i, (_, kept) in enumerate(ways) if kept is None or kept.any()]
        places = {state: i for i, state in enumerate(dict.fromkeys(ways[i][0] for i in own))}
        found = []
        if own:
            at, kept = [places[ways[i][0]] for i in own], [ways[i][1] for i in own]
            found.append(self.computed(x[list(places)], at, self._mask(kept, x.device)))
        if len(own) < len(ways):
            found.append(self.ablated()[None])
        order = np.full(len(ways), len(own))
        order[own] = np.arange(len(own))
        return torch.cat(found)[torch.from_numpy(order).to(x.device)]

    @staticmethod
    def _mask(kept: Sequence[np.ndarray | None], device: torch.device) -> Tensor | None:
        """Which units are kept, bool [way 1 1 unit]; None where nothing is ablated."""
        known = [units for units in kept if units is not None]
        return torch.from_numpy(np.stack(known))[:, None, None].to(device) if known else None

    @abstractmethod
    def ablated(self) -> Tensor:
        """What is added where all units are ablated [batch pos d_model]."""

    @abstractmethod
    def computed(self, x: Tensor, at: Sequence[int], kept: Tensor | None) -> Tensor:
        """What is added [way batch pos d_model] for the states x that are computed; `at`: which of them each way has."""

    def _ablated_values(self) -> Tensor:
        if self.source is None:
            raise RuntimeError("nothing is ablated here")
        return self.source


class AttentionHalf(Half):
    """Attention: its heads, or all of it, are ablated."""

    def ablated(self) -> Tensor:
        value = self._ablated_values()
        return self._projected(value.flatten(2)[None])[0] if self._heads else value

    def computed(self, x: Tensor, at: Sequence[int], kept: Tensor | None) -> Tensor:
        z = self._z(x)[list(at)]
        if self._heads and kept is not None:
            value = self._ablated_values()
            z = torch.where(kept[..., None], z.view(*z.shape[:-1], *value.shape[-2:]), value).flatten(-2)
        return self._projected(z)

    @property
    def _heads(self) -> bool:
        return self.group is not None and self.group.kind == "head"

    def _z(self, x: Tensor) -> Tensor:
        """The input of the output projection [state batch pos head * d_head]."""
        before = Segment(len(x), self.start, self.replay.length)
        after = before.between(self.first, self.replay.length)
        z = self.replay.attended(self.layer, x.flatten(0, 2), [before], [after])
        return z.view(len(x), self.replay.batch, -1, z.shape[-1])

    def _projected(self, z: Tensor) -> Tensor:
        raw = self.replay.projected(self.layer, z.flatten(0, 2)).view(*z.shape[:3], -1)
        return self.replay.machine.modules[self.layer].attn_added(raw)


class MlpHalf(Half):
    """The MLP: all of it, or its neurons, are ablated."""

    def ablated(self) -> Tensor:
        if not self._neurons:
            return self._ablated_values()
        record, base = self.replay.recording.layers[self.layer], self._ablated_values()
        change = wide(base) - wide(record.neurons.view(self.replay.batch, -1, base.shape[-1])[:, self.first :])
        return self._changed(record.mlp_raw[:, self.first :], change)

    def computed(self, x: Tensor, at: Sequence[int], kept: Tensor | None) -> Tensor:
        if not self._neurons or kept is None:
            added = self.replay.machine.modules[self.layer].mlp_added(self.replay.mlp_raw(self.layer, x))
            return added[list(at)]
        raw, neurons = self._with_neurons(x)
        change = (wide(self._ablated_values()) - wide(neurons)[list(at)]).masked_fill(kept, 0)
        return self._changed(raw[list(at)], change)

    @property
    def _neurons(self) -> bool:
        return self.group is not None and self.group.kind == "neuron"

    def _with_neurons(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The MLP's output [state batch pos d_model] and its neurons [state batch pos d_mlp]."""
        down, seen = self.replay.machine.modules[self.layer].down, list[Tensor]()
        if down is None:
            raise RuntimeError("this MLP has no neurons")

        def keep(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            seen.append(activation_in(args, kwargs).flatten(0, -2))

        handle = down.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            raw = self.replay.mlp_raw(self.layer, x)
        finally:
            handle.remove()
        return raw, torch.cat(seen).view(*x.shape[:3], -1)

    def _changed(self, raw: Tensor, change: Tensor) -> Tensor:
        """What is added where the neurons change by [... d_mlp], rounded once."""
        model = self.replay.machine.model
        W, _ = linear(model, model.layout.blocks[self.layer].mlp.down)
        new = (wide(raw) + change @ wide(W).to(change)).to(raw.dtype)
        return self.replay.machine.modules[self.layer].mlp_added(new)
