"""An option by its name in a TOML file, and which options name files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from interp.errors import InterpError

#: Options that name files: in a TOML file they are relative to it.
FILES: Final = ("model", "task", "dictionaries", "out")
_WORDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list of two texts",
}


@dataclass(frozen=True)
class Option:
    """An option of a command. `kind`: bool, int, float, str, or tuple for two texts; `default` None: none was given."""

    name: str
    kind: type
    default: Any
    help: str
    least: float | None = None

    def accept(self, value: Any, where: str) -> Any:
        """The value as the command takes it. Raises: InterpError for one of another kind."""
        if self.kind is tuple:
            right = isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)
        else:
            taken: tuple[type, ...] = (int, float) if self.kind is float else (self.kind,)
            right = isinstance(value, taken) and (self.kind is bool) == isinstance(value, bool)
        if not right:
            raise InterpError(f"{where}: {self.name} = {value!r:.80}: expected {_WORDS[self.kind]}.")
        if self.least is not None and value < self.least:
            raise InterpError(f"{where}: {self.name} = {value!r}: expected {self.least:g} or more.")
        return tuple(value) if self.kind is tuple else float(value) if self.kind is float else value


def whole(key: str, value: Any) -> Any:
    """A value for a TOML file that is read from anywhere: names of files in full."""
    return str(Path(value).resolve()) if key in FILES and value is not None and is_file_name(key, value) else value


def is_file_name(key: str, value: Any) -> bool:
    """Whether a value of one of `FILES` names a file: models and tasks have other names too."""
    if key == "model":
        return value != "demo" and not str(value).startswith("hf:")
    return key != "task" or bool(Path(value).suffix)
