"""What a rule set does to each operation of a model: one row for each, and why where it can do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from interp.model.coverage.experts import Treatment, described, ruled_around
from interp.model.coverage.operations import Operations, in_experts, outer_activations
from interp.parts.block_layout import AttentionLayout, BlockLayout, MlpLayout
from interp.parts.layout import Layout
from interp.rules.activations import Activation
from interp.rules.layer_rules import PLAIN
from interp.rules.nonlinear import ELEMENTWISE, RULED
from interp.rules.recurrences import Recurrent
from interp.rules.rules import AttentionRule, Norm, Rules

#: What rules with secants do to an operation.
AVERAGED: Final = "averaged between two runs"
#: What they do to a module in an MLP whose functions have rules: what is said of the MLP.
PART_OF: Final = "as part of "


@dataclass(frozen=True)
class Row:
    """One line of a coverage table."""

    path: str
    operation: str
    treatment: Treatment
    rule: str = ""


def treatments(layout: Layout, operations: Operations, rules: Rules) -> tuple[Row, ...]:
    """What `rules` do to norms, activations, products, attention, final transform, and everything unknown, in the order of their calls."""
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
    return tuple(sorted(rows, key=lambda row: operations.order.get(row.path, last)))


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
        return Row(path, name, "rule", f"{PART_OF}{around}")
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
