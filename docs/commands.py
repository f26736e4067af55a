"""The reference of the command line, from what each command says of itself."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import code, markdown


def commands() -> Iterator[tuple[str, Any]]:
    """(name as it is typed, command) of every command, those of groups too."""
    import typer

    from circuits.cli.app import app

    yield from _within(typer.main.get_command(app), "circuits")


def _within(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _within(below, f"{name} {part}")


def reference() -> str:
    """A section for each command: what it does, how it is called, its arguments and options."""
    return "\n\n".join("\n\n".join(_section(name, command)) for name, command in commands())


def _section(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}"
    yield inspect.cleandoc(command.help or "").replace("\f", "")
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    below = ["COMMAND"] if hasattr(command, "commands") else []
    pieces = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in shown if _argument(p)]
    yield f"`{' '.join((name, *pieces, '[OPTIONS]', *below))}`"
    if shown:
        types = typing.get_type_hints(command.callback)
        yield markdown(("option", "takes", "default", "what"), (_row(p, types.get(p.name)) for p in shown))


def _argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _row(parameter: Any, wanted: Any) -> list[str]:
    names = [parameter.name.upper()] if _argument(parameter) else [*parameter.opts, *parameter.secondary_opts]
    default = parameter.default
    cells = (
        code(names),
        _takes(parameter, wanted),
        "-" if default in (None, False, ()) or callable(default) else f"`{_typed(parameter, default)}`",
        _prose(getattr(parameter, "help", None) or "-"),
    )
    return [" ".join(cell.split()) for cell in cells]


def _takes(parameter: Any, wanted: Any) -> str:
    """What follows the option, in words; nothing follows a flag."""
    named = {str: "text", int: "whole number", float: "number", Path: "path"}
    parts = [t for t in (typing.get_args(wanted) or (wanted,)) if t is not type(None)]
    words = [named[t] for t in parts if t in named]
    several = ", several times" if getattr(parameter, "multiple", False) else ""
    return f"{words[0]}{several}" if words else "-"


def _typed(parameter: Any, default: Any) -> str:
    """A default as it would be typed: of a switch the option itself."""
    return str(parameter.opts[0] if default is True else default)


def _prose(text: str) -> str:
    """Help is plain text; what Markdown or HTML would read in it is escaped."""
    return re.sub(r"([\\`*_<\[\]])", r"\\\1", text)
