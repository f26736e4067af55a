"""The tables of the documentation that are read off the registries: methods, rules, metrics, tasks, levels, formats and so on."""

from __future__ import annotations

from typing import Any

from tables import code, markdown


def methods() -> str:
    from interp.attribution.methods import METHODS
    from interp.rules.lrp import OF_NETS
    from interp.rules.rules import PRESETS

    preset = {found.rules: found.name for found in (*PRESETS.values(), *OF_NETS)}
    rows = [
        (
            f"`{m.name}`",
            m.levels,
            f"`{m.about.sentence}`",
            m.about.cost,
            code([preset[m.rules]] if m.uses_gradients else []),
            _kind(m),
            _source(m),
        )
        for m in METHODS.values()
    ]
    return markdown(("method", "scores", "score of node u, or of edge u->v", "cost", "rules", "kind", "source"), rows)


def _kind(m: Any) -> str:
    if m.exact:
        return "the oracle"
    if m.search:
        return "verified: estimates, checked by exact patches"
    if m.joint:
        return "a search by intervention"
    if m.masked:
        return "a search on masks: an order, no effects; takes `rounds` or `budget`, and `backward`" + (
            ", `start`" if m.warm and not m.starts else ""
        )
    if m.unit:
        return "no intervention, no gradient"
    if m.uses_steps:
        return "averaged over a path; takes `steps` and `quadrature`"
    if m.needs_run:
        return "complete: averaged between both runs; takes `steps`" if m.complete else "gradient at both runs"
    if m.base_point:
        return "gradient" if m.first_order else "relevance"
    return "baseline"


def rules() -> str:
    from interp.attribution.methods import METHODS
    from interp.rules.rules import PRESETS

    rows = []
    for preset in PRESETS.values():
        found = preset.rules
        used = [m.name for m in METHODS.values() if m.rules == found and m.uses_gradients]
        a = found.attention
        numbers = found.norm, found.act, found.gate, a.qk, a.v, a.temperature
        rows.append((f"`{preset.name}`", preset.about.sentence, *numbers, code(used), _source(preset)))
    header = ("preset", "what", "norm", "act", "gate", "q and k x", "v x", "softmax temperature", "used by", "source")
    return markdown(header, rows)


def rules_of_nets() -> str:
    from interp.rules.lrp import OF_NETS

    rows = []
    for preset in OF_NETS:
        own = preset.rules.linear
        rows.append(
            (
                f"`{preset.name}`",
                preset.about.sentence,
                str(own.conv),
                str(own.dense),
                str(own.first or "as the others"),
                _source(preset),
            )
        )
    return markdown(("preset", "what", "convolutions", "dense layers", "layers that read the input", "source"), rows)


def metrics() -> str:
    from interp.tasks.metrics import METRICS

    toward = {"clean": "the clean answer", "source": "the source run", "base": "the base run"}
    rows = [
        (f"`{m.name}`", m.about.sentence, m.about.units, toward[m.toward], *(_sign(m, d) for d in ("denoise", "noise")))
        for m in METRICS.values()
    ]
    header = ("metric", "what", "unit", "nearness to", "important means (denoise)", "important means (noise)")
    return markdown(header, rows)


def _sign(metric: Any, direction: str) -> str:
    return "score > 0" if metric.importance_sign(direction) > 0 else "score < 0"


def ablations() -> str:
    from interp.tasks.ablations import ABLATIONS

    rows = [
        (f"`{a.name}`", a.about.sentence, code(a.directions), code(a.directions[:1]), a.about.cost or "-", _source(a))
        for a in ABLATIONS.values()
    ]
    return markdown(
        ("ablation", "a node is replaced by", "directions", "default direction", "cost besides", "source"), rows
    )


def _source(entry: Any) -> str:
    """Where a registered thing is from; a dash for one of our own."""
    return str(entry.about.source or "-")


def tasks() -> str:
    from interp.tasks.builtin import TASKS

    rows = [(f"`{t.name}`", t.about.sentence, code(t.options), _source(t)) for t in TASKS.values()]
    return markdown(("task", "what", "options", "source"), rows)


