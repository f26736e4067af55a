"""How models, runs, rules and dictionaries show themselves in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup

from interp.dictionaries.dictionary import Dictionary
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, element, facts, joined, left_out, table, text
from interp.formatting.numbers import MISSING, count, several
from interp.model.coverage.coverage import Coverage
from interp.model.coverage.treatments import Row as Treated
from interp.model.inputs.taking import accepted
from interp.model.model import HookedModel
from interp.model.nets.net import Net
from interp.model.result import Run
from interp.parts.layout import NET_LEVELS
from interp.parts.named_inputs import Inputs
from interp.rules.layer_rules import PLAIN
from interp.rules.lrp import OF_NETS
from interp.rules.rules import PRESETS, AttentionRule, Rules

MOST_PATHS: Final = 3
MOST_DETAILS: Final = 8


@showing.card.register
def model_card(found: HookedModel) -> Markup:
    """Its sizes, what it does in an unusual way, and the places that it lacks, each with the reason."""
    size = found.layout
    heads = f"{size.n_heads} a layer" + (
        f", {size.kv_heads} of keys and values" if size.kv_heads != str(size.n_heads) else ""
    )
    parallel = sum(block.parallel for block in size.blocks)
    known = facts(
        [
            ("layers", f"{size.n_layers}" + (f", {parallel} with attention and MLP in parallel" if parallel else "")),
            ("heads", heads),
            (
                "widths",
                f"d_model {count(size.d_model)}, d_mlp {MISSING if size.d_mlp is None else count(size.d_mlp)}, vocabulary {count(size.d_vocab)}",
            ),
            ("numbers", f"{str(found.dtype).removeprefix('torch.')} on {found.device}"),
            ("tokeniser", "" if found.tokenizer is not None or not found.takes_text else "none: prompts are token ids"),
            ("takes", "" if found.takes_text else accepted(found).shown),
            ("sites", ", ".join(found.sites())),
        ]
    )
    missing = found.missing_sites()
    rows = [(name, text(why)) for name, why in missing.items()]
    lacks = [table(("site that it lacks", "why"), rows)] if rows else []
    return block("HookedModel", joined(text(found.name), type(found.hf).__name__), known, *lacks)


@showing.card.register
def net_card(found: Net) -> Markup:
    """What it takes and gives, and its modules: those that are scored with the shape of what they return, and those that are no sites."""
    known = facts(
        [
            (
                "takes",
                Markup("{}, tried on {}").format(
                    accepted(found).shown, _shape(next(iter(found.probed.values())).shape)
                ),
            ),
            ("outputs", count(found.layout.d_vocab)),
            ("numbers", f"{str(found.dtype).removeprefix('torch.')} on {found.device}"),
            ("levels", ", ".join(NET_LEVELS)),
        ]
    )
    nodes = list(found.nodes.items())
    rows = [
        (text(f"module:{path}"), type(found.hf.get_submodule(path)).__name__, _shape(shape))
        for path, shape in nodes[:MOST_ROWS]
    ]
    left = left_out(len(nodes), len(rows), "modules")
    missing = list(found.found.missing.items())
    lacks = [(text(f"module:{path}"), text(why)) for path, why in missing[:MOST_ROWS]]
    more = left_out(len(missing), len(lacks), "modules")
    tables = [table(("module", "class", "returns, for each example"), rows, left=left)]
    tables += [table(("site that it lacks", "why"), lacks, left=more)] if lacks else []
    return block("Net", joined(text(found.name), type(found.hf).__name__), known, *tables)


@showing.card.register
def run_card(found: Run) -> Markup:
    """What came back and in which shape."""
    rows = [("logits", _shape(found.logits.shape), str(found.logits.dtype).removeprefix("torch."))]
    rows += [(str(s), _shape(x.shape), str(x.dtype).removeprefix("torch.")) for s, x in found.reads.items()]
    said = joined(_ran_on(found), several(len(found.reads), "read"))
    shown = rows[: 2 * MOST_ROWS]
    left = left_out(len(rows), len(shown), "reads")
    return block(
        "Run",
        said,
        table(("what", "shape", "dtype"), shown, left=left),
        caption("Shapes begin with [batch pos]; patterns are [batch head q_pos k_pos]."),
    )


def _ran_on(found: Run) -> str:
    """How many prompts of which size a run was of."""
    if isinstance(found.given, Inputs):
        return f"{several(len(found.given), 'input')}, {found.given.main} {_shape(found.given.shape)} each"
    batch, pos = found.given.ids.shape
    return f"{several(batch, 'prompt')} of {several(pos, 'token')}"


def _shape(shape: Iterable[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


# ---------------------------------------------------------------- rules


@showing.card.register
def rules_card(found: Rules) -> Markup:
    """What each operation means in the backward pass; what is the plain gradient comes last."""
    told = [_norm(found), _act(found), _gate(found), _attention(found.attention)]
    if found.linear != PLAIN:
        told.append(("linear layers", "LRP", str(found.linear)))
    rows = sorted(told, key=lambda row: row[1] == "plain gradient")
    named = next((preset.name for preset in (*PRESETS.values(), *OF_NETS) if preset.rules == found), "")
    said = joined(f"preset {named}" if named else found.describe())
    return block(
        "Rules",
        said,
        table(("operation", "backward pass", "meaning"), rows),
        caption(
            f"The forward pass is bit-identical; everything {'else that is ' * (found.linear != PLAIN)}linear keeps its gradient."
        ),
    )


_PLAIN: Final = "plain gradient"


def _norm(found: Rules) -> tuple[str, str, str]:
    frozen = found.norm == "frozen"
    return "norm", "scale frozen" if frozen else _PLAIN, "g -> w g / sigma, the mean still subtracted" if frozen else ""


def _act(found: Rules) -> tuple[str, str, str]:
    rule = found.act == "identity"
    return "activation", "identity rule" if rule else _PLAIN, "f(x) / x in place of f'(x)" if rule else ""


def _gate(found: Rules) -> tuple[str, str, str]:
    rule, meaning = {1.0: (_PLAIN, ""), 0.5: ("half rule", "half of the product rule for each factor")}.get(
        found.gate, ("gate detached", "all goes through the other factor")
    )
    return "gated product", rule, meaning


def _attention(rule: AttentionRule) -> tuple[str, str, str]:
    if (rule.qk, rule.v, rule.temperature) == (1.0, 1.0, 1.0):
        return "attention", _PLAIN, ""
    frozen = "pattern frozen" if rule.qk == 0 else f"queries and keys times {rule.qk:g}"
    more = [f"values times {rule.v:g}"] if rule.v != 1 else []
    more += [f"softmax at temperature {rule.temperature:g}"] if rule.temperature != 1 else []
    return "attention", frozen, ", ".join(more)


@showing.card.register
def coverage_card(found: Coverage) -> Markup:
    """Which operations have a rule, those without one first; modules of the same kind in one row."""
    groups: dict[tuple[str, str, str], list[Treated]] = {}
    for row in found.rows:
        groups.setdefault((row.treatment, row.operation, row.rule), []).append(row)
    order = ("unsupported", "rule", "plain gradient")
    keys = sorted(groups, key=lambda key: order.index(key[0]))
    rows = [
        (
            _treatment(t),
            text(operation),
            text(rule),
            count(len(groups[t, operation, rule])),
            _paths(groups[t, operation, rule]),
        )
        for t, operation, rule in keys
    ]
    bad = len(found.unsupported)
    said = joined(
        found.rules.describe(),
        f"{count(bad)} of {count(len(found.rows))} operations unsupported" if bad else "every operation is covered",
    )
    shown = rows[: 2 * MOST_ROWS]
    grid = table(
        ("treatment", "operation", "rule", "n", "modules"),
        shown,
        numeric=(3,),
        left=left_out(len(rows), len(shown), "kinds of operation"),
    )
    return block("Coverage", said, grid)


def _treatment(name: str) -> str | Markup:
    return element("b", "⚠ unsupported") if name == "unsupported" else name


def _paths(rows: Sequence[Treated]) -> Markup:
    more = f"and {count(len(rows) - MOST_PATHS)} more" if len(rows) > MOST_PATHS else ""
    return joined(*(text(row.path) for row in rows[:MOST_PATHS]), more, by=", ")


# ---------------------------------------------------------------- dictionaries


@showing.card.register
def dictionary_card(found: Dictionary) -> Markup:
    """Where it is, what it is, and what it says of how it came about."""
    reads = f"{found.site} ({count(found.d_in)} numbers)"
    known = facts(
        [
            ("reads", reads),
            ("makes up", f"{found.target} ({count(found.d_out)} numbers)" if found.transcoder else "the same"),
            ("features", count(found.n_features)),
            ("activation", type(found.activation).__name__),
            ("normalises", "" if found.normalize == "none" else found.normalize),
            ("numbers", f"{str(found.dtype).removeprefix('torch.')} on {found.device}"),
        ]
    )
    details = list(found.details.items())
    told = facts((str(key), text(value)) for key, value in details[:MOST_DETAILS])
    kind = "transcoder" if found.transcoder else "autoencoder"
    left = left_out(len(details), min(len(details), MOST_DETAILS), "details")
    return block(
        "Dictionary",
        joined(text(found.name) if found.name else "", kind),
        known,
        told,
        *([caption(left)] if left else []),
    )
