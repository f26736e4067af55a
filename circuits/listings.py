"""The commands that look and tell: models, tasks, methods, sites, doctor, verify, bench."""

from __future__ import annotations

from circuits import show


def models() -> None:
    """What --model takes."""
    from interp.architectures import TESTED

    rows = [
        ("demo", "the embedded model: small, trained on generated text, for trying everything out"),
        ("FOLDER", "a local Hugging Face folder with config.json and safetensors"),
        ("hf:ORG/NAME", "a hub id; the only form that may touch the network"),
    ]
    show.table("models", ("--model", "what"), rows)
    show.out.print("architectures with a parity test: " + ", ".join(TESTED), highlight=False)
    show.out.print("others work where transformer-lens maps them and the map checks out: circuits verify --model M")


def tasks() -> None:
    """The built-in tasks with their descriptions."""
    from interp.tasks import builtin

    show.table(
        "built-in tasks", ("--task", "what"), [(name, builtin.describe(name).description) for name in builtin.names()]
    )
    show.out.print("or a .json, .jsonl or .csv file with clean, corrupt, answer, wrong")


def methods() -> None:
    """The registry."""
    from interp.attribution import METHODS

    rows = [(m.name, m.levels, m.formula, m.cost, m.rules.describe(), m.paper) for m in METHODS.values()]
    show.table(
        "methods (F, B: one forward, one backward over the data)",
        ("--method", "scores", "formula", "cost", "rules", "source"),
        rows,
    )


def sites(name: str, rules: str | None) -> None:
    """Sites of a model and, for a preset, the treatment of every module."""
    from circuits.jobs import load_model
    from interp.rules import preset

    chosen = preset(rules) if rules else None
    model = load_model(name, None, None)
    have = [(site, "yes", "") for site in model.sites()]
    lack = [(site, "no", why) for site, why in model.missing_sites().items()]
    show.table(repr(model), ("site", "available", "why not"), [*have, *lack])
    if chosen is not None:
        rows = [(r.path, r.operation, r.treatment, r.rule) for r in model.coverage(chosen).rows]
        show.table(f"{rules}: {chosen.describe()}", ("module", "operation", "treatment", "rule"), rows)


def doctor() -> bool:
    """The diagnosis; true where all is well."""
    from circuits.doctor import diagnose

    found = diagnose()
    show.table("versions", ("what", "ok", "detail"), [(f.subject, "yes" if f.ok else "NO", f.detail) for f in found])
    return all(f.ok for f in found)


def verify(name: str, dtype: str | None, device: str | None) -> bool:
    """The checks as a table; true where none failed."""
    from circuits.jobs import load_model
    from circuits.verify import verify as checks

    model = load_model(name, dtype, device)
    found = list(checks(model))
    verdict = {True: "pass", False: "FAIL", None: "info"}
    show.table(repr(model), ("check", "result", "detail"), [(c.name, verdict[c.passed], c.detail) for c in found])
    return all(c.passed is not False for c in found)
