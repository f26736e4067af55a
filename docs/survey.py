"""The tables that need models: the worked example, and what a tiny random model of each tested architecture has, lacks and refuses."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tables import code, markdown

ROOT = Path(__file__).resolve().parent.parent


@cache
def _surveyed() -> list[tuple[str, Any]]:
    """A tiny random model of every tested architecture, by its `model_type`."""
    from interp.model.architectures import TESTED

    make = _recipe().hooked
    return [(name, make(name)) for name in TESTED]


def _recipe() -> ModuleType:
    """`tests/interp/model/tiny.py`, by its path."""
    spec = importlib.util.spec_from_file_location("tiny", ROOT / "tests" / "interp" / "model" / "tiny.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tests/interp/model/tiny.py, the recipe of the tiny models, is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny"] = module
    spec.loader.exec_module(module)
    return module


def _refusals(model: Any) -> dict[str, str]:
    """preset -> what it has no rule for; empty where it is supported."""
    from interp.rules.rules import PRESETS

    found = {}
    for name, preset in PRESETS.items():
        rows = model.coverage(preset.rules).unsupported
        found[name] = ", ".join(dict.fromkeys(row.operation for row in rows))
    return found


def architectures() -> str:
    rows = []
    for name, model in _surveyed():
        size, refused, missing = model.layout, _refusals(model), model.missing_sites()
        rows.append(
            (
                f"`{name}`",
                type(model.hf).__name__,
                "all" if not missing else f"all but {code(missing)}",
                "yes" if size.attention_function else "no",
                code(preset for preset, why in refused.items() if not why),
                code(preset for preset, why in refused.items() if why),
                ", ".join(_shape(size)) or "-",
            )
        )
    header = ("`model_type`", "class", "sites", "attention function", "presets", "presets refused", "shape")
    return markdown(header, rows)


def _shape(layout: Any) -> list[str]:
    """What the probe read off the model, in words."""
    block = layout.blocks[0]
    found = {
        "gated MLP": block.mlp.gated,
        "attention and MLP in parallel": block.parallel,
        "norm behind attention": not block.attn.plain,
        "residual multiplier": block.attn.scale != 1.0,
        "logits scaled": layout.logits_scale != 1.0,
        "logits soft-capped": layout.logits_softcap is not None,
        "experts": block.mlp.act is None,
    }
    return [words for words, holds in found.items() if holds]


def missing_sites() -> str:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name, model in _surveyed():
        reasons: dict[str, list[str]] = {}
        for site, why in model.missing_sites().items():
            reasons.setdefault(why, []).append(site)
        for why, sites in reasons.items():
            by_reason.setdefault((code(sites), why), []).append(name)
    return markdown(("sites", "missing because", "on"), ((s, why, code(on)) for (s, why), on in by_reason.items()))


def refused_presets() -> str:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name, model in _surveyed():
        reasons: dict[str, list[str]] = {}
        for preset, why in _refusals(model).items():
            if why:
                reasons.setdefault(why, []).append(preset)
        for why, presets in reasons.items():
            by_reason.setdefault((code(presets), why), []).append(name)
    return markdown(("presets", "no rule for", "on"), ((p, why, code(on)) for (p, why), on in by_reason.items()))


def worked_example() -> str:
    """The strongest head and MLP of the embedded model, in both directions."""
    import interp

    model = interp.load("demo")
    task = interp.task("ioi", model, n=64)
    names: list[str] = []
    rows = []
    for direction in ("denoise", "noise"):
        found = interp.attribute_all(model, task, methods=["exact", "relp"], level="heads", direction=direction)
        exact, estimate = found["exact"], found["relp"]
        names = names or _strongest(exact)
        for name in names:
            base, score = exact.provenance.base_metric, exact[name]
            importance = exact.provenance.importance_sign * score
            numbers = (base, base + score, score, importance, estimate[name])
            rows.append((f"`{direction}`", f"`{name}`", *(f"{number:+.2f}" for number in numbers)))
    header = ("direction", "node", "m(base)", "m(patched)", "score", "importance", "`relp` estimate")
    return markdown(header, rows)


def _strongest(scores: Any) -> list[str]:
    """The first head and the first MLP of the ranking."""
    order = [scores.parts[i] for i in scores.rank()]
    return [next(node.name for node in order if node.kind == kind) for kind in ("head", "mlp")]
