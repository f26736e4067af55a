"""The commands that look and tell: models, tasks, methods, sites, doctor and verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuits.console import printing
from circuits.console.phases import telling
from circuits.settings.run_options import LoadOptions
from interp.registries import Registry, offered

if TYPE_CHECKING:
    from interp.attribution.protocol.registry import Method
    from interp.rules.rules import Rules


def models() -> None:
    """What --model takes."""
    from interp.model.architectures import TESTED

    rows = [
        ("demo", "the embedded model: small, trained on generated text, for trying everything out"),
        (
            "FOLDER",
            "a local Hugging Face folder with config.json and safetensors; with --adapter FOLDER peft's merged into it",
        ),
        ("FILE.gguf", "a GGUF file, dequantised; needs the package gguf: pip install 'relevance-circuits[gguf]'"),
        ("hf:ORG/NAME", "a hub id; the only form that may touch the network"),
    ]
    printing.table("models", ("--model", "what"), rows)
    printing.out.print("architectures with a parity test: " + ", ".join(TESTED), highlight=False)
    printing.out.print("others work where transformer-lens maps them and the map checks out: circuits verify --model M")


def tasks() -> None:
    """The built-in tasks with their descriptions."""
    from interp.tasks import builtin

    printing.table(
        "built-in tasks", ("--task", "what"), [(name, builtin.describe(name).description) for name in builtin.names()]
    )
    printing.out.print("or a .json, .jsonl or .csv file with clean, corrupt, answer, wrong")
    _others(builtin.TASKS)


def methods() -> None:
    """The registry, in short."""
    from interp.attribution.methods import METHODS

    rows = [(m.name, m.levels, m.cost.partition(";")[0], m.paper.partition(";")[0]) for m in METHODS.values()]
    printing.table("methods", ("--method", "scores", "cost", "source"), rows)
    printing.sentence("F, B: one forward, one backward over the data; K: steps; L: layers; S: sites; P: positions")
    printing.lines("one in full: circuits methods NAME")
    _others(METHODS)


def _others(registry: Registry[Any]) -> None:
    """Names of installed packages, which listing does not load."""
    found = [f"{offer.name} ({offer})" for offer in offered(registry.group) if offer.name not in registry]
    if found:
        printing.lines(f"of other packages: {', '.join(found)}")


def method(name: str) -> None:
    """One method: what it computes, what it costs, where it comes from, what it scores."""
    from interp.attribution.methods import get_method
    from interp.parts.nodes import CIRCUIT_LEVELS, LEVELS

    m = get_method(name)
    levels = [x for x in dict.fromkeys((*LEVELS, *CIRCUIT_LEVELS)) if m.scores(x) and not (m.search and x == "resid")]
    rows = {
        "formula": m.formula,
        "cost": m.cost,
        "source": m.paper,
        "levels": ", ".join(levels),
        "rules": _rules(m.rules),
        "gradients at": m.coefficients_at if not (m.exact or m.search) else "",
        "unit": m.unit or "the metric's",
        "notes": "; ".join(text for is_so, text in _notes(m) if is_so),
    }
    printing.table(m.name, ("what", "value"), [(key, value) for key, value in rows.items() if value])


def _rules(rules: Rules) -> str:
    """A rule set in words, without what is plain gradient."""
    a, plain = rules.attention, type(rules)().attention
    said = [
        ("every operation averaged between both runs", bool(rules.secants)),
        ("norm scale held fixed", rules.norm != "gradient"),
        ("activations as f(x)/x", rules.act != "gradient"),
        (f"gates times {rules.gate:g}", rules.gate != 1),
        ("attention pattern held fixed", a.qk == 0),
        (f"queries and keys times {a.qk:g}", a.qk not in (0, plain.qk)),
        (f"values times {a.v:g}", a.v != plain.v),
        (f"softmax at temperature {a.temperature:g}", a.temperature != plain.temperature),
    ]
    return ", ".join(text for text, is_so in said if is_so) or "plain gradient"


def _notes(m: Method) -> list[tuple[bool, str]]:
    return [
        (m.exact, "exact: no approximation"),
        (m.search, "exact for what matters, estimates elsewhere, with a stated chance of error"),
        (m.unsigned, "scores are sizes without a sign"),
        (m.noise, "direction noise only"),
        (m.needs_run, "not with mean or zero ablation"),
        (m.uses_steps, "takes --steps and --quadrature"),
        (bool(m.rules.secants), "takes --steps: the points of each softmax"),
        (m.complete, "complete: scores of a cut through the model add up to the whole difference"),
    ]


def sites(name: str, rules: str | None, adapter: Path | None = None) -> None:
    """Sites of a model and, for a preset, the treatment of every module."""
    from circuits.jobs.inputs import load_model
    from interp.rules.rules import preset

    chosen = preset(rules) if rules else None
    model = load_model(name, None, None, adapter)
    have = [(site, "yes", "") for site in model.sites()]
    lack = [(site, "no", why) for site, why in model.missing_sites().items()]
    printing.table(repr(model), ("site", "available", "why not"), [*have, *lack])
    if chosen is not None:
        rows = [(r.path, r.operation, r.treatment, r.rule) for r in model.coverage(chosen).rows]
        printing.table(f"{rules}: {chosen.describe()}", ("module", "operation", "treatment", "rule"), rows)


def doctor() -> bool:
    """The diagnosis, and what to do; true where all is well."""
    from circuits.jobs.machine.doctor import diagnose

    found = diagnose()
    printing.table(
        "versions", ("what", "ok", "detail"), [(f.subject, "yes" if f.ok else "NO", f.detail) for f in found]
    )
    wrong = [f for f in found if not f.ok]
    subjects, repairs = ", ".join(f.subject for f in wrong), "; ".join(dict.fromkeys(f.repair for f in wrong))
    printing.lines(f"not right: {subjects}. To repair: {repairs}" if wrong else "all versions are ones that work")
    return not wrong


def verify(asked: LoadOptions) -> bool:
    """The checks as a table; true where none failed."""
    from circuits.jobs.inputs import load_model
    from circuits.jobs.machine.verify import verify as checks

    with telling(2, quiet=False) as say:
        say.phase(f"loading {asked.model}")
        model = load_model(asked.model, asked.dtype, asked.device, asked.adapter)
        say.phase("checking parity, rules, padding and cleanliness")
        found = list(checks(model))
    verdict = {True: "pass", False: "FAIL", None: "info"}
    printing.table(repr(model), ("check", "result", "detail"), [(c.name, verdict[c.passed], c.detail) for c in found])
    return all(c.passed is not False for c in found)
