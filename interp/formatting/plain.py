"""Nested frozen dataclasses as plain data for JSON, and back: refused where a key, a type or a number does not fit.

A value is made by its own class and by nothing that the data names: types come from annotations, so that reading data executes
nothing from it.
"""

from __future__ import annotations

import json
import math
import types
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor, from_numpy

#: What the numbers of an array may be, and the Python types that stand for them in JSON.
NUMBERS: Final[dict[str, tuple[type, ...]]] = {
    "float64": (float, int),
    "float32": (float, int),
    "int64": (int,),
    "int32": (int,),
    "bool": (bool,),
}
_SHOWN: Final = 80
#: Whole numbers of a file are smaller than this.
LARGEST: Final = 2**63
#: In the metadata of a field: the dataclass that it is written and read as, where its annotation is none.
WRITTEN_AS: Final = "written as"


def plain(value: Any) -> Any:
    """A value as plain data, which `rebuilt` reads back. Raises: TypeError for what is neither a number, a text, nor made of such."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, Tensor)):
        array = as_array(value)
        return {"dtype": array.dtype.name, "shape": list(array.shape), "values": array.ravel().tolist()}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written to a file")


def as_array(value: Any) -> np.ndarray:
    """An array or tensor as an array of numbers that a file holds. Raises: TypeError for other numbers."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if array.dtype.name not in NUMBERS:
        raise TypeError(f"numbers of type {array.dtype}; expected {', '.join(NUMBERS)}")
    return np.asarray(array)


def rebuilt(kind: Any, data: Any) -> Any:
    """`data` as a value of type `kind`. Raises: TypeError or ValueError where it is none."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _value(kind, data)
    if get_origin(kind) in (Union, types.UnionType):
        return _either(get_args(kind), data)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), data)
    if get_origin(kind) is Mapping:
        return _mapping(get_args(kind), data)
    if get_origin(kind) is Literal:
        if data not in get_args(kind):
            raise TypeError(f"expected one of {', '.join(map(str, get_args(kind)))}, got {data!r:.{_SHOWN}}")
        return data
    if kind in (np.ndarray, Tensor):
        return rebuilt_array(kind, _array(data))
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise TypeError(f"expected {kind.__name__}, got {data!r:.{_SHOWN}}")
    if kind is int and abs(data) >= LARGEST:
        raise TypeError(f"a whole number of {data.bit_length()} bits; expected one of 63 at most")
    return data


def rebuilt_array(kind: Any, array: np.ndarray) -> Any:
    """An array as what a field holds: itself, or a tensor."""
    return from_numpy(array) if kind is Tensor else array


@cache
def kinds(owner: Any) -> dict[str, Any]:
    """The type that each field of a dataclass is written and read as."""
    hints = get_type_hints(owner)
    return {f.name: f.metadata.get(WRITTEN_AS, hints[f.name]) for f in fields(owner)}


def _value(kind: Any, data: Any) -> Any:
    hints = kinds(kind)
    if not isinstance(data, dict) or not set(data) <= set(hints):
        raise TypeError(f"expected the fields of {kind.__name__}, got {str(data)[:_SHOWN]}")
    return kind(**{name: rebuilt(hints[name], value) for name, value in data.items()})


def _either(options: tuple[Any, ...], data: Any) -> Any:
    """The first type that fits."""
    known = [kind for kind in options if kind is not types.NoneType]
    if data is None and len(known) < len(options):
        return None
    for kind in known[:-1]:
        try:
            return rebuilt(kind, data)
        except TypeError:
            continue
    return rebuilt(known[-1], data)


def _mapping(kinds: tuple[Any, ...], data: Any) -> dict[Any, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"expected an object, got {str(data)[:_SHOWN]}")
    return {rebuilt(kinds[0], name): rebuilt(kinds[1], value) for name, value in data.items()}


def _tuple(kinds: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise TypeError(f"expected a list, got {str(data)[:_SHOWN]}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(rebuilt(kinds[0], item) for item in data)
    if len(data) != len(kinds):
        raise TypeError(f"expected a list of {len(kinds)}, got {str(data)[:_SHOWN]}")
    return tuple(rebuilt(kind, item) for kind, item in zip(kinds, data, strict=True))


def _array(data: Any) -> np.ndarray:
    if not isinstance(data, Mapping) or set(data) != {"dtype", "shape", "values"}:
        raise TypeError(f"expected an array, got {str(data)[:_SHOWN]}")
    dtype, shape = described(data)
    values = data["values"]
    if not isinstance(values, list) or not all(type(v) in NUMBERS[dtype] for v in values):
        raise TypeError(f"expected numbers of type {dtype}, got {str(values)[:_SHOWN]}")
    if len(values) != math.prod(shape):
        raise TypeError(f"{len(values)} numbers for an array of shape {list(shape)}")
    return all_finite(np.array(values, dtype=dtype).reshape(shape))


class KeyTwice(ValueError):
    """JSON that gives a key twice: `key`, the first such."""

    def __init__(self, key: str) -> None:
        super().__init__("a key is given twice")
        self.key = key


class NotFinite(ValueError):
    """JSON with a number that is not finite, or too large to be: `number`, as it is written."""

    def __init__(self, number: str) -> None:
        super().__init__(f"the number {number[:40]} is not finite")
        self.number = number


def strict_json(text: str | bytes, *, infinite: bool = False) -> Any:
    """The value of JSON whose numbers are finite and whose keys are given once. `infinite`: NaN and Infinity may stand there by name.

    Raises: KeyTwice, NotFinite, another ValueError, RecursionError for other text.
    """
    named = float if infinite else _finite
    return json.loads(text, parse_constant=named, parse_float=_finite, object_pairs_hook=_once)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotFinite(text)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        given = Counter(name for name, _ in pairs)
        raise KeyTwice(next(name for name, times in given.items() if times > 1))
    return found


def all_finite(array: np.ndarray) -> np.ndarray:
    """The array itself. Raises: ValueError where a number of it is not finite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("a number that is not finite")
    return array


def described(data: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    """The type of number and the shape that data says of an array. Raises: TypeError for ones that no array has."""
    dtype, shape = data.get("dtype"), data.get("shape")
    if not isinstance(dtype, str) or dtype not in NUMBERS:
        raise TypeError(f"numbers of type {dtype!r:.{_SHOWN}}; expected {', '.join(NUMBERS)}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError(f"shape {str(shape)[:_SHOWN]}; expected sizes")
    return dtype, tuple(shape)
