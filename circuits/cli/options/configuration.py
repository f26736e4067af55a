"""Options in a TOML file: read, checked against the command that they are for, and put under those of the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from circuits.cli.options.completing import worded
from circuits.cli.options.help_sections import OPTIONS
from interp.errors import InterpError, unknown
from interp.option import Option, keys_of

#: What the commands that take options from a TOML file make of them, by what a user types.
_READ_FILES: dict[str, type] = {}


def reads_file(typed: str, value: type) -> None:
    """Register a command as one that takes the options of this value from a TOML file."""
    _READ_FILES[typed] = value


def described(value: type, command: str) -> list[Option]:
    """The options of a command that takes this value with what they mean in words, in the order of its --help."""
    order = [name for names in OPTIONS[command].values() for name in names]
    found = sorted(keys_of(value).values(), key=lambda option: order.index(option.name))
    return [replace(o, about=replace(o.about, help=worded(o.about))) for o in found]


def read_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file. Raises: InterpError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InterpError(f"{str(path)!r} cannot be read: {reason}. Expected a TOML file of options.") from error


def configured(context: typer.Context, value: type, config: Path | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command: its defaults, over them those of the file, and over them those of the command line."""
    options, chosen = keys_of(value), dict(values)
    if config is None:
        return chosen
    given = {name for name in options if _from_user(context, name)}
    found = read_toml(config)
    useless = _useless(found, value, repr(str(config)), given)
    own = {key: value for key, value in found.items() if key not in useless}
    chosen |= {name: value for name, value in _read_options(config, own, options) if name not in given}
    if useless and not chosen["quiet"]:
        from circuits.console import printing

        printing.say(
            f"NOTE: circuits {context.info_name} has no use for {', '.join(useless)} in {str(config)!r}; passed over"
        )
    return chosen


def _from_user(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _useless(found: Mapping[str, Any], value: type, where: str, given: Collection[str]) -> list[str]:
    """Keys that are of use to the other of `discover` and `compare` only: the two share their files.

    Raises: InterpError where passing a key over would change what is meant: the file names several methods, and nothing says which of
    them `discover` is to take.
    """
    discover, compare = (_READ_FILES[f"circuits {name}"] for name in ("discover", "compare"))
    others = keys_of(compare if value is discover else discover)
    useless = [key for key in found if key in others and key not in keys_of(value)]
    for key in useless:
        others[key].accept(found[key], where)
    if "methods" in useless and "method" not in {*given, *found}:
        raise InterpError(
            f"{where}: methods = {found['methods']!r:.80}: an option of circuits compare; circuits discover takes one: give "
            "--method NAME, or put method in place of methods."
        )
    return useless


def owners(key: str) -> str:
    """A sentence that names the commands whose files have this key; empty where there is none."""
    found = [name for name, value in _READ_FILES.items() if key in keys_of(value)]
    return f" It is an option of {' and '.join(found)}: is it meant for another command?" if found else ""


def _read_options(config: Path, found: Mapping[str, Any], options: Mapping[str, Option]) -> Iterator[tuple[str, Any]]:
    """Raises: InterpError for a key that is no option, or a value of another kind."""
    where = repr(str(config))
    for key, value in found.items():
        if key not in options:
            section = " It is a section; options stand at the top, without one." if isinstance(value, dict) else ""
            raise InterpError(f"{where}: {unknown('option', key, options)}{owners(key)}{section}")
        yield key, _beside(config, options[key], options[key].accept(value, where))


def _beside(config: Path, option: Option, value: Any) -> Any:
    """A name of a file as seen from the working directory; other values as they are."""
    return option.kind(Path(config.parent, value)) if option.is_file(value) else value
