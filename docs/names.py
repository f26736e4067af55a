"""The pages of the public names: a table of all, and a place for the docstring of each, which the site fills in."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import markdown

#: Sections of the page of `interp`, in order, by the room that a name comes from: the longest that fits.
INTERP = {
    "Models and runs": ("model", "parts.tokens", "parts.sites"),
    "Tasks and metrics": ("tasks",),
    "Rules": ("rules",),
    "Parts": ("parts",),
    "Scores": ("attribution", "scores"),
    "Paths, lenses, tokens, activations": (
        "attribution.path_patching",
        "attribution.token_attribution",
        "lenses",
        "activations",
    ),
    "Dictionaries and features": ("dictionaries", "attribution.feature_edges"),
    "Figures": ("display", "heads.patterns"),
    "Other": ("",),
}
CIRCUITS = {
    "Circuits": ("circuit",),
    "Evaluation": ("evaluation",),
    "Known circuits": ("evaluation.known.truth", "evaluation.known.programs"),
    "Files and reports": ("interchange", "jobs.exchange", "runs", "report.pages", "comparison"),
    "Figures and pictures": ("display", "report.picture"),
    "Other": ("",),
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
    homes = _homes(module)
    rooms = {room: title for title, rooms in sections.items() for room in rooms}
    for name in module.__all__:
        fits = (room for room in rooms if f"{homes.get(name, '')}.".startswith(f"{room}." if room else ""))
        found[rooms[max(fits, key=len)]].append(name)
    return "\n\n".join("\n\n".join(_section(module, title, names)) for title, names in found.items() if names)


def _homes(module: Any) -> dict[str, str]:
    """Where each public name lives, without the package: as the stub beside its `__init__.py` says."""
    stub = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in lines for alias in node.names}


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
    """A constant, by what it is; of a module what is in it."""
    if inspect.ismodule(value):
        return f"the module of {', '.join(f'`{name}`' for name in value.__all__)}"
    if isinstance(value, dict):
        return f"the registry: {', '.join(f'`{key}`' for key in value)}"
    return f"`{value}`" if isinstance(value, str) else f"the preset: {value.describe()}"
