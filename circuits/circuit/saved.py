"""Results as JSON files: nested frozen dataclasses to plain data and back, refused where a key or a type does not fit."""

from __future__ import annotations

import json
import types
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, Union, get_args, get_origin, get_type_hints

from circuits.circuit.circuit import CircuitError
from interp.errors import InterpError
from interp.files import write_text

FORMAT: Final = 1


class Saved:
    """A dataclass of numbers, names, tuples of them and further dataclasses, that is written to JSON and read back equal."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": FORMAT, **asdict(self)}  # type: ignore[call-overload]

    def save(self, path: str | Path) -> None:
        """Write JSON that `load` reads back to an equal value."""
        write_text(path, json.dumps(self.to_dict(), indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises: CircuitError for another file, format, key or type."""
        what = cls.__name__.lower()
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data.pop("format", None) != FORMAT:
                raise CircuitError(f"{path}: no {what} file of format {FORMAT}; expected what save() wrote.")
            return _rebuilt(cls, data)  # type: ignore[no-any-return]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, InterpError) as error:
            raise CircuitError(f"{what} file {str(path)!r} cannot be read: {error}.") from error


def _rebuilt(kind: Any, data: Any) -> Any:
    """`data` as a value of type `kind`. Raises: TypeError where it is none."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints, known = get_type_hints(kind), {f.name for f in fields(kind)}
        if not isinstance(data, dict) or not set(data) <= known:
            raise TypeError(f"expected the fields of {kind.__name__}, got {str(data)[:80]}")
        return kind(**{name: _rebuilt(hints[name], value) for name, value in data.items()})
    if get_origin(kind) in (Union, types.UnionType):
        options = [k for k in get_args(kind) if k is not type(None)]
        return None if data is None and len(options) < len(get_args(kind)) else _rebuilt(options[0], data)
    if get_origin(kind) is tuple:
        if not isinstance(data, list):
            raise TypeError(f"expected a list, got {str(data)[:80]}")
        return tuple(_rebuilt(get_args(kind)[0], item) for item in data)
    if get_origin(kind) is Literal:
        if data not in get_args(kind):
            raise TypeError(f"expected one of {', '.join(map(str, get_args(kind)))}, got {data!r}")
        return data
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise TypeError(f"expected {kind.__name__}, got {data!r}")
    return data
