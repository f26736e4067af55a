"""Whether and how a model can be restarted in the middle: found on a few tokens, and checked there against the run itself."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from interp import attention
from interp.errors import InterpError, LayoutError
from interp.replay.arguments import Axes, find_axes
from interp.replay.engine import Machine, Replay
from interp.replay.modules import LayerModules
from interp.replay.recording import Recording, record
from interp.replay.segments import Segment
from interp.tensors import close
from interp.tokens import Tokens

_SIZES: Final = ((2, 5), (3, 7))
_AXES: WeakKeyDictionary[Any, tuple[tuple[Axes, ...], ...]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Restart:
    """How a model is restarted: with `machine`, or not at all because of `reason`."""

    machine: Machine | None
    reason: str = ""

    def __str__(self) -> str:
        if self.machine is None:
            return f"whole forwards: {self.reason}"
        return "replay of layers at all positions" if self.machine.whole else "replay"


def find_restart(model: Any) -> Restart:
    """How `model` can be restarted now, hooks of others included. Never raises for a model that cannot be."""
    try:
        machine, seen = _machine(model)
        with torch.no_grad():
            _check(machine, seen)
    except (InterpError, TypeError, RuntimeError, IndexError) as error:
        return Restart(None, " ".join(str(error).split())[:200] or type(error).__name__)
    return Restart(machine)


def _machine(model: Any) -> tuple[Machine, Recording]:
    modules = tuple(LayerModules.of(model, layer) for layer in range(model.layout.n_layers))
    seen = record(model, modules, _tokens(model, *_SIZES[0]))
    for layer, found in enumerate(seen.layers):
        if not len(found.x) or not len(found.attn_raw) or not len(found.mlp_raw):
            raise LayoutError(f"layer {layer}: a module of its layout was not called.")
    # What the arguments look like does not change; what the modules do may, and is checked each time.
    if model.hf not in _AXES:
        larger = record(model, modules, _tokens(model, *_SIZES[1]))
        pairs = zip(seen.layers, larger.layers, strict=True)
        _AXES[model.hf] = tuple(tuple(find_axes(a.call, b.call, _SIZES)) for a, b in pairs)
    whole = any(layer.native is None for layer in seen.layers)
    return Machine(model, modules, _AXES[model.hf], whole), seen


def _tokens(model: Any, batch: int, length: int) -> Tokens:
    """Different prompts, the first one token shorter and padded on the right, so that masks and position ids belong to prompts."""
    n = model.hf.get_input_embeddings().num_embeddings
    ids = (torch.arange(batch * length).view(batch, length) * 7 + 1) % n
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, -1] = False
    return Tokens(ids, mask)


def _check(machine: Machine, seen: Recording) -> None:
    """Redo each layer of the recorded run for two copies with one position given anew; it must come out as it was.

    Raises: LayoutError naming the layer and the part that does not.
    """
    hf, routed = machine.model.hf, machine.model.layout.attention_function
    with attention.selected(hf, None) if routed else nullcontext():
        for layer, record_ in enumerate(seen.layers):
            own = machine.modules[layer]
            middle = record_.x + own.attn_added(record_.attn_raw)
            out = middle + own.mlp_added(record_.mlp_raw)
            _same(out, seen.stream(layer + 1), layer, "it is not stream + attention + MLP")
            start = 2 if not machine.whole and seen.causal else 0
            _check_layer(machine, seen, layer, Segment(2, start, start + 1))


def _check_layer(machine: Machine, seen: Recording, layer: int, own: Segment) -> None:
    """One layer redone for two copies of every example at the positions of `own`."""
    replay = Replay(machine, seen, 0)
    x = seen.layers[layer].x[:, own.start : own.stop]
    rows, (after,) = replay.through(layer, x.repeat(2, 1, 1).flatten(0, 1), [own])
    expected = seen.stream(layer + 1)[:, after.start :].repeat(2, 1, 1).flatten(0, 1)
    _same(rows, expected, layer, "attention or MLP do something else when they are called apart")


def _same(found: Tensor, expected: Tensor, layer: int, what: str) -> None:
    if not close(found, expected):
        raise LayoutError(f"layer {layer}: {what} (a hook of yours, or an architecture that is not understood).")
