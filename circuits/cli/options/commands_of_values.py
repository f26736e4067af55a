"""From a frozen value of options to a command that takes them one by one: nothing about an option is written twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import Parameter, Signature, get_annotations
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from circuits.cli.options import completing
from circuits.cli.options.configuration import configured, reads_file
from interp.option import Option, options_of

T = TypeVar("T")
_LISTS: Final[dict[str, Any]] = {"list[str]": list[str], "list[Path]": list[Path]}


def command(value: type[T], *, file: str = "") -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Make a function of a value of options a command of the command line.

    file: what a user types, such as `circuits discover`, where the command also takes a TOML file of these options.
    """

    def register(function: Callable[[T], None]) -> Callable[..., None]:
        options = options_of(value)

        @functools.wraps(function)
        def call(**given: Any) -> None:
            found = configured(given.pop("context"), value, given.pop("config"), given) if file else given
            function(value(**{options[name].field: chosen for name, chosen in found.items()}))

        parameters = [*(_of_file() if file else ()), *map(_parameter, _ordered(value, options))]
        call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        if file:
            reads_file(file, value)
        return call

    return register


def _ordered(value: type, options: Mapping[str, Option]) -> list[Option]:
    """Arguments first, then the options of this command, then those that it shares; each in the order of their fields."""
    places = {f.name: i for i, f in enumerate(fields(value))}
    own = get_annotations(value)
    return sorted(options.values(), key=lambda o: (not o.about.argument, o.field not in own, places[o.field]))


def _of_file() -> list[Parameter]:
    config = typer.Argument(help="a TOML file with these options (circuits init writes one)", show_default=False)
    return [
        Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context),
        Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, config]),
    ]


def _parameter(option: Option) -> Parameter:
    """What typer reads: type, default, name, help, completion."""
    found: Any = _LISTS.get(option.annotation.removesuffix(" | None"), option.kind)
    found = tuple[str, str] if option.kind is tuple else found
    annotation = found if option.needed or option.default is not None else found | None
    default = Parameter.empty if option.needed else option.default
    return Parameter(
        option.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, _typed(option)]
    )


def _typed(option: Option) -> Any:
    more: dict[str, Any] = {
        "help": completing.worded(option.about),
        "autocompletion": completing.completer(option.about),
    }
    if not option.about.shown:
        more["show_default"] = False
    if option.about.argument:
        return typer.Argument(**more)
    return typer.Option(*_flag(option), min=option.about.least, **more)


def _flag(option: Option) -> tuple[str, ...]:
    """The name with its dashes where typer's own would be another: of one letter, and of a switch that is off by default."""
    switch = option.kind is bool and option.default is not True
    return (f"--{option.name.replace('_', '-')}",) if switch or len(option.name) == 1 else ()
