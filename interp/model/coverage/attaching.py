"""The rules of a rule set on the modules of a model, for one run: hooks that are gone when the run's stack is closed."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import nn

from interp.model.coverage.experts import attach, ruled_mixtures
from interp.model.coverage.operations import Operations, outer_activations
from interp.model.layers.layer_kinds import linear_layer
from interp.model.layers.recurrent_rules import attach_steps
from interp.model.modules.tensors import activation_in, replace_backward, with_activation
from interp.parts.layout import Layout
from interp.rules.activations import Activation, identity_rule
from interp.rules.layer_rules import layer_vjp
from interp.rules.mixtures import Mixtures
from interp.rules.recurrences import RuledSteps
from interp.rules.rules import Rules, frozen_norm
from interp.rules.surrogate import scale_gradient


def attach_gates(stack: ExitStack, model: nn.Module, layout: Layout, operations: Operations, rules: Rules) -> None:
    """Half rule: the gradient times 1/2 at the input of the down projection, and of an attention's output projection that
    reads a product; detached gate: at the activation."""
    for block in layout.every_block:
        for own in block.attentions:
            if rules.gate == 0.5 and own.o in operations.attention_gates:
                _halve_gradient(stack, model, own.o)
        for mlp in block.mlps:
            if rules.gate == 1.0 or not mlp.gated or mlp.act is None or mlp.down is None:
                continue
            if rules.gate == 0.0:
                act = model.get_submodule(mlp.act)
                stack.callback(act.register_forward_hook(lambda m, a, y: y.detach()).remove)
            else:
                _halve_gradient(stack, model, mlp.down)


def _halve_gradient(stack: ExitStack, model: nn.Module, path: str) -> None:
    """The gradient at what a module reads, times 1/2."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return with_activation(args, kwargs, scale_gradient(activation_in(args, kwargs), 0.5))

    stack.callback(model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True).remove)


def attach_rules(
    stack: ExitStack, model: nn.Module, layout: Layout, operations: Operations, rules: Rules, mixtures: Mixtures
) -> None:
    """The rules of norms, activations, linear layers and recurrent layers; and of MLPs without a single activation function by
    function, by `mixtures`."""
    if rules.norm == "frozen":
        for path, norm in operations.norms.items():
            module = model.get_submodule(path)
            replace_backward(stack, module, partial(frozen_norm, norm, module))
    if rules.act == "identity":
        for path, act in _ruled_activations(layout, operations, rules).items():
            replace_backward(stack, model.get_submodule(path), partial(identity_rule, act))
    for path, own in operations.layers.items():
        rule = rules.linear.of(own.conv, own.first)
        if rule.name != "gradient":
            replace_backward(stack, model.get_submodule(path), partial(layer_vjp, rule, linear_layer(model, path, own)))
    for path, steps in operations.recurrent.items():
        if rules.secants == 0 and steps.has_rule(rules):
            attach_steps(stack, model.get_submodule(path), path, lambda x, start: RuledSteps(rules))
    for path in ruled_mixtures(operations.mixtures, rules):
        attach(stack, model, path, mixtures, operations.norms)


def _ruled_activations(layout: Layout, operations: Operations, rules: Rules) -> dict[str, Activation]:
    """The activations that the identity rule is for: of MLPs, where their gate is not detached, and of the head."""
    found = outer_activations(operations, layout)
    for mlp in layout.every_mlp:
        held = mlp.gated and rules.gate == 0.0
        if mlp.act is not None and not held and mlp.act in operations.activations:
            found[mlp.act] = operations.activations[mlp.act]
    return {path: act for path, act in found.items() if not act.pole}
