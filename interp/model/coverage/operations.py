"""What the modules of a model compute, as recognised on the probe: norms, activations, linear maps, and what is in no module of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from interp.model.coverage.experts import Mixture, try_mixtures
from interp.model.layers.layer_kinds import Layer, is_affine, is_max_pool
from interp.model.modules.linear import is_adapter, is_linear_map
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import passes
from interp.model.probing.probe import Call, Probe
from interp.parts.block_layout import AttentionLayout, BlockLayout, MlpLayout
from interp.parts.layout import Layout
from interp.rules.activations import Activation, recognise_activation
from interp.rules.nonlinear import Operation, is_attention
from interp.rules.recurrences import Recurrent
from interp.rules.rules import Norm, recognise_norm


@dataclass(frozen=True)
class Operations:
    """What the modules of a model compute, by path, as recognised on the probe; and when each was first called.

    `outside`: by the path of the module whose code they are in, what is not linear and is in no module of its own, nor a part of
    gate, attention or final transform. `attention_gates`: the output projections that read a product of z and a gate. `mixtures`: the
    MLPs without a single activation, by path. `pools`: max poolings.
    Of a net without blocks `layers`: its convolutions and dense layers, `transposed`: its transposed convolutions, `inplace`: the modules that
    write into what they read, `recurrent`: its recurrent layers and cells, by what they are and whether they have gates.
    """

    norms: Mapping[str, Norm]
    activations: Mapping[str, Activation]
    linear: frozenset[str]
    unknown: Mapping[str, str]
    order: Mapping[str, int]
    outside: Mapping[str, tuple[str, ...]]
    attention_gates: frozenset[str]
    mixtures: Mapping[str, Mixture] = field(default_factory=dict)
    pools: frozenset[str] = frozenset()
    layers: Mapping[str, Layer] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()
    inplace: frozenset[str] = frozenset()
    recurrent: Mapping[str, Recurrent] = field(default_factory=dict)


def recognise(model: nn.Module, layout: Layout, seen: Probe) -> Operations:
    """Classify every leaf module that the probe called, by what it computes alone and computed there: a second argument that
    changes the result (the gate of a norm) is no part of a norm."""
    norms: dict[str, Norm] = {}
    activations: dict[str, Activation] = {}
    linear = {path for path, call in seen.calls.items() if is_adapter(model.get_submodule(path), call.x_value)}
    odd, pools = {}, set()
    scales = {part.writer for block in layout.every_block for part in block.sublayers if part.place == "scaled"}
    acting = {operation.where.path for operation in seen.operations}
    for path, module, call in _leaves(model, layout, seen, tuple(f"{path}." for path in linear)):
        plain = _is_linear(module) or path in scales or _is_idle(module, call)
        if is_affine(module) or (plain and path not in acting):
            linear.add(path)
        elif is_max_pool(module):
            pools.add(path)
        elif (norm := recognise_norm(module, call.x_value)) and close(call.y_value, norm.forward(module, call.x_value)):
            norms[path] = norm
        elif (act := _activation(module, call)) is not None:
            activations[path] = act
        else:
            odd[path] = type(module).__name__
    order = {path: i for i, path in enumerate(seen.calls)}
    affine = {path for path in linear if is_affine(model.get_submodule(path))}
    outside, gates = _outside(layout, seen, {*norms, *activations, *odd, *pools, *affine})
    mixtures = try_mixtures(model, layout, seen, norms)
    found = (norms, activations, frozenset(linear), odd, order, outside, gates)
    return Operations(*found, mixtures, frozenset(pools))


def _leaves(
    model: nn.Module, layout: Layout, seen: Probe, inside: tuple[str, ...]
) -> Iterator[tuple[str, nn.Module, Call]]:
    """The modules without modules in them, in the order of their calls: none that starts with `inside`, whose output is a constant, or
    that is all of an attention."""
    attending = {
        own.module for stack in layout.stacks if stack.attention_function for own in stack.attentions if own.heads
    }
    for path, call in seen.calls.items():
        module = model.get_submodule(path)
        passed = not path or path.startswith(inside) or call.constant or path in attending
        if not passed and not any(True for _ in module.children()):
            yield path, module, call


def _outside(layout: Layout, seen: Probe, named: set[str]) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The operations that are not linear and that nothing else in the table speaks of; and the output projections that read a
    product, which is the gate of an attention."""
    found: dict[str, dict[str, None]] = {}
    gates: set[str] = set()
    left = {mlp.module: mlp for block in layout.every_block for mlp in block.mlps if mlp.gated}
    for operation in seen.operations:
        path, block = operation.where.path, _block_of(operation.where.path, layout)
        if path in named or in_experts(path, layout):
            continue
        own, mlps = (None, ()) if block is None else (_attention_of(path, block), block.mlps)
        if own is not None and _is_result(operation, seen, own.o):
            gates.add(own.o)
        elif gated := next((m for m in left.values() if m in mlps and _is_result(operation, seen, m.down)), None):
            del left[gated.module]
        elif not _is_attention(operation, layout, block) and not (
            block is None and operation.name == "tanh" and layout.logits_softcap is not None
        ):
            found.setdefault(path, {})[operation.name] = None
    return {path: tuple(names) for path, names in found.items()}, frozenset(gates)


