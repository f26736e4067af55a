"""Results as JSON files: nested frozen dataclasses to plain data and back, refused where a key or a type does not fit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from circuits.circuit.circuit import CircuitError
from interp.files import write_text
from interp.formatting.guarded import read_json, reading
from interp.formatting.plain import rebuilt

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
        with reading(f"{what} file {str(path)!r}", CircuitError):
            data = read_json(path)
            if data.pop("format", None) != FORMAT:
                raise CircuitError(f"{path}: no {what} file of format {FORMAT}; expected what save() wrote.")
            return rebuilt(cls, data)  # type: ignore[no-any-return]