def token_methods() -> str:
    from interp.attribution.token_methods import METHODS

    rows = [
        (f"`{m.name}`", f"`{m.about.sentence}`", code(m.baselines), m.about.cost, _source(m)) for m in METHODS.values()
    ]
    return markdown(("token method", "score of token x with baseline b", "baselines", "cost", "source"), rows)


def layer_scores() -> str:
    from interp.depth.layer_scores import LAYER_SCORES

    rows = [
        (f"`{s.name}`", s.about.sentence, code(s.units), s.about.units, s.about.cost, _source(s))
        for s in LAYER_SCORES.values()
    ]
    return markdown(("layer score", "what is lost without the part", "parts", "units", "cost", "source"), rows)


def selections() -> str:
    from circuits.circuit.selection import selections as registered

    rows = [(f"`{s.name}`", s.description, s.levels, s.source) for s in registered().itertuples(index=False)]
    return markdown(("selection", "order", "levels", "source"), rows)


def quadratures() -> str:
    from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS, QUADRATURES, quadrature

    rows = []
    for name in QUADRATURES:
        points = quadrature(name, 4)
        default = f" (default, {DEFAULT_STEPS} steps)" if name == DEFAULT_QUADRATURE else ""
        shown = [", ".join(f"{p[i]:.3g}" for p in points) for i in (0, 1)]
        rows.append((f"`{name}`{default}", *shown))
    return markdown(("quadrature", "points for 4 steps", "weights"), rows)


def levels() -> str:
    from interp.attribution.features.hosts import HOSTS
    from interp.parts.graph import parse_edge
    from interp.parts.nodes import CIRCUIT_LEVELS, LEVELS, VIEWS, Node

    names = {kind: _example(kind, Node) for kind in VIEWS}
    rows = []
    for level, kinds in LEVELS.items():
        sites = dict.fromkeys(VIEWS[kind].site for kind in kinds)
        examples = [names[kind] for kind in kinds]
        rows.append((f"`{level}`", code(kinds), code(sites), code(examples), _yes(level in CIRCUIT_LEVELS)))
    features = code(Node(f"mlp_out.{kind}", 3, unit).name for kind, unit in (("feature", 117), ("error", None)))
    kinds = "a feature of a dictionary, an error"
    rows.append(("`features`", kinds, code(HOSTS), features, _yes("features" in CIRCUIT_LEVELS)))
    edges = ("a0.h3->a2.h1<q>", "embed->m0", "m3->logits")
    rows.append(
        ("`edges`", "a writer and a reader", "-", code(map(parse_edge, edges)), _yes("edges" in CIRCUIT_LEVELS))
    )
    return markdown(("level", "kinds of part", "their sites", "names", "circuits"), rows)


def _example(kind: str, node: Any) -> str:
    layer = None if kind == "embed" else 3
    unit = {"head": 2, "q": 2, "k": 2, "v": 2, "neuron": 117}.get(kind)
    return str(node(kind, layer, unit).name)


def _yes(value: bool) -> str:
    return "yes" if value else "no (a map)"


def dictionaries() -> str:
    from interp.dictionaries.training.steps.options import ARCHITECTURES, TRANSCODERS

    rows = []
    for name, own in ARCHITECTURES.items():
        makes = "another site" if name in TRANSCODERS else "its own site"
        defaults = ", ".join(f"`{key}` {value}" for key, value in own.items() if key not in _SHARED_OPTIONS)
        rows.append((f"`{name}`", makes, defaults or "-"))
    return markdown(("architecture", "makes up", "options and their defaults"), rows)


#: Said once under the table.
_SHARED_OPTIONS = ("apply_b_dec_to_input",)


def formats() -> str:
    from circuits.interchange import FORMATS

    rows = [
        (
            f"`{f.name}`",
            f.extension or "a folder",
            f.about.sentence,
            *(_yes_or_no(x) for x in (f.reader, f.writer)),
            _source(f),
        )
        for f in FORMATS.values()
    ]
    return markdown(("format", "extension", "holds", "reads", "writes", "source"), rows)


def _yes_or_no(value: object) -> str:
    return "yes" if value else "no"
