"""Names for the shell to complete: those that are written down in `names`, as the registries take seconds to load, and those that
installed packages offer, which are looked up and not loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from circuits.terms import names
from circuits.terms.names import ARCHITECTURES as ARCHITECTURES
from circuits.terms.names import BENCH_PARTS as BENCH_PARTS
from circuits.terms.names import DIRECTIONS as DIRECTIONS
from circuits.terms.names import DTYPES as DTYPES
from circuits.terms.names import KEY_VALUES as KEY_VALUES
from circuits.terms.names import KNOWN_ABLATIONS as KNOWN_ABLATIONS
from circuits.terms.names import LEVELS as LEVELS
from circuits.terms.names import POSITIONS as POSITIONS
from circuits.terms.names import QUADRATURES as QUADRATURES
from circuits.terms.names import RANKINGS as RANKINGS
from circuits.terms.names import TRAINED_IN as TRAINED_IN
from interp.registries import offered


@dataclass(frozen=True)
class Names:
    """The built-in names of a registry, then those that installed packages offer in its group when they are asked for."""

    built_in: tuple[str, ...]
    group: str

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.built_in, *(offer.name for offer in offered(self.group)))))


METHODS: Final = Names(names.METHODS, "interp.methods")
METRICS: Final = Names(names.METRICS, "interp.metrics")
ABLATIONS: Final = Names(names.ABLATIONS, "interp.ablations")
PRESETS: Final = Names(names.PRESETS, "interp.rules")
TASKS: Final = Names(names.TASKS, "interp.tasks")
ALGORITHMS: Final = Names(names.ALGORITHMS, "circuits.selections")
#: Formats that are written, and those that are read; which of them a package's format can is known when it is loaded.
WRITTEN: Final = Names(names.WRITTEN, "circuits.formats")
READ: Final = Names(names.READ, "circuits.formats")
DEVICES: Final = ("cpu", "cuda")
MOST: Final = 200

Completer = Callable[[str], list[str]]


def among(names: Iterable[str]) -> Completer:
    """Completes one of these names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def several(names: Iterable[str]) -> Completer:
    """Completes the last of names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        used = before.split(",")
        return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in used]

    return complete


def one_of(names: tuple[str, ...]) -> str:
    """Names as --help says them: "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def models(incomplete: str) -> list[str]:
    """The embedded model, hub ids, and folders that hold a model, here and one level below."""
    folders = [path.parent for pattern in ("*/config.json", "*/*/config.json") for path in Path().glob(pattern)]
    return among(["demo", "hf:", *sorted(map(str, folders[:MOST]))])(incomplete)


def measured_models(incomplete: str) -> list[str]:
    """The same and the model of the benchmark, whose weights are random."""
    return [*among(["gpt2-small-random"])(incomplete), *models(incomplete)]


def tasks(incomplete: str) -> list[str]:
    """Built-in tasks and task files of this folder."""
    return among([*TASKS, *_files("json", "jsonl", "csv")])(incomplete)


def texts(incomplete: str) -> list[str]:
    """The embedded texts, and files of text of this folder."""
    return among(["demo", *_files("txt", "json", "jsonl")])(incomplete)


def _files(*endings: str) -> list[str]:
    return sorted(str(path) for ending in endings for path in Path().glob(f"*.{ending}"))[:MOST]


def run_directories(incomplete: str) -> list[str]:
    """Run directories below runs/."""
    return among(sorted(str(path.parent) for path in Path("runs").glob("*/manifest.json"))[:MOST])(incomplete)