def _block_of(path: str, layout: Layout) -> BlockLayout | None:
    return next((block for block in layout.every_block if _within(path, block.path)), None)


def _attention_of(path: str, block: BlockLayout) -> AttentionLayout | None:
    """The attention of a block that a module is of; none of what mixes positions in its place."""
    return next((own for own in block.attentions if own.heads and _within(path, own.module)), None)


def _within(path: str, outer: str) -> bool:
    return f"{path}.".startswith(f"{outer}.")


def _in_mlp(path: str, mlp: MlpLayout, block: BlockLayout) -> bool:
    """Whether a module is of an MLP; where that is the block itself, only its own code may be."""
    return path == mlp.module or (mlp.module != block.path and _within(path, mlp.module))


def in_experts(path: str, layout: Layout) -> bool:
    """Whether a module is of an MLP that has no single activation: other calls may be made there in another run."""
    block = _block_of(path, layout)
    return block is not None and any(mlp.act is None and _in_mlp(path, mlp, block) for mlp in block.mlps)


def outer_activations(operations: Operations, layout: Layout) -> dict[str, Activation]:
    """The activations outside the blocks: those of a head."""
    return {path: act for path, act in operations.activations.items() if _block_of(path, layout) is None}


def _is_result(operation: Operation, seen: Probe, reader: str | None) -> bool:
    """Whether a product is what the module `reader` reads."""
    return operation.value is not None and reader in seen.calls and close(operation.value, seen.calls[reader].x_value)


def _is_attention(operation: Operation, layout: Layout, block: BlockLayout | None) -> bool:
    """Whether an operation is a part of plain attention, or one that the configuration tells of (`Layout.attention_extras`)."""
    if block is None or _attention_of(operation.where.path, block) is None:
        return False
    told = {"tanh": "soft cap", "clamp": "clip"}.get(operation.name, "")
    if told and any(extra.startswith(told) for extra in layout.attention_extras):
        return True
    return is_attention(operation.name) and operation.where.function == layout.attention_function


def _activation(module: nn.Module, call: Call) -> Activation | None:
    """The activation that a module without parameters is, also where the model calls it."""
    if any(True for _ in module.parameters()):
        return None
    found = recognise_activation(module, call.x_value.device)
    return found if found is not None and close(call.y_value, found(call.x_value)) else None


def _is_linear(module: nn.Module) -> bool:
    return is_linear_map(module) or isinstance(module, (nn.Embedding, nn.Dropout, nn.Identity))


def _is_idle(module: nn.Module, call: Call) -> bool:
    """Whether a module drops its input at random while learning, and passes it on otherwise."""
    return getattr(module, "drop_prob", None) is not None and passes(call)
