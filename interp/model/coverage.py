"""Which module a rule set has a rule for: every module of the forward pass is named, none is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from interp.errors import UnsupportedRuleError
from interp.formatting.table import Table, rows_of
from interp.formatting.text import printed
from interp.model.linear import is_adapter
from interp.model.probe import Call
from interp.parts.layout import BlockLayout, Layout
from interp.rules.rules import Activation, Norm, Rules, recognise_activation, recognise_norm

Treatment = Literal["rule", "plain gradient", "unsupported"]


@dataclass(frozen=True)
class Operations:
    """What the modules of a model compute, by path, as recognised on the probe; and when each was first called."""

    norms: Mapping[str, Norm]
    activations: Mapping[str, Activation]
    linear: frozenset[str]
    unknown: Mapping[str, str]
    order: Mapping[str, int]


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
            named = "; ".join(f"{row.path} ({row.operation})" for row in rows[:8])
            more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
            raise UnsupportedRuleError(
                f"rules ({self.rules.describe()}) have no meaning for: {named}{more}. "
                "Choose other rules, or pass allow_unsupported=True to take the plain gradient there."
            )

    def __str__(self) -> str:
        return printed(f"{self.rules.describe()}\n{self.to_pandas().to_string(index=False)}")

    def __repr__(self) -> str:
        found = [row.treatment for row in self.rows]
        counts = ", ".join(f"{found.count(name)} {name}" for name in ("unsupported", "rule", "plain gradient"))
        return f"Coverage({self.rules.describe()}: {counts})"


def recognise(model: nn.Module, calls: Mapping[str, Call]) -> Operations:
    """Classify every leaf module that the probe called, by what it computes."""
    norms: dict[str, Norm] = {}
    activations: dict[str, Activation] = {}
    linear, odd = {path for path, call in calls.items() if is_adapter(model.get_submodule(path), call.x_value)}, {}
    inside = tuple(f"{path}." for path in linear)
    for path, call in calls.items():
        module = model.get_submodule(path)
        if not path or path.startswith(inside) or any(True for _ in module.children()) or call.constant:
            continue
        if _is_linear(module):
            linear.add(path)
        elif norm := recognise_norm(module, call.x_value):
            norms[path] = norm
        elif not any(True for _ in module.parameters()) and (act := recognise_activation(module, call.x_value.device)):
            activations[path] = act
        else:
            odd[path] = type(module).__name__
    return Operations(norms, activations, frozenset(linear), odd, {path: i for i, path in enumerate(calls)})


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D, nn.Embedding, nn.Dropout, nn.Identity))


def coverage(layout: Layout, operations: Operations, rules: Rules) -> Coverage:
    """The table for `rules`: norms, activations, products, attention, final transform, and everything unknown."""
    rows = [
        *(_row(path, norm.name, rules.norm != "gradient", "scale frozen") for path, norm in operations.norms.items()),
        *(_activation_row(path, act, layout, rules) for path, act in operations.activations.items()),
        *(_row(path, "linear", False) for path in sorted(operations.linear)),
        *(row for block in layout.blocks for row in _block_rows(block, layout, rules)),
        *(_unknown_row(path, name, rules) for path, name in operations.unknown.items()),
    ]
    if layout.logits_softcap is not None:
        rows.append(Row("logits", f"soft cap {layout.logits_softcap:g}", "plain gradient"))
    last = len(operations.order)
    return Coverage(rules, tuple(sorted(rows, key=lambda row: operations.order.get(row.path, last))))


def _row(path: str, operation: str, has_rule: bool, rule: str = "") -> Row:
    return Row(path, operation, "rule" if has_rule else "plain gradient", rule if has_rule else "")


def _unknown_row(path: str, name: str, rules: Rules) -> Row:
    """A module that is neither linear, norm nor activation: fine for gradients, no rule set may pass it over."""
    return Row(path, name, "plain gradient" if rules == Rules() else "unsupported")


def _activation_row(path: str, act: Activation, layout: Layout, rules: Rules) -> Row:
    """A rule reaches the activations of MLPs; one elsewhere is unsupported under a rule set for activations."""
    block = next((b for b in layout.blocks if b.act == path), None)
    if rules.act == "gradient":
        return Row(path, act.name, "plain gradient")
    return Row(path, act.name, "rule" if block else "unsupported", f"f(x)/x of {act.name}" if block else "")


def _block_rows(block: BlockLayout, layout: Layout, rules: Rules) -> list[Row]:
    """The operations of a block that are no modules: the gate's product, the experts, attention."""
    rows = []
    if block.act is None:
        touched = rules.act != "gradient" or rules.gate != 1.0
        rows.append(
            Row(
                block.paths.mlp,
                "MLP without a single activation (experts, router)",
                "unsupported" if touched else "plain gradient",
            )
        )
    elif block.gated:
        rule = {0.5: "half rule", 0.0: "gate detached", 1.0: ""}[rules.gate]
        rows.append(_row(block.paths.mlp, "gated product", rules.gate != 1.0, rule))
    rows += [Row(block.paths.attn, extra, "plain gradient") for extra in layout.attention_extras]
    attention_rule = rules.attention != Rules().attention
    if attention_rule and not layout.attention_function:
        rows.append(Row(block.paths.attn, "attention outside AttentionInterface", "unsupported"))
    else:
        rows.append(_row(block.paths.attn, "attention", attention_rule, str(rules.attention)))
    return rows
