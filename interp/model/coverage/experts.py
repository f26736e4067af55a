"""MLPs that have no single activation module, such as mixtures of experts, tried once by themselves: what rules do there function by function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from interp.model.modules.lock import frozen, reserved
from interp.model.modules.tensors import activation_out, close
from interp.model.probing.probe import Call, Probe
from interp.parts.layout import Layout
from interp.rules.mixtures import Met, Mixtures
from interp.rules.rules import RELP, Rules

Treatment = Literal["rule", "plain gradient", "unsupported"]


@dataclass(frozen=True)
class Mixture:
    """What was met in one MLP; `alone`: why it could not be tried by itself, '' where it could."""

    met: Met
    alone: str = ""

    @property
    def operation(self) -> str:
        """What it is, in words."""
        return "experts" if self.met.weights else "MLP without a single activation"

    def refused(self, rules: Rules) -> str:
        """Why it has no meaning under `rules`, '' where it has one."""
        if rules.secants:
            return "which of them are chosen jumps between two runs" if self.met.weights else "functions of no module"
        if self.alone:
            return self.alone
        odd = (*self.met.odd, *(self.met.odd_entries if rules.act == "identity" else ()))
        if odd:
            return f"gradients come back through {', '.join(odd)}"
        return "" if rules.gate or self.met.told_apart else "no factor of its product is the gate"

    def ruled(self, rules: Rules) -> str:
        """What `rules` do in it, in words."""
        weights = ("weights held constant",) if self.met.weights else ()
        acts = tuple(f"f(x)/x of {name}" for name in self.met.activations) if rules.act == "identity" else ()
        gate = {0.5: ("half rule",), 0.0: ("gate detached",)}.get(rules.gate, ()) if self.met.gated else ()
        return ", ".join((*weights, *acts, *gate))


_NOTHING = Met(weights=False, gated=False, told_apart=True, activations=(), odd=(), odd_entries=())


def touched(rules: Rules) -> bool:
    """Whether rules speak of what is in an MLP."""
    return rules.act != "gradient" or rules.gate != 1.0 or bool(rules.secants)


def ruled_mixtures(mixtures: Mapping[str, Mixture], rules: Rules) -> list[str]:
    """The paths of those that a run under `rules` has rules for."""
    return [path for path, own in mixtures.items() if touched(rules) and not own.refused(rules)]


def ruled_around(path: str, mixtures: Mapping[str, Mixture], rules: Rules) -> str:
    """The path of the one of these that a module is in, '' for none."""
    return next((own for own in ruled_mixtures(mixtures, rules) if f"{path}.".startswith(f"{own}.")), "")


def described(mixture: Mixture | None, rules: Rules) -> tuple[str, Treatment, str]:
    """Operation, treatment and rule of an MLP without a single activation; None is one that is no module of its own."""
    operation = mixture.operation if mixture else "MLP without a single activation, and no module of its own"
    if not touched(rules):
        return operation, "plain gradient", ""
    if mixture is None or (reason := mixture.refused(rules)):
        return f"{operation}: {reason}" if mixture else operation, "unsupported", ""
    return operation, "rule", mixture.ruled(rules)


def try_mixtures(model: nn.Module, layout: Layout, seen: Probe, norms: Iterable[str]) -> dict[str, Mixture]:
    """By path, the MLPs that are modules of their own without a single activation, each called once on what it read on the probe."""
    blocks = {block.path for block in layout.every_block}
    paths = [mlp.module for mlp in layout.every_mlp if mlp.act is None and mlp.module not in blocks]
    with reserved(model), frozen(model):
        return {path: _tried(model, path, seen.calls[path], norms) for path in paths}


def attach(stack: ExitStack, model: nn.Module, path: str, mode: Mixtures, norms: Iterable[str]) -> None:
    """Have `mode` in force while the MLP at `path` runs, but for the norms in it, which have rules as modules."""

    def begin(module: nn.Module, args: Any, kwargs: Any) -> None:
        mode.enter(path, args, kwargs)

    module = model.get_submodule(path)
    stack.callback(mode.leave)
    stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(lambda m, a, y: mode.leave(y)).remove)
    for norm in (model.get_submodule(own) for own in norms if own.startswith(f"{path}.")):
        stack.callback(norm.register_forward_pre_hook(lambda m, a: mode.pause()).remove)
        stack.callback(norm.register_forward_hook(lambda m, a, y: mode.resume(y)).remove)


def _tried(model: nn.Module, path: str, call: Call, norms: Iterable[str]) -> Mixture:
    mode = Mixtures(RELP, trying=True)
    try:
        with ExitStack() as stack, torch.enable_grad():
            attach(stack, model, path, mode, norms)
            x = call.x_value.clone().requires_grad_()
            y = activation_out(model.get_submodule(path)(x))
            if not close(y, call.y_value):
                return Mixture(_NOTHING, "it gives something else when it is called again on the stream alone")
            torch.autograd.grad(y, x, torch.ones_like(y), allow_unused=True)
    except Exception as error:  # a module of somebody else may raise anything
        return Mixture(_NOTHING, f"it cannot be called on the stream alone ({type(error).__name__})")
    return Mixture(mode.met())
