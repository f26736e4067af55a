"""Recurrent layers unrolled: every step of every layer of a module, over its own weights.

Axis words: `layer batch step unit`. Axis `layer` counts as torch's h_n does: of layers that run both ways the forward and the backward one of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.model.layers.recurrent_cells import CELLS, Cell, RecurrentError
from interp.rules.recurrences import PLAIN_STEPS, Steps

#: What becomes of a state [batch unit]: layer, step, how many steps, which (h or c), the state.
Edited = Callable[[int, int, int, str, Tensor], Tensor]


@dataclass(frozen=True)
class Unrolled:
    """h [layer batch step unit] after each step, c of an LSTM the same (None without one), and `result`, what the module returns, as it does."""

    h: Tensor
    c: Tensor | None
    result: Any

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those of the result, in order."""
        return in_result(self.result)


def in_result(result: Any) -> tuple[Tensor, ...]:
    """The tensors of what a recurrent module returns, in order."""
    return (result,) if isinstance(result, Tensor) else tuple(x for part in result for x in in_result(part))


def called_with(module: Any, args: Any, kwargs: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The input, and the states h (and c) before the first step, that a recurrent module is called with: 0 where none are given.

    Raises: RecurrentError for packed sequences.
    """
    x, start = _given(*args, **kwargs)
    if not isinstance(x, Tensor):
        raise RecurrentError(
            f"{type(module).__name__}: packed sequences have no steps of one batch; give padded ones, or one at a time."
        )
    if start is not None:
        return x, (start,) if isinstance(start, Tensor) else tuple(start)
    cell, single = Cell.of(module), isinstance(module, CELLS)
    batch = x.shape[:-1] if single else _rows(module, x).shape[:1] if x.ndim == 3 else ()
    layers = () if single else (module.num_layers * _ways(module),)
    sizes = (cell.n_hidden, cell.n_cell) if cell.n_cell else (cell.n_hidden,)
    return x, tuple(x.new_zeros(*layers, *batch, size) for size in sizes)


def unroll(
    module: Any, x: Tensor, start: tuple[Tensor, ...], by: Steps = PLAIN_STEPS, edited: Edited | None = None
) -> Unrolled:
    """A recurrent module, or a cell, on what `called_with` found; `by`: the arithmetic of its steps; `edited`: what each state becomes."""
    if isinstance(module, CELLS):
        batched = x.ndim == 2
        rows, begun = (x[:, None] if batched else x[None, None]), [s[None] if batched else s[None, None] for s in start]
    else:
        batched, rows = x.ndim == 3, _rows(module, x)
        begun = [s if batched else s[:, None] for s in start]
    h, c, output = _layers(module, rows, begun, by, edited)
    last = tuple(_last(module, state) for state in (h, c) if state is not None)
    if isinstance(module, CELLS):
        ends = tuple(state[0] if batched else state[0, 0] for state in last)
        return Unrolled(h, c, ends if c is not None else ends[0])
    own = output if module.batch_first else output.transpose(0, 1)
    ends = tuple(state if batched else state[:, 0] for state in last)
    return Unrolled(h, c, (own if batched else output[0], ends if c is not None else ends[0]))


def _given(input: Any, hx: Any = None) -> tuple[Any, Any]:
    return input, hx


def _ways(module: Any) -> int:
    return 1 + bool(getattr(module, "bidirectional", False))


def _rows(module: Any, x: Tensor) -> Tensor:
    """The input of a layer [batch step feature]."""
    return x[None] if x.ndim == 2 else x if module.batch_first else x.transpose(0, 1)


def _last(module: Any, states: Tensor) -> Tensor:
    """States after the last step of each layer [layer batch unit]: of those that run backward the first."""
    return torch.stack([own[:, 0 if i % _ways(module) else -1] for i, own in enumerate(states)])


def _layers(
    module: Any, rows: Tensor, start: list[Tensor], by: Steps, edited: Edited | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """h and c [layer batch step unit], and the output [batch step unit], of inputs [batch step feature]."""
    hidden: list[Tensor] = []
    memory: list[Tensor] = []
    for layer in range(getattr(module, "num_layers", 1)):
        both = []
        for backward in (False, True)[: _ways(module)]:
            begun = [state[len(hidden)] for state in start]
            cell = Cell.of(module, layer, backward)
            states = _steps(cell, layer, rows.flip(1) if backward else rows, begun, by, edited)
            own = [state.flip(1) if backward else state for state in states]
            hidden.append(own[0])
            memory.extend(own[1:])
            both.append(own[0])
        rows = torch.cat(both, -1)
    return torch.stack(hidden), torch.stack(memory) if memory else None, rows


def _steps(
    cell: Cell, layer: int, rows: Tensor, start: list[Tensor], by: Steps, edited: Edited | None
) -> tuple[Tensor, ...]:
    """h, of an LSTM h and c, [batch step unit] of one layer in one direction."""
    found: tuple[list[Tensor], ...] = tuple([] for _ in start)
    h, steps = start[0], rows.shape[1]
    c = start[-1]
    for step in range(steps):
        if cell.kind == "LSTM":
            c, o = cell.memory(rows[:, step], h, c, by)
            c = c if edited is None else edited(layer, step, steps, "c", c)
            h = cell.shown(c, o, by)
            found[1].append(c)
        else:
            h = cell.plain(rows[:, step], h, by)
        h = h if edited is None else edited(layer, step, steps, "h", h)
        found[0].append(h)
    return tuple(torch.stack(own, 1) for own in found)
