"""Writes the tables of these pages from the registries and from tiny models of every tested architecture, the drawing of the house,
and the module of names that shells complete.

    python docs/generate.py           rewrite the tables, the drawing and the module
    python docs/generate.py --check   exit 1, naming the page or file that is not current

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else on a page is written by hand.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tables import code, markdown

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

DOCS = Path(__file__).resolve().parent
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TABLES: dict[str, Callable[[], str]] = {}


def table(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register the text of one generated block."""

    def register(make: Callable[[], str]) -> Callable[[], str]:
        _TABLES[name] = make
        return make

    return register


# ---------------------------------------------------------------- docs/methods.md


@table("methods")
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


@table("rules")
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


@table("rules-of-nets")
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


@table("metrics")
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


@table("ablations")
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


@table("tasks")
def tasks() -> str:
    from interp.tasks.builtin import TASKS

    rows = [(f"`{t.name}`", t.about.sentence, code(t.options), _source(t)) for t in TASKS.values()]
    return markdown(("task", "what", "options", "source"), rows)


@table("token-methods")
def token_methods() -> str:
    from interp.attribution.token_methods import METHODS

    rows = [
        (f"`{m.name}`", f"`{m.about.sentence}`", code(m.baselines), m.about.cost, _source(m)) for m in METHODS.values()
    ]
    return markdown(("token method", "score of token x with baseline b", "baselines", "cost", "source"), rows)


@table("selections")
def selections() -> str:
    from circuits.circuit.selection import selections as registered

    rows = [(f"`{s.name}`", s.description, s.levels, s.source) for s in registered().itertuples(index=False)]
    return markdown(("selection", "order", "levels", "source"), rows)


@table("quadratures")
def quadratures() -> str:
    from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS, QUADRATURES, quadrature

    rows = []
    for name in QUADRATURES:
        points = quadrature(name, 4)
        default = f" (default, {DEFAULT_STEPS} steps)" if name == DEFAULT_QUADRATURE else ""
        shown = [", ".join(f"{p[i]:.3g}" for p in points) for i in (0, 1)]
        rows.append((f"`{name}`{default}", *shown))
    return markdown(("quadrature", "points for 4 steps", "weights"), rows)


@table("levels")
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


@table("dictionaries")
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


@table("formats")
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


# ---------------------------------------------------------------- tables that are made by modules beside this one


#: Block -> module and function.
_BESIDE = {
    "worked-example": ("survey", "worked_example"),
    "architectures": ("survey", "architectures"),
    "missing-sites": ("survey", "missing_sites"),
    "refused-presets": ("survey", "refused_presets"),
    "architecture-shares": ("breadth", "shares"),
    "architecture-reasons": ("breadth", "reasons"),
    "architecture-classes": ("breadth", "classes"),
    "errors": ("catalogue", "overview"),
    "messages": ("catalogue", "catalogue"),
    "commands": ("commands", "reference"),
    "names-interp": ("names", "of_interp"),
    "names-circuits": ("names", "of_circuits"),
    "rooms": ("house", "rooms"),
}
#: File -> module and function that make the whole of it.
_WHOLE = {"circuits/terms/names.py": ("vocabulary", "module"), "docs/house.svg": ("house_drawing", "drawing")}


def made(name: str) -> str:
    """The text of one block."""
    if name in _TABLES:
        return _TABLES[name]()
    return _called(*_BESIDE[name])


def _called(module: str, function: str) -> str:
    return str(getattr(importlib.import_module(module), function)())


# ---------------------------------------------------------------- pages


def generated(text: str, page: str) -> str:
    """The page with every generated block made anew."""

    def new(match: re.Match[str]) -> str:
        if match[2] not in {*_TABLES, *_BESIDE}:
            raise SystemExit(f"{page}: no table {match[2]!r}; there is {', '.join((*_TABLES, *_BESIDE))}")
        return f"{match[1]}{made(match[2])}\n{match[3]}"

    return _BLOCK.sub(new, text)


def main(check: bool) -> int:
    stale = []
    # Whole files first, code before what is drawn of it: the command line, which a page describes, takes its names from one of them.
    for path in (*(DOCS.parent / name for name in _WHOLE), *sorted(DOCS.rglob("*.md"))):
        name, old = path.relative_to(DOCS.parent).as_posix(), path.read_text(encoding="utf-8") if path.exists() else ""
        new = _called(*_WHOLE[name]) if name in _WHOLE else generated(old, name)
        if new != old:
            stale.append(name)
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{name}: {'not current; run python docs/generate.py' if check else 'rewritten'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    sys.exit(main("--check" in sys.argv[1:]))
