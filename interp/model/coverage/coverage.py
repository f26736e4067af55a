"""Which module a rule set has a rule for: every module of the forward pass is named, none is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from torch import nn

from interp.errors import UnsupportedRuleError
from interp.formatting.table import Table, rows_of
from interp.formatting.text import printed
from interp.model.coverage.experts import Mixture, Treatment, described, ruled_around, try_mixtures
from interp.model.layers.layer_kinds import Layer, is_affine, is_max_pool
from interp.model.modules.linear import is_adapter, is_linear_map
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import passes
from interp.model.probing.probe import Call, Probe
from interp.parts.layout import AttentionLayout, BlockLayout, Layout, MlpLayout
from interp.rules.activations import Activation, recognise_activation
from interp.rules.layer_rules import PLAIN
from interp.rules.nonlinear import ELEMENTWISE, RULED, Operation, is_attention
from interp.rules.recurrences import Recurrent
from interp.rules.rules import AttentionRule, Norm, Rules, recognise_norm

#: What rules with secants do to an operation.
AVERAGED: Final = "averaged between two runs"


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


@dataclass(frozen=True)
class Row:
    """One line of a coverage table."""

    path: str
    operation: str
    treatment: Treatment
    rule: str = ""


@dataclass(frozen=True, repr=False)
class Coverage(Table):
    """How a rule set treats each operation of a model. plot(): how many of each kind have a rule, the plain gradient, or neither."""

    rules: Rules
    rows: tuple[Row, ...]

    @property
    def unsupported(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.treatment == "unsupported")

    def to_pandas(self) -> Any:
        """The table: path, operation, treatment, rule."""
        names = ("path", "operation", "treatment", "rule")
        return rows_of({name: [getattr(row, name) for row in self.rows] for name in names})

    def check(self) -> None:
        """Raises: UnsupportedRuleError with the paths that have no rule."""
        if rows := self.unsupported:
            places = _by_operation(rows)
            named = "; ".join(places[:8])
            more = f" and {len(places) - 8} more" if len(places) > 8 else ""
            raise UnsupportedRuleError(
                f"rules ({self.rules.describe()}) have no meaning for: {named}{more}. "
                "Choose other rules; interp.attribute and model.run take allow_unsupported=True for the plain gradient there."
            )

    def __str__(self) -> str:
        return printed(f"{self.rules.describe()}\n{self.to_pandas().to_string(index=False)}")

    def __repr__(self) -> str:
        found = [row.treatment for row in self.rows]
        counts = ", ".join(f"{found.count(name)} {name}" for name in ("unsupported", "rule", "plain gradient"))
        return f"Coverage({self.rules.describe()}: {counts})"


def _by_operation(rows: Iterable[Row]) -> list[str]:
    """Of each operation the first path, and how many others there are."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.operation, []).append(row.path)
    return [
        f"{own[0] or '(model)'} ({name})" + (f" and {len(own) - 1} like it" if own[1:] else "")
        for name, own in found.items()
    ]


def recognise(model: nn.Module, layout: Layout, seen: Probe) -> Operations:
    """Classify every leaf module that the probe called, by what it computes alone and computed there: a second argument that
    changes the result (the gate of a norm) is no part of a norm."""
    norms: dict[str, Norm] = {}
    activations: dict[str, Activation] = {}
    linear = {path for path, call in seen.calls.items() if is_adapter(model.get_submodule(path), call.x_value)}
    scales = {part.writer for block in layout.every_block for part in block.sublayers if part.place == "scaled"}
    inside, odd, pools = tuple(f"{path}." for path in linear), {}, set()
    acting = {operation.where.path for operation in seen.operations}
    attending = {
        own.module for stack in layout.stacks if stack.attention_function for own in stack.attentions if own.heads
    }
    for path, call in seen.calls.items():
        module = model.get_submodule(path)
        if (
            not path
            or path.startswith(inside)
            or any(True for _ in module.children())
            or call.constant
            or path in attending
        ):
            continue
        if is_affine(module) or (
            (_is_linear(module) or path in scales or _is_idle(module, call)) and path not in acting
        ):
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


