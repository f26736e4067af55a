"""Activations on disk: a folder of safetensors shards, and an index written last.

A collection is a folder with `shard-00000.safetensors`, ... and `index.json`. Every shard holds, for the same tokens in
the order of the data, one tensor [token ...] per site, and `example`, `position`, `token` [token] as integers. Padding is
never stored. A folder without an index is an unfinished collection, and is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from interp.errors import InterpError, unknown
from interp.files import replacing, write_text
from interp.parts.sites import Site

FORMAT: Final = 1
INDEX: Final = "index.json"
WHERE: Final = ("example", "position", "token")
SHARD_BYTES: Final = 1 << 28
SHARD_NAME: Final = re.compile(r"shard-\d{5,}\.safetensors")


@dataclass(frozen=True)
class Shard:
    """One file of a collection: its name in the folder, how many tokens it holds, and its SHA-256."""

    file: str
    n_tokens: int
    sha256: str


@dataclass(frozen=True)
class Collected:
    """A finished collection on disk.

    sites: name -> shape of one token's value. Iterate over `shards()` for one file at a time, or `read` one key whole.
    """

    path: Path
    model: str
    sites: Mapping[str, tuple[int, ...]]
    dtype: str
    n_tokens: int
    n_examples: int
    files: tuple[Shard, ...]

    def __len__(self) -> int:
        return self.n_tokens

    def shards(self, *, verify: bool = True) -> Iterator[dict[str, Tensor]]:
        """The tensors of each shard, by key, one shard in memory at a time.

        verify: compare each file's SHA-256 with the index before it is read.
        Raises: InterpError for a file that is missing, changed, or has other keys or sizes than the index says.
        """
        from safetensors.torch import load_file

        for shard in self.files:
            path = self._checked(shard, verify)
            tensors = load_file(path)
            shapes = {**dict.fromkeys(WHERE, ()), **self.sites}
            wanted = {key: (shard.n_tokens, *shape) for key, shape in shapes.items()}
            if (found := {key: tuple(x.shape) for key, x in tensors.items()}) != wanted:
                raise InterpError(f"{path}: holds {found}; the index says {wanted}. Collect again.")
            yield tensors

    def read(self, key: str | Site) -> Tensor:
        """All tokens of one site (or of `example`, `position`, `token`) [token ...], in memory at once.

        Raises: InterpError for a key that was not collected, or a damaged file.
        """
        from safetensors import safe_open

        if str(key) not in (*self.sites, *WHERE):
            raise InterpError(unknown("key", str(key), (*self.sites, *WHERE)))
        parts = []
        for shard in self.files:
            with safe_open(self._checked(shard, True), framework="pt") as file:
                parts.append(file.get_tensor(str(key)))
        return torch.cat(parts)

    def _checked(self, shard: Shard, verify: bool) -> Path:
        path = self.path / shard.file
        if not path.is_file():
            raise InterpError(f"{path} is missing; the index names it. Collect again.")
        if verify and _sha256(path) != shard.sha256:
            raise InterpError(f"{path} is damaged: its SHA-256 is not the one in {INDEX}. Collect again.")
        return path


def load_collected(path: str | Path) -> Collected:
    """The collection in folder `path`. Raises: InterpError where there is none, or one of another version or shape."""
    file = Path(path) / INDEX
    if not file.is_file():
        raise InterpError(f"{Path(path)} has no {INDEX}: no collection, or one that was not finished. Collect again.")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise InterpError(f"{file}: format {data['format']!r}; this version reads format {FORMAT}.")
        shards = tuple(Shard(str(s["file"]), int(s["n_tokens"]), str(s["sha256"])) for s in data["shards"])
        sites = {str(name): tuple(int(n) for n in shape) for name, shape in data["sites"].items()}
        sizes = int(data["n_tokens"]), int(data["n_examples"])
        found = Collected(Path(path), str(data["model"]), sites, str(data["dtype"]), *sizes, shards)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InterpError(
            f"{file} is no index of a collection ({type(error).__name__}: {error}). Collect again."
        ) from error
    if odd := [s.file for s in shards if not SHARD_NAME.fullmatch(s.file)]:
        raise InterpError(f"{file} names {odd[0]!r}; expected shards in the same folder.")
    if sum(s.n_tokens for s in shards) != found.n_tokens:
        raise InterpError(f"{file}: shards of {sum(s.n_tokens for s in shards)} tokens, {found.n_tokens} said.")
    return found


def prepared(out: Path, force: bool) -> Path:
    """The folder to write to, emptied of an earlier collection under `force`."""
    if out.exists() and not out.is_dir():
        raise InterpError(f"{out} is a file; expected a folder, new or empty.")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not force:
        raise InterpError(f"{out} is not empty; give another folder, or force=True to replace the collection in it.")
    (out / INDEX).unlink(missing_ok=True)
    for path in out.iterdir():
        if SHARD_NAME.fullmatch(path.name):
            path.unlink()
    return out


@dataclass
class Writer:
    """Gathers the tensors of batches and writes a file whenever `shard_size` tokens are there."""

    out: Path
    shard_size: int | None
    n_examples: int = 0
    parts: list[dict[str, Tensor]] = field(default_factory=list)
    waiting: int = 0
    files: list[Shard] = field(default_factory=list)
    sites: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtype: str = ""

    def add(self, values: dict[str, Tensor], n_examples: int) -> None:
        """Take one batch; `values`: key -> [token ...]."""
        if self.shard_size is None:
            self.shard_size = _tokens_per_shard(values)
        self.sites = {key: tuple(x.shape[1:]) for key, x in values.items() if key not in WHERE}
        self.dtype = str(values[next(iter(self.sites))].dtype).removeprefix("torch.")
        self.parts.append(values)
        self.waiting += len(values["token"])
        self.n_examples += n_examples
        while self.waiting >= self.shard_size:
            self._write(self.shard_size)

    def finish(self, model: str) -> Collected:
        """Write what is left, then the index."""
        if self.waiting:
            self._write(self.waiting)
        n_tokens = sum(shard.n_tokens for shard in self.files)
        data = {
            "format": FORMAT,
            "model": model,
            "sites": self.sites,
            "dtype": self.dtype,
            "n_tokens": n_tokens,
            "n_examples": self.n_examples,
            "shards": [asdict(shard) for shard in self.files],
        }
        write_text(self.out / INDEX, json.dumps(data, indent=1) + "\n")
        return load_collected(self.out)

    def _write(self, n: int) -> None:
        """Write the first `n` waiting tokens as the next shard."""
        from safetensors.torch import save_file

        whole = {key: torch.cat([part[key] for part in self.parts]) for key in self.parts[0]}
        name = f"shard-{len(self.files):05d}.safetensors"
        with replacing(self.out / name) as temporary:
            save_file({key: x[:n].contiguous() for key, x in whole.items()}, temporary)
            digest = _sha256(temporary)
        self.files.append(Shard(name, n, digest))
        self.parts = [{key: x[n:].clone() for key, x in whole.items()}]
        self.waiting -= n


def _tokens_per_shard(values: Mapping[str, Tensor]) -> int:
    """How many tokens fit `SHARD_BYTES`."""
    per_token = sum(x[0].numel() * x.element_size() for x in values.values())
    return max(1, SHARD_BYTES // per_token)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
