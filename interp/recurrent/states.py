"""The states of recurrent layers at every step, read and edited: the layers are unrolled over their own weights.

Axis words: `layer batch step unit`. Axis `layer` counts as torch's h_n does: of layers that run both ways the forward and the backward one of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interp.errors import unknown
from interp.model.inputs.taking import arguments, taken
from interp.model.layers.recurrent_cells import LAYERS, RecurrentError
from interp.model.layers.unrolling import Unrolled, called_with, unroll
from interp.model.model import HookedModel
from interp.model.modules.calling import main_input
from interp.model.modules.lock import no_inference_tensors, running, settled
from interp.model.modules.soundness import check_mode
from interp.model.modules.tensors import close
from interp.whole_numbers import whole

Index = int | slice | list[int] | Tensor


@dataclass(frozen=True)
class StateEdit:
    """Put `value` into units of a state: a number, or what broadcasts to [batch unit].

    layer, step: which, counted from 0; a slice of steps, or None for all. unit: one, several, or None for all. state: `h`, or `c` of an LSTM, which
    acts before h is made of it. add: add the value to what is there.
    """

    layer: int
    step: int | slice | None
    unit: Index | None
    value: Tensor | float
    state: Literal["h", "c"] = "h"
    add: bool = False

    def __post_init__(self) -> None:
        if self.state not in ("h", "c"):
            raise RecurrentError(unknown("state", self.state, ("h", "c")))
        if not isinstance(self.value, (Tensor, int, float)) or isinstance(self.value, bool):
            raise RecurrentError(f"edit of {self.state}: given {self.value!r:.60}; expected a number or a tensor.")
        whole(self.layer, "layer", RecurrentError)
        if self.step is not None and not isinstance(self.step, slice):
            whole(self.step, "step", RecurrentError)

    def acts(self, layer: int, step: int, steps: int, state: str) -> bool:
        """Whether it changes this state of this layer at this step, of so many."""
        if (layer, state) != (self.layer, self.state):
            return False
        if self.step is None:
            return True
        return step in range(*self.step.indices(steps)) if isinstance(self.step, slice) else step == self.step

    def __call__(self, x: Tensor) -> Tensor:
        """The edited state [batch unit]. Raises: RecurrentError for units that do not exist, and values that do not fit."""
        unit = slice(None) if self.unit is None else self.unit
        new = x.clone()
        try:
            part = x[:, unit]
            value = (
                self.value.to(x).expand_as(part)
                if isinstance(self.value, Tensor)
                else torch.full_like(part, self.value)
            )
        except (IndexError, TypeError, RuntimeError):
            raise RecurrentError(
                f"edit of {self.state}, layer {self.layer}: unit={self.unit!r:.40}, value {self._shown}; there are {len(x)} examples of "
                f"{x.shape[1]} units."
            ) from None
        new[:, unit] = part + value if self.add else value
        return new

    @property
    def _shown(self) -> str:
        return f"of shape {tuple(self.value.shape)}" if isinstance(self.value, Tensor) else f"{self.value:g}"


@dataclass(frozen=True, eq=False, repr=False)
class RecurrentStates:
    """h [layer batch step unit] after each step, c of an LSTM the same (None without one), and `output` [batch step unit], what the recurrent
    module returns. `result`: what a net around it returns, as it is read, [batch pos output]; None where the module was run alone."""

    h: Tensor
    c: Tensor | None
    output: Tensor
    result: Tensor | None = None

    def __repr__(self) -> str:
        parts = {"h": self.h, "c": self.c, "output": self.output, "result": self.result}
        return f"RecurrentStates({', '.join(f'{k} {list(x.shape)}' for k, x in parts.items() if x is not None)})"


def states(model: Any, x: Any, *, path: str | None = None, edits: Sequence[StateEdit] = ()) -> RecurrentStates:
    """The states of an `nn.LSTM`, `nn.GRU` or `nn.RNN` at every step, alone or inside a net; with edits, those that follow from them.

    model: the recurrent module, or a net around one: an `nn.Module`, or what `interp.load` made of it. x: what it takes, batch first where the
    module is; a net's inputs as its forward takes them. path: of the module in the net, where it has several. Without edits the unrolled output is
    compared with the module's own.

    Units: those of the states. Cost: a forward, and the recurrent layers once more, step by step. Raises: RecurrentError for a module that is not
    one of these, is called several times or on packed sequences, or whose own forward gives something else; for edits of layers that run
    both ways, of c without one, and of what does not exist; SiteError for an unknown path.
    """
    if odd := [edit for edit in edits if not isinstance(edit, StateEdit)]:
        raise RecurrentError(
            f"edits: given {odd[0]!r:.80}; expected interp.recurrent.StateEdit(layer, step, unit, value)."
        )
    net = model.hf if isinstance(model, HookedModel) else model
    if not isinstance(net, nn.Module):
        raise RecurrentError(f"{type(net).__name__} given; expected nn.LSTM, nn.GRU, nn.RNN or a net around one.")
    check_mode(net)
    module = _recurrent(net, path)
    unrolling = _Unrolling(module, tuple(edits), model.name if isinstance(model, HookedModel) else type(net).__name__)
    unrolling.check_edits()
    result = _run(model, net, module, x, unrolling)
    if unrolling.found is None:
        raise RecurrentError(f"{unrolling.name}: its {type(module).__name__} was not called in this run.")
    found = unrolling.found
    return RecurrentStates(found.h, found.c, found.result[0], result)


def _recurrent(net: nn.Module, path: str | None) -> Any:
    """The recurrent module of a net. Raises: RecurrentError where there is none, or several and no path."""
    paths = [name for name, module in net.named_modules() if isinstance(module, LAYERS)]
    if path is None and len(paths) != 1:
        raise RecurrentError(
            f"{type(net).__name__} has {len(paths)} recurrent modules ({', '.join(paths[:4]) or 'none'}); give path= of one."
        )
    chosen = paths[0] if path is None else path
    if chosen not in paths:
        raise RecurrentError(unknown("recurrent module", chosen, paths))
    module = net.get_submodule(chosen)
    if "forward" in vars(module) or not any(type(module).forward is kind.forward for kind in LAYERS):
        raise RecurrentError(
            f"{chosen or type(module).__name__}: its forward is not that of torch, so it cannot be unrolled."
        )
    return module


def _run(model: Any, net: nn.Module, module: nn.Module, x: Any, unrolling: _Unrolling) -> Tensor | None:
    """One forward with the module unrolled in it; what a net returns."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    inputs: dict[str, Any] = x if isinstance(x, dict) else {main_input(net): x}
    if isinstance(model, HookedModel):
        inputs = arguments(model, taken(model, x), 0)
    with settled(device), running(net), no_inference_tensors(), torch.no_grad(), ExitStack() as stack:
        stack.callback(module.register_forward_hook(unrolling, with_kwargs=True).remove)
        if net is module:
            net(x)
            return None
        if not isinstance(model, HookedModel):
            found = net(**inputs)
            return found if isinstance(found, Tensor) else None
        read: Tensor = model.layout.output(net(**inputs), inputs)
        return read