def coverage(layout: Layout, operations: Operations, rules: Rules) -> Coverage:
    """The table for `rules`: norms, activations, products, attention, final transform, and everything unknown."""
    attentions = [own for stack in layout.stacks for own in stack.attentions]
    rows = [
        *(_norm_row(path, norm, rules) for path, norm in operations.norms.items()),
        *(_activation_row(path, act, operations, layout, rules) for path, act in operations.activations.items()),
        *(_linear_row(path, operations, layout, rules) for path in sorted(operations.linear)),
        *(_pool_row(path, rules) for path in sorted(operations.pools)),
        *_net_rows(operations, layout, rules),
        *(_recurrent_row(path, own, rules) for path, own in operations.recurrent.items()),
        *(row for block in layout.every_block for row in _block_rows(block, layout, operations, rules)),
        *(_unknown_row(path, name, operations, rules) for path, name in operations.unknown.items()),
        *(_attention_gate_row(own, rules) for own in attentions if own.o in operations.attention_gates),
        *(_outside_row(path, names, layout, rules) for path, names in operations.outside.items()),
    ]
    if rules.secants and not layout.output.linear:
        rows.append(Row(layout.output.name, "what is read of the model's result, not linear in it", "unsupported"))
    if layout.logits_softcap is not None:
        rows.append(_row("logits", f"soft cap {layout.logits_softcap:g}", bool(rules.secants), AVERAGED))
    last = len(operations.order)
    return Coverage(rules, tuple(sorted(rows, key=lambda row: operations.order.get(row.path, last))))


def _row(path: str, operation: str, has_rule: bool, rule: str = "") -> Row:
    return Row(path, operation, "rule" if has_rule else "plain gradient", rule if has_rule else "")


def _linear_row(path: str, operations: Operations, layout: Layout, rules: Rules) -> Row:
    """A linear map: its gradient, or the rule of its layer; a BatchNorm behind one is folded into it."""
    if rules.linear == PLAIN:
        return _row(path, "linear", False)
    if layout.entry is None or path in operations.transposed:
        why = "transposed convolution" if layout.entry is not None else "linear, in a model with blocks"
        return Row(path, why, "unsupported")
    own = operations.layers.get(path)
    if own is not None:
        return Row(path, "linear", "rule", str(rules.linear.of(own.conv, own.first)))
    before = next((name for name, layer in operations.layers.items() if layer.folded == path), "")
    return _row(path, "linear", bool(before), f"folded into {before}")


def _pool_row(path: str, rules: Rules) -> Row:
    """A maximum: all goes to the winner, as by its gradient; between two runs, see `interp.rules.max_pools`."""
    return _row(path, "max pooling", rules != Rules(), AVERAGED if rules.secants else "winner takes all")


def _net_rows(operations: Operations, layout: Layout, rules: Rules) -> list[Row]:
    """What a rule set asks of a net without blocks that it does not have."""
    if layout.entry is None:
        return []
    rows = []
    if rules.attention != AttentionRule():
        rows.append(Row("(net)", "attention, of which none is known without blocks", "unsupported"))
    if rules.linear.first is not None and not any(own.first for own in operations.layers.values()):
        rows.append(Row("(net)", "first layer: none reads the net's input and nothing else does", "unsupported"))
    return rows


def _recurrent_row(path: str, own: Recurrent, rules: Rules) -> Row:
    """A recurrent layer, unrolled under rules that speak of what is in a step (`interp.rules.recurrences`)."""
    if why := own.refused(rules):
        return Row(path, f"{own.name}: {why}", "unsupported")
    return _row(path, own.name, own.has_rule(rules), AVERAGED if rules.secants else own.ruled(rules))


def _norm_row(path: str, norm: Norm, rules: Rules) -> Row:
    has_rule = bool(rules.secants) or rules.norm != "gradient"
    return _row(path, norm.name, has_rule, AVERAGED if rules.secants else "scale frozen")


def _unknown_row(path: str, name: str, operations: Operations, rules: Rules) -> Row:
    """A module that is neither linear, norm nor activation: fine for gradients, no rule set may pass it over."""
    if around := ruled_around(path, operations.mixtures, rules):
        return Row(path, name, "rule", f"as part of {around}")
    return Row(path, name, "plain gradient" if rules == Rules() else "unsupported")


