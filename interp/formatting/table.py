"""`Table`: the base of values that are tables. They print short, show and draw themselves, and are files that give an equal value.

A file is parquet. Its columns are the rows as anybody's program reads them, and the arrays that have an entry for each row; its
header is JSON: the number of the format, the class, the version that wrote it, and every other field of the value. A class says
its rows, which arrays go along them (`along`), and how it prints; the pictures are registered in a display room.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np

import interp
from interp.errors import InterpError, TableError
from interp.formatting.parquet import header_of, read_columns, told, with_header, write_columns
from interp.formatting.plain import all_finite, as_array, described, kinds, plain, rebuilt, rebuilt_array
from interp.formatting.showing import card, figure

FORMAT: Final = 1
HEADER: Final = b"interp.table"
#: Numbers of a column that are written and read at once: a list that parquet reads counts its numbers in 31 bits.
_MOST: Final = 1 << 26
_ALONG: Final = "along"
_ANY: Final = "any number"


def along(*axes: int, finite: bool = True) -> dict[str, Any]:
    """Metadata of a field whose array has an entry for each row: the axes that count the rows, the slowest first.

    finite: whether its numbers must be, so that a file with others is refused.
    """
    return {_ALONG: axes, _ANY: not finite}


def rows_of(columns: Mapping[str, Any]) -> Any:
    """A pandas table of columns by name; text in it is such that a file can hold it."""
    import pandas as pd

    return pd.DataFrame({name: _holdable(values) for name, values in columns.items()})


def lines_of(names: Sequence[str], lines: Sequence[Sequence[Any]]) -> Any:
    """A pandas table of lines that each have an entry for every name."""
    return rows_of({name: [line[i] for line in lines] for i, name in enumerate(names)})


def check_sizes(value: Table, **sizes: tuple[Sequence[int], Sequence[int]]) -> None:
    """Refuse a value whose fields do not fit each other. sizes: of each field what it has and what it must have. Raises: `fault`."""
    for name, (has, wanted) in sizes.items():
        if tuple(has) != tuple(wanted):
            raise value.fault(f"{type(value).__name__}: {name} of size {list(has)}; expected {list(wanted)}.")


@dataclass(frozen=True, eq=False, repr=False)
class Table(ABC):
    """A value that is a table: frozen, printed short, shown, drawn, saved and loaded the same way whatever it holds.

    fault: the error that a file of it, damaged or of something else, raises.
    """

    fault: ClassVar[type[InterpError]] = TableError

    @abstractmethod
    def to_pandas(self) -> Any:
        """The rows as a pandas table."""

    @abstractmethod
    def __str__(self) -> str:
        """A few lines, in which text from outside is visible."""

    def __repr__(self) -> str:
        return str(self)

    def plot(self, **options: Any) -> Any:
        """A plotly figure."""
        return figure(self, **options)

    def _repr_html_(self) -> str:
        return str(card(self))

    # ------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write a parquet file that `load` reads back to an equal value. Raises: `fault` for a number that is not finite."""
        value, what = self._written(), f"{type(self).__name__} for {str(path)!r}"
        rows = [f for f in fields(value) if _ALONG in f.metadata]
        rest = {f.name: getattr(value, f.name) for f in fields(value) if f not in rows}
        try:
            header = {"format": FORMAT, "class": type(self).__name__, "version": interp.__version__}
            header |= {"fields": {name: _finite_plain(name, given) for name, given in rest.items()}}
            arrays = {f.name: _checked(f.name, as_array(getattr(value, f.name)), f.metadata[_ANY]) for f in rows}
        except (TypeError, ValueError) as error:
            raise self.fault(f"{what} cannot be written: {told(error)}.") from error
        header |= {"arrays": {n: {"dtype": a.dtype.name, "shape": list(a.shape)} for n, a in arrays.items()}}
        columns = _columns(value._rows(), {f.name: (arrays[f.name], f.metadata[_ALONG]) for f in rows})
        widest = max((a.size for a in arrays.values()), default=0) // max(1, len(columns))
        most = max(1, _MOST // (widest + 1))
        write_columns(with_header(columns, HEADER, header), path, row_group_size=most, write_page_checksum=True)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises: `fault` for a file of another class or format, an unknown or missing field, a damaged file."""
        import pyarrow as pa

        what = f"{cls.__name__} file {str(path)!r}"
        columns = read_columns(path, f"{what} cannot be read", cls.fault)
        header = header_of(columns, HEADER, what, FORMAT, cls.fault)
        if header.get("class") != cls.__name__:
            raise cls.fault(f"{what} holds {str(header.get('class'))!r:.60}; expected {cls.__name__!r}.")
        try:
            return cls(**_fields(cls, header["fields"]), **_arrays(cls, header["arrays"], columns))
        except (
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
            ArithmeticError,
            InterpError,
            pa.ArrowException,
        ) as error:
            raise cls.fault(f"{what} cannot be read: {told(error)}.") from error

    def _rows(self) -> Any:
        """The rows of the file as a pandas table: one for each entry of the arrays that go along them."""
        return self.to_pandas()

    def _written(self) -> Self:
        """The value whose fields are written: itself, unless one of them can only be written as something else."""
        return self


# ---------------------------------------------------------------- writing


def _finite_plain(name: str, value: Any) -> Any:
    data = plain(value)
    try:
        json.dumps(data, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{name!r} has a number that is not finite") from error
    return data


def _checked(name: str, array: np.ndarray, anything: bool) -> np.ndarray:
    try:
        return array if anything else all_finite(array)
    except ValueError as error:
        raise ValueError(f"{name!r} has {error}") from error


def _columns(rows: Any, arrays: Mapping[str, tuple[np.ndarray, Sequence[int]]]) -> Any:
    """A table of pyarrow: the rows, and of each array a list for each row."""
    import pyarrow as pa

    table = pa.Table.from_pandas(rows, preserve_index=False)
    for name, (array, axes) in arrays.items():
        each = np.moveaxis(array, axes, range(len(axes)))
        n = math.prod(each.shape[: len(axes)])
        width = math.prod(each.shape[len(axes) :])
        starts = pa.array(np.arange(n + 1, dtype=np.int64) * width)
        table = table.append_column(name, pa.LargeListArray.from_arrays(starts, pa.array(each.reshape(-1))))
    return table


def _holdable(values: Any) -> Any:
    """A column whose text, alone or in tuples, has no half of a surrogate pair, which no file can hold."""
    if hasattr(values, "dtype"):
        return values
    return [_without_halves(value) for value in values]


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return tuple(map(_without_halves, value)) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- reading


def _fields(cls: type[Table], given: Any) -> dict[str, Any]:
    """The fields that stand in the header. Raises: TypeError for an unknown or a missing one, or one of another type."""
    wanted = {f.name: f for f in fields(cls) if _ALONG not in f.metadata}
    if not isinstance(given, dict):
        raise TypeError("its fields are no object")
    if unknown := sorted(set(given) - set(wanted)):
        raise TypeError(f"the unknown key {unknown[0]!r:.60}; expected {', '.join(wanted)}")
    needed = [n for n, f in wanted.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in given]:
        raise TypeError(f"it has no {missing[0]!r}; expected {', '.join(wanted)}")
    found = {}
    for name, data in given.items():
        try:
            found[name] = rebuilt(kinds(cls)[name], data)
        except (TypeError, ValueError, ArithmeticError, InterpError) as error:
            raise TypeError(f"{name!r}: {told(error)}") from error
    return found


def _arrays(cls: type[Table], given: Any, columns: Any) -> dict[str, Any]:
    """The fields that stand in columns, one list for each row."""
    wanted = {f.name: f for f in fields(cls) if _ALONG in f.metadata}
    if not isinstance(given, dict) or set(given) != set(wanted):
        raise TypeError(f"it says of other arrays than {', '.join(wanted) or 'none'}")
    found = {}
    for name, field in wanted.items():
        dtype, shape = described(given[name])
        flat = _flat(name, columns, dtype)
        axes = field.metadata[_ALONG]
        if max(axes) >= len(shape) or len(flat) != math.prod(shape):
            raise TypeError(f"{name!r}: {len(flat)} numbers for an array of shape {list(shape)}")
        first = [shape[axis] for axis in axes]
        if math.prod(first) != len(columns):
            raise TypeError(f"{name!r}: {len(columns)} rows for an array of shape {list(shape)}")
        others = [size for axis, size in enumerate(shape) if axis not in axes]
        array = np.moveaxis(flat.reshape(*first, *others), range(len(axes)), axes)
        array = np.ascontiguousarray(_checked(name, array, field.metadata[_ANY]))
        found[name] = rebuilt_array(kinds(cls)[name], array)
    return found


def _flat(name: str, columns: Any, dtype: str) -> np.ndarray:
    """The numbers of a column of lists, row after row."""
    import pyarrow as pa

    column, kind = columns.column(name), pa.from_numpy_dtype(np.dtype(dtype))
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not lists or column.type.value_type != kind:
        raise TypeError(f"the column {name!r} is of type {column.type}; expected lists of {dtype}")
    parts = [chunk.flatten() for chunk in column.chunks]
    if column.null_count or any(part.null_count for part in parts):
        raise TypeError(f"the column {name!r} has gaps")
    sizes = np.concatenate([np.empty(0, dtype=np.int64), *(np.diff(chunk.offsets) for chunk in column.chunks)])
    if len(sizes) and not (sizes == sizes[0]).all():
        raise TypeError(f"the lists of the column {name!r} differ in length")
    return np.concatenate([np.empty(0, dtype=dtype), *(part.to_numpy(zero_copy_only=False) for part in parts)])
