"""The header of a GGUF file, its keys and where its tensors lie: read here, within the file's size, before a library opens it.

GGUF, versions 2 and 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

from interp.errors import LoadError

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
#: Numbers in a header: type, and format of `struct`. Two types have no fixed size.
_NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9
_NEEDED: Final = ("gguf",)
#: Types of tensors that hold numbers as they are.
_PLAIN: Final = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: its shape in torch's order, its type by ggml's name, and the bytes of the file that it takes."""

    shape: tuple[int, ...]
    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class GgufHeader:
    """A whole GGUF file: its keys, and its tensors by their names there."""

    path: Path
    keys: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @property
    def architecture(self) -> str:
        return str(self.keys["general.architecture"])

    @property
    def own(self) -> dict[str, Any]:
        """The keys of the architecture, without its name."""
        start = f"{self.architecture}."
        return {key.removeprefix(start): value for key, value in self.keys.items() if key.startswith(start)}

    @property
    def kinds(self) -> dict[str, int]:
        """How many tensors are of each type, the commonest first."""
        return dict(Counter(tensor.kind for tensor in self.tensors.values()).most_common())

    @property
    def packed(self) -> int:
        """How many tensors are packed into blocks."""
        return sum(n for kind, n in self.kinds.items() if kind not in _PLAIN)

    @property
    def file_type(self) -> str:
        """What the file calls itself, such as Q4_K_M; '' where it does not."""
        from gguf import LlamaFileType

        known: dict[int, str] = {int(kind): kind.name.removeprefix("MOSTLY_") for kind in LlamaFileType}
        said = self.keys.get("general.file_type")
        return known.get(said, "") if isinstance(said, int) else ""

    @property
    def dtype(self) -> str:
        """The numbers that hold every tensor as it is: those of the file where all are of one kind, else float32."""
        kinds = set(self.kinds)
        return _PLAIN.get(next(iter(kinds)), "float32") if len(kinds) == 1 else "float32"


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_header(path: Path) -> GgufHeader:
    """The header. Raises: LoadError for a file that is no whole GGUF file, and where a package is missing that reads them."""
    if not is_gguf(path):
        raise LoadError(f"model {str(path)!r} is no GGUF file: it does not begin with the letters GGUF.")
    if lacking := [name for name in _NEEDED if find_spec(name) is None]:
        raise LoadError(
            f"model {str(path)!r} is a GGUF file; reading it needs {' and '.join(lacking)}: pip install 'relevance-circuits[gguf]'."
        )
    try:
        with path.open("rb") as file:
            return _Header(file, path).read()
    except OSError as error:
        raise LoadError(f"model {str(path)!r} cannot be read: {error.strerror or error}.") from error


class _Header:
    """Reads on, from the first byte to the last of the header; never further than the file goes."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path, self.size, self.at = file, path, path.stat().st_size, 0

    def read(self) -> GgufHeader:
        self._bytes(len(MAGIC))
        version = self._number("I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            raise self._odd(
                f"is GGUF of version {version}; expected {' or '.join(map(str, _VERSIONS))}"
                if not swapped
                else "has its bytes in big-endian order; convert it for machines of little-endian order"
            )
        n_tensors, n_keys = self._number("Q"), self._number("Q")
        keys = self._keys(n_keys)
        found = [self._tensor() for _ in range(self._counted(n_tensors, 24))]
        if "general.architecture" not in keys:
            raise self._odd("does not say its architecture (general.architecture)")
        if keys.get("split.count", 1) != 1:
            raise self._odd(
                f"is one part of {keys['split.count']}: join them first (llama-gguf-split --merge) and give the whole file"
            )
        step = keys.get("general.alignment", 32)
        if not isinstance(step, int) or step < 1:
            raise self._odd(f"has general.alignment {step!r}; expected a whole number above 0")
        begin = -(-self.at // step) * step
        return GgufHeader(self.path, keys, self._tensors(found, begin))

    def _keys(self, count: int) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        for _ in range(self._counted(count, 12)):
            key = self._string()
            if key in keys:
                raise self._odd(f"has the key {key!r} twice")
            keys[key] = self._value(self._number("I"))
        return keys

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise self._odd(f"is damaged: its header has a value of type {kind}")
        inner, count = self._number("I"), self._number("Q")
        if inner in _NUMBERS:
            code = f"<{self._counted(count, struct.calcsize(_NUMBERS[inner]))}{_NUMBERS[inner]}"
            return list(struct.unpack(code, self._bytes(struct.calcsize(code))))
        if inner != _STRING:
            raise self._odd(f"is damaged: its header has a list of type {inner}")
        return [self._string() for _ in range(self._counted(count, 8))]

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape, type, and where it begins behind the header."""
        name, rank = self._string(), self._number("I")
        shape = [self._number("Q") for _ in range(self._counted(rank, 8))]
        return name, tuple(reversed(shape)), self._number("I"), self._number("Q")

    def _tensors(self, found: list[tuple[str, tuple[int, ...], int, int]], begin: int) -> dict[str, GgufTensor]:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        known = {int(kind): kind for kind in GGMLQuantizationType}
        tensors: dict[str, GgufTensor] = {}
        for name, shape, number, offset in found:
            if number not in known:
                raise self._odd(f"has tensor {name} in type {number} of ggml, which the package gguf does not know")
            block, size = GGML_QUANT_SIZES[known[number]]
            start = begin + offset
            if name in tensors or (shape and shape[-1] % block):
                raise self._odd(f"is damaged: tensor {name} stands twice, or its rows are no whole blocks")
            tensors[name] = GgufTensor(shape, known[number].name, start, start + prod(shape) // block * size)
        last = max((tensor.end for tensor in tensors.values()), default=begin)
        if last > self.size:
            raise self._odd(
                f"is cut off: its tensors end at byte {last:,}, the file has {self.size:,}. Get the whole file again"
            )
        return tensors

    def _counted(self, count: int, each: int) -> int:
        """A number of things of at least `each` bytes, that the rest of the file has room for."""
        if count * each > self.size - self.at:
            raise self._odd(f"is cut off or damaged: its header names {count:,} things behind byte {self.at:,}")
        return count

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._bytes(struct.calcsize(f"<{code}")))[0]

    def _string(self) -> str:
        return self._bytes(self._counted(self._number("Q"), 1)).decode("utf-8", errors="replace")

    def _bytes(self, count: int) -> bytes:
        found = self.file.read(self._counted(count, 1))
        self.at += count
        return found

    def _odd(self, what: str) -> LoadError:
        return LoadError(f"model {str(self.path)!r} {what}.")
