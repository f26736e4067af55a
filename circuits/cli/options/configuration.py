"""Options in a TOML file: read, checked against the command that they are for, and put under those of the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from circuits.settings.option import FILES, Option, is_file_name
from interp.errors import InterpError, unknown

#: The commands that take options from a TOML file, by what a user types.
_READ_FILES: dict[str, Callable[..., Any]] = {}


def reads_file(typed: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command as one that takes options from a TOML file."""

    def register(command: Callable[..., None]) -> Callable[..., None]:
        _READ_FILES[typed] = command
        return command

    return register


def options_of(command: Callable[..., Any]) -> dict[str, Option]:
    """The options of a command by their names in a TOML file, from its signature and help alone."""
    hints = get_type_hints(command, include_extras=True)
    return {name: found for name, p in signature(command).parameters.items() if (found := _option(p, hints[name]))}


def _option(parameter: Parameter, hint: Any) -> Option | None:
    """None for an argument, which has no name on the command line."""
    if not hasattr(hint, "__metadata__") or not isinstance(info := hint.__metadata__[0], OptionInfo):
        return None
    kinds = [k for k in _members(hint.__origin__) if k is not type(None)]
    kind = get_origin(kinds[0]) or kinds[0]
    kind = str if kind is Path else kind
    return Option(parameter.name, kind, parameter.default, info.help or "", info.min)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def read_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file. Raises: InterpError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InterpError(f"{str(path)!r} cannot be read: {reason}. Expected a TOML file of options.") from error


def configured(
    context: typer.Context, command: Callable[..., Any], config: Path | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a command: its defaults, over them those of the file, and over them those of the command line."""
    options = options_of(command)
    chosen = {name: values[name] for name in options}
    if config is None:
        return chosen
    given = {name for name in options if _from_user(context, name)}
    found = read_toml(config)
    useless = _useless(found, command, repr(str(config)), given)
    own = {key: value for key, value in found.items() if key not in useless}
    chosen |= {name: value for name, value in _read_options(config, own, options) if name not in given}
    if useless and not chosen["quiet"]:
        from circuits.console import printing

        printing.say(
            f"NOTE: circuits {command.__name__} has no use for {', '.join(useless)} in {str(config)!r}; passed over"
        )
    return chosen


def _from_user(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _useless(found: Mapping[str, Any], command: Callable[..., Any], where: str, given: Collection[str]) -> list[str]:
    """Keys that are of use to the other of `discover` and `compare` only: the two share their files.

    Raises: InterpError where passing a key over would change what is meant: the file names several methods, and nothing says which of
    them `discover` is to take; or it scores parts at positions, which a circuit does not have.
    """
    discover, compare = (_READ_FILES[f"circuits {name}"] for name in ("discover", "compare"))
    others = options_of(compare if command is discover else discover)
    useless = [key for key in found if key in others and key not in options_of(command)]
    for key in useless:
        others[key].accept(found[key], where)
    if "methods" in useless and "method" not in {*given, *found}:
        raise InterpError(
            f"{where}: methods = {found['methods']!r:.80}: an option of circuits compare; circuits discover takes one: give "
            "--method NAME, or put method in place of methods."
        )
    if "positions" in useless and found["positions"] != "all":
        raise InterpError(
            f"{where}: positions = {found['positions']!r:.80}: an option of circuits compare; circuits discover scores parts at all "
            "positions together: leave positions out."
        )
    return useless


def owners(key: str) -> str:
    """A sentence that names the commands whose files have this key; empty where there is none."""
    found = [name for name, command in _READ_FILES.items() if key in options_of(command)]
    return f" It is an option of {' and '.join(found)}: is it meant for another command?" if found else ""


def _read_options(config: Path, found: Mapping[str, Any], options: Mapping[str, Option]) -> Iterator[tuple[str, Any]]:
    """Raises: InterpError for a key that is no option, or a value of another kind."""
    where = repr(str(config))
    for key, value in found.items():
        if key not in options:
            section = " It is a section; options stand at the top, without one." if isinstance(value, dict) else ""
            raise InterpError(f"{where}: {unknown('option', key, options)}{owners(key)}{section}")
        yield key, _beside(config, key, options[key].accept(value, where))


def _beside(config: Path, key: str, value: Any) -> Any:
    """A name of a file as seen from the working directory; other values as they are."""
    if key not in FILES:
        return value
    path = Path(config.parent, value) if is_file_name(key, value) else value
    return Path(path) if key in ("dictionaries", "out") else str(path)
