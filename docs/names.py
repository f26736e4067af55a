"""The pages of the public names: a table of all, and a place for the docstring of each, which the site fills in."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from tables import markdown

#: Sections of the page of `interp`, in order, by the module that a name comes from; the first that fits.
INTERP = {
    "Models and runs": ("interp.loading", "interp.model", "interp.tokens", "interp.sites", "interp.edits"),
    "Tasks and metrics": ("interp.tasks", "interp.metrics"),
    "Rules": ("interp.rules",),
    "Parts": ("interp.nodes", "interp.graph"),
    "Scores": ("interp.attribution", "interp.scores", "interp.oracle"),
    "Paths, lenses, tokens, activations": (
        "interp.path_patching",
        "interp.lens",
        "interp.token_attribution",
        "interp.activations",
    ),
    "Dictionaries and features": ("interp.dictionaries", "interp.features"),
    "Figures": ("interp.plots", "interp.attention_plots", "interp.patterns"),
    "Other": (),
}
CIRCUITS = {
    "Circuits": ("circuits.circuit", "circuits.selection", "circuits.connect", "circuits.algebra"),
    "Evaluation": (
        "circuits.evaluation",
        "circuits.faithfulness",
        "circuits.areas",
        "circuits.minimality",
        "circuits.hypotheses",
        "circuits.assessment",
        "circuits.stability",
    ),
    "Known circuits": ("circuits.truth",),
    "Files and reports": (
        "circuits.interchange",
        "circuits.record",
        "circuits.report",
        "circuits.matching",
        "circuits.sides",
    ),
    "Figures and pictures": ("circuits.plots", "circuits.picture"),
    "Other": (),
}


def of_interp() -> str:
    """The page of `interp`."""
    return reference("interp")


def of_circuits() -> str:
    """The page of `circuits`."""
    return reference("circuits")


def reference(package: str) -> str:
    """The sections of one package. Every public name is in one of them."""
    module = importlib.import_module(package)
    sections = INTERP if package == "interp" else CIRCUITS
    found: dict[str, list[str]] = {title: [] for title in sections}
    for name in module.__all__:
        home = module._PUBLIC.get(name, package)
        title = next(
            (t for t, homes in sections.items() if any(f"{home}.".startswith(f"{h}.") for h in homes)), "Other"
        )
        found[title].append(name)
    return "\n\n".join("\n\n".join(_section(module, title, names)) for title, names in found.items() if names)


def _section(module: Any, title: str, names: list[str]) -> Iterator[str]:
    yield f"## {title}"
    yield markdown(("name", "what"), ((f"`{module.__name__}.{name}`", _first_sentence(module, name)) for name in names))
    # One line that mkdocstrings replaces by signature and docstring; `name` and not its home, as that is what is imported.
    yield from (f"::: {module.__name__}.{name}" for name in names if not name.startswith("__"))


def _first_sentence(module: Any, name: str) -> str:
    value = getattr(module, name)
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return _of_value(value)
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return text.replace("<", "&lt;")


def _of_value(value: Any) -> str:
    """A constant, by what it is."""
    if isinstance(value, dict):
        return f"the registry: {', '.join(f'`{key}`' for key in value)}"
    return f"`{value}`" if isinstance(value, str) else f"the preset: {value.describe()}"
