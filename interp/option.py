"""An option, written once: a field of a frozen value that says what it means, what may stand there, and what it is otherwise.

Signatures of functions, options of the command line, keys of its files of options and --help all come from these fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from interp.errors import InterpError

T = TypeVar("T")
#: What kind of file an option names: any; or a model or a task, which have other names too.
Files = Literal["", "any", "model", "task"]

#: What a field's annotation, without `| None`, is on the command line and in files of options.
_KINDS: Final[dict[str, type]] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "Path": Path,
    "list[str]": list,
    "list[Path]": list,
    "tuple[str, str]": tuple,
}
_WORDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "text",
    tuple: "a list of two texts",
    list: "a list of texts",
}


@dataclass(frozen=True)
class Meaning:
    """What is said of an option: what it means, and what users type where that is not its name or not of its own type.

    least: the smallest number. among: a word for the names that may stand there, which `{names}` in the text stands for, or the first
    so many with `{names:5}`; several: with commas between them. file: what kind of file it names. argument: it is given by its place.
    shown: --help says its default; where a text says it instead, not.
    """

    help: str
    typed: str = ""
    kind: type | None = None
    least: float | None = None
    among: str = ""
    several: bool = False
    file: Files = ""
    argument: bool = False
    shown: bool = True


def option(default: Any, help: str, **more: Any) -> Any:
    """A field that is an option: its default, what it means, and the rest of `Meaning`."""
    return field(default=default, metadata={"about": Meaning(help, **more)})


def needed(help: str, **more: Any) -> dict[str, Meaning]:
    """The metadata of an option that has to be given: `field(metadata=needed(...))`."""
    return {"about": Meaning(help, **more)}


@dataclass(frozen=True)
class Option:
    """An option as users type it. `kind`: bool, int, float, str, Path, list, or tuple for two texts; `default`: None where none was
    given; `field`: of the value that it goes into; `annotation`: the field's own."""

    name: str
    kind: type
    default: Any
    field: str
    annotation: str
    about: Meaning
    needed: bool = False

    @property
    def help(self) -> str:
        """What it means."""
        return self.about.help

    def accept(self, value: Any, where: str) -> Any:
        """The value as the command takes it. Raises: InterpError for one of another kind."""
        kind = str if self.kind is Path else self.kind
        if kind is tuple:
            right = isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)
        else:
            taken: tuple[type, ...] = (int, float) if kind is float else (kind,)
            right = isinstance(value, taken) and (kind is bool) == isinstance(value, bool)
        if not right:
            raise InterpError(f"{where}: {self.name} = {value!r:.80}: expected {_WORDS[kind]}.")
        if self.about.least is not None and value < self.about.least:
            raise InterpError(f"{where}: {self.name} = {value!r}: expected {self.about.least:g} or more.")
        return tuple(value) if kind is tuple else float(value) if kind is float else value

    def is_file(self, value: Any) -> bool:
        """Whether a value names a file or folder: models and tasks have other names too."""
        if value is None or not self.about.file:
            return False
        if self.about.file == "model":
            return value != "demo" and not str(value).startswith("hf:")
        return self.about.file == "any" or bool(Path(value).suffix)

    def whole(self, value: Any) -> Any:
        """The value for a TOML file that is read from anywhere: names of files in full."""
        return str(Path(value).resolve()) if self.is_file(value) else value


def options_of(value: type) -> dict[str, Option]:
    """The options among the fields of a frozen value, by what users type."""
    return {found.name: found for found in _options(value)}


def keys_of(value: type) -> dict[str, Option]:
    """Those of them that a file of options may hold: what is given by its place is not."""
    return {name: found for name, found in options_of(value).items() if not found.about.argument}


def _options(value: type) -> Iterator[Option]:
    for one in fields(value):
        if (about := one.metadata.get("about")) is not None:
            missing = one.default is MISSING
            default = None if missing else one.default
            kind = about.kind or _kind(one)
            yield Option(about.typed or one.name, kind, default, one.name, str(one.type), about, missing)


def _kind(one: Field[Any]) -> type:
    """Raises: TypeError for an annotation that users cannot type; the option then has to say its kind."""
    annotation = str(one.type).removesuffix(" | None")
    if annotation not in _KINDS:
        raise TypeError(f"option {one.name!r} is {annotation}: give option(..., kind=...), one of {', '.join(_KINDS)}.")
    return _KINDS[annotation]


def plain(value: Any) -> dict[str, Any]:
    """The options of a frozen value by what users type."""
    return {name: getattr(value, found.field) for name, found in options_of(type(value)).items()}


def taken(kind: type[T], source: Any, **changed: Any) -> T:
    """A value of `kind` with those of its fields that `source` has, and with what is `changed`."""
    names = [one.name for one in fields(kind) if one.name not in changed and hasattr(source, one.name)]  # type: ignore[arg-type]
    return kind(**{name: getattr(source, name) for name in names} | changed)


def keywords(source: Any, *kinds: type) -> dict[str, Any]:
    """What `source` has of the fields of these kinds of values, as keywords."""
    return {one.name: getattr(source, one.name) for kind in kinds for one in fields(kind)}
