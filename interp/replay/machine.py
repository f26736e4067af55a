"""Whether and how a model can be restarted in the middle: found on a few tokens, and checked there against the run itself."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp import attention
from interp.errors import InterpError, LayoutError
from interp.replay.arguments import find_axes
from interp.replay.engine import Machine, Replay
from interp.replay.modules import LayerModules
from interp.replay.recording import Recording, record
from interp.replay.segments import Segment
from interp.tensors import close
from interp.tokens import Tokens

_SIZES: Final = ((2, 5), (3, 7))


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
    small, large = (record(model, modules, _tokens(model, *size)) for size in _SIZES)
    axes = []
    for layer, (a, b) in enumerate(zip(small.layers, large.layers, strict=True)):
        if not len(a.x) or not len(a.attn_raw) or not len(a.mlp_raw):
            raise LayoutError(f"layer {layer}: a module of its layout was not called.")
        axes.append(tuple(find_axes(a.call, b.call, _SIZES)))
    whole = any(layer.native is None for layer in large.layers)
    return Machine(model, modules, tuple(axes), whole), large


def _tokens(model: Any, batch: int, length: int) -> Tokens:
    """Different prompts, the first one token shorter and padded on the right, so that masks and position ids belong to prompts."""
    n = model.hf.get_input_embeddings().num_embeddings
    ids = (torch.arange(batch * length).view(batch, length) * 7 + 1) % n
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, -1] = False
    return Tokens(ids, mask)


def _check(machine: Machine, seen: Recording) -> None:
    """Redo the recorded run from each layer with nothing patched, in pieces; every layer must come out as it was.

    Raises: LayoutError naming the layer and the part that does not.
    """
    hf, routed = machine.model.hf, machine.model.layout.attention_function
    with attention.selected(hf, None) if routed else nullcontext():
        for layer, record_ in enumerate(seen.layers):
            own = machine.modules[layer]
            middle = record_.x + own.attn_added(record_.attn_raw)
            out = middle + own.mlp_added(record_.mlp_raw)
            _same(out, seen.stream(layer + 1), layer, "it is not stream + attention + MLP")
            raw = own.mlp_raw(record_.x if own.parallel else middle)
            _same(raw, record_.mlp_raw, layer, "the MLP does something else when it is called apart")
            start = 2 if not machine.whole and seen.causal else 0
            for stop in (start + 1, seen.length):
                _check_layer(machine, seen, layer, Segment(2, start, stop))


def _check_layer(machine: Machine, seen: Recording, layer: int, own: Segment) -> None:
    """One layer redone for two copies of every example at the positions of `own`."""
    replay = Replay(machine, seen, 0)
    x = seen.layers[layer].x[:, own.start : own.stop]
    rows, (after,) = replay.through(layer, x.repeat(2, 1, 1).flatten(0, 1), [own])
    expected = seen.stream(layer + 1)[:, after.start :].repeat(2, 1, 1).flatten(0, 1)
    _same(rows, expected, layer, "its attention does something else at some positions only")


def _same(found: Tensor, expected: Tensor, layer: int, what: str) -> None:
    if not close(found, expected):
        raise LayoutError(f"layer {layer}: {what} (a hook of yours, or an architecture that is not understood).")