@dataclass
class _Unrolling:
    """The hook behind a recurrent module: unrolls it on what it was called with, and gives that on where there are edits."""

    module: Any
    edits: tuple[StateEdit, ...]
    name: str
    found: Unrolled | None = field(default=None)

    def check_edits(self) -> None:
        """Raises: RecurrentError for edits that this module cannot have."""
        layers, kind = self.module.num_layers, type(self.module).__name__
        for edit in self.edits:
            if self.module.bidirectional:
                raise RecurrentError(
                    f"edits of a bidirectional {kind}: its steps run both ways, so nothing is after a step. Read its states only."
                )
            if not 0 <= edit.layer < layers:
                raise RecurrentError(f"edit of layer {edit.layer}: this {kind} has layers 0 to {layers - 1}.")
            if edit.state == "c" and kind != "LSTM":
                raise RecurrentError(f"edit of c: a {kind} has no c; edit h.")

    def __call__(self, module: Any, args: Any, kwargs: Any, result: Any) -> Any:
        if self.found is not None:
            raise RecurrentError(
                f"{self.name}: its {type(module).__name__} is called several times in a run; call it alone, on one input."
            )
        x, start = called_with(module, args, kwargs)
        self.found = unroll(module, x, start, edited=self._edited)
        if self.edits:
            return self.found.result
        if not close(self.found.result[0], result[0]):
            raise RecurrentError(
                f"{self.name}: its {type(module).__name__} gives something else than its weights, step by step, do."
            )
        return None

    def _edited(self, layer: int, step: int, steps: int, state: str, x: Tensor) -> Tensor:
        for edit in self.edits:
            if isinstance(edit.step, int) and not 0 <= edit.step < steps:
                raise RecurrentError(f"edit of step {edit.step}: this run has steps 0 to {steps - 1}.")
            x = edit(x) if edit.acts(layer, step, steps, state) else x
        return x