def _attention_gate_row(own: AttentionLayout, rules: Rules) -> Row:
    """The product of z with a gate: each factor may get half; the gate is no module that could be detached."""
    treatment: Treatment = (
        "unsupported" if rules.gate == 0.0 or rules.secants else "plain gradient" if rules.gate == 1.0 else "rule"
    )
    return Row(own.module, "gated product of z", treatment, "half rule" if treatment == "rule" else "")


def _outside_row(path: str, names: tuple[str, ...], layout: Layout, rules: Rules) -> Row:
    """What is in no module of its own: functions of each entry keep their gradient where rules leave activations theirs, and those whose
    gradient is their rule always. What the model itself does with the outputs of two towers is how they are compared, which is measured and
    belongs to no rule."""
    if not path and len(layout.stacks) > 1 and not layout.crosses and not rules.secants:
        return Row(path, f"{', '.join(names)}: how the towers are compared", "plain gradient")
    kept = ELEMENTWISE | RULED if rules.act == "gradient" else RULED
    plain = rules == Rules() or (not rules.secants and kept.issuperset(names))
    return Row(path, f"{', '.join(names)} in no module of its own", "plain gradient" if plain else "unsupported")


def _activation_row(path: str, act: Activation, operations: Operations, layout: Layout, rules: Rules) -> Row:
    """A rule reaches the activations of MLPs and those behind the blocks; one elsewhere is unsupported under a rule set for activations."""
    if rules.secants:
        alone = in_experts(path, layout)
        return Row(path, act.name, "unsupported" if alone else "rule", "" if alone else AVERAGED)
    of_mlp = any(mlp.act == path for mlp in layout.every_mlp)
    if rules.act == "gradient":
        return Row(path, act.name, "plain gradient")
    around = ruled_around(path, operations.mixtures, rules)
    if act.pole and not around:
        name = f"{act.name}, whose f(x) / x has a pole at 0; rules with act='gradient', or deeplift, take it"
        return Row(path, name, "unsupported")
    has_rule = of_mlp or path in outer_activations(operations, layout) or bool(around)
    return Row(path, act.name, "rule" if has_rule else "unsupported", f"f(x)/x of {act.name}" if has_rule else "")


def _block_rows(block: BlockLayout, layout: Layout, operations: Operations, rules: Rules) -> list[Row]:
    """The operations of a block that are no modules: the gate's product, the experts, attention."""
    rows = [_mlp_row(mlp, operations, rules) for mlp in block.mlps if mlp.act is None or mlp.gated]
    for own in block.attentions:
        rows += [_extra_row(own, extra, rules) for extra in layout.attention_extras if own.heads]
        rows.append(_attention_row(own, layout, rules))
    return rows if block.mixer is None else [*rows, _attention_row(block.mixer, layout, rules)]


def _attention_row(own: AttentionLayout, layout: Layout, rules: Rules) -> Row:
    if not own.heads:
        what = "positions mixed without attention (recurrence, linear attention, convolution)"
        return Row(own.module, what, "plain gradient" if rules == Rules() else "unsupported")
    if rules.in_attention and not layout.attention_function:
        return Row(own.module, "attention outside AttentionInterface", "unsupported")
    if rules.secants and not layout.editable:
        return Row(own.module, "attention that is no pattern times values", "unsupported")
    rule = AVERAGED if rules.secants else str(rules.attention)
    return _row(own.module, "attention", rules.in_attention, rule)


def _mlp_row(mlp: MlpLayout, operations: Operations, rules: Rules) -> Row:
    """The product of a gated MLP; or an MLP that has no single activation."""
    if mlp.act is None:
        return Row(mlp.module, *described(operations.mixtures.get(mlp.module), rules))
    rule = AVERAGED if rules.secants else {0.5: "half rule", 0.0: "gate detached", 1.0: ""}[rules.gate]
    return _row(mlp.module, "gated product", bool(rule), rule)


def _extra_row(own: AttentionLayout, extra: str, rules: Rules) -> Row:
    """A function inside attention that is no module: the cap of the scores is averaged with attention, a clip is not."""
    if not rules.secants:
        return Row(own.module, extra, "plain gradient")
    capped = extra.startswith("soft cap")
    return Row(own.module, extra, "rule" if capped else "unsupported", AVERAGED if capped else "")
