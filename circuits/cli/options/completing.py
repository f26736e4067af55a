"""Names for the shell to complete: those that are written down in `names`, as the registries take seconds to load, and those that
installed packages offer, which are looked up and not loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from circuits.terms import names
from interp.option import Meaning
from interp.registries import offered

MOST: Final = 200


@dataclass(frozen=True)
class Names:
    """Built-in names, then those that installed packages offer in a group of entry points when they are asked for."""

    built_in: tuple[str, ...]
    group: str = ""

    def __iter__(self) -> Iterator[str]:
        more = (offer.name for offer in offered(self.group)) if self.group else ()
        return iter(dict.fromkeys((*self.built_in, *more)))

    def __format__(self, most: str) -> str:
        """The built-in names as --help says them, "a, b or c"; or the first so many."""
        if most:
            return ", ".join([*self.built_in[: int(most)], "..."])
        before = ", ".join(self.built_in[:-1])
        return f"{before} or {self.built_in[-1]}" if before else self.built_in[-1]


TASKS: Final = Names(names.TASKS, "interp.generators")
#: What the word `among` of an option stands for. Which formats of packages are read, and which written, is known when they are loaded.
NAMES: Final[Mapping[str, Names]] = {
    "ablations": Names(names.ABLATIONS, "interp.ablations"),
    "other ablations": Names((*names.ABLATIONS, "none"), "interp.ablations"),
    "ablations of known circuits": Names(names.KNOWN_ABLATIONS),
    "algorithms": Names(names.ALGORITHMS, "circuits.selections"),
    "architectures": Names(names.ARCHITECTURES),
    "bench parts": Names(names.BENCH_PARTS),
    "devices": Names(("cpu", "cuda")),
    "directions": Names(names.DIRECTIONS),
    "dtypes": Names(names.DTYPES),
    "formats read": Names(names.READ, "circuits.formats"),
    "formats written": Names(names.WRITTEN, "circuits.formats"),
    "key-values": Names(names.KEY_VALUES),
    "layer scores": Names(names.LAYER_SCORES, "interp.layer_scores"),
    "lenses": Names(names.LENSES),
    "statistics": Names(names.STATISTICS, "interp.statistics"),
    "levels": Names(("resid", *names.LEVELS)),
    "levels of discover": Names(names.LEVELS),
    "methods": Names(names.METHODS, "interp.methods"),
    "metrics": Names(names.METRICS, "interp.metrics"),
    "papers": Names(names.PAPERS),
    "positions": Names(names.POSITIONS),
    "presets": Names(names.PRESETS, "interp.presets"),
    "quadratures": Names(names.QUADRATURES),
    "rankings": Names(names.RANKINGS),
    "searches of depth": Names(names.DEPTH_SEARCHES),
    "token baselines": Names(names.TOKEN_BASELINES),
    "token features": Names(names.TOKEN_FEATURES),
    "token methods": Names(names.TOKEN_METHODS, "interp.token_methods"),
    "trained in": Names(names.TRAINED_IN),
    "units of depth": Names(names.DEPTH_UNITS),
}

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
    return among(sorted(str(path.parent) for path in Path("runs").glob("[!.]*/manifest.json"))[:MOST])(incomplete)


# ---------------------------------------------------------------- the names of an option

_FOUND: Final[Mapping[str, Completer]] = {
    "measured models": measured_models,
    "models": models,
    "runs": run_directories,
    "tasks": tasks,
    "texts": texts,
}


def worded(about: Meaning) -> str:
    """The help of an option with the names that may stand there."""
    return about.help.format(names=NAMES[about.among]) if "{names" in about.help else about.help


def completer(about: Meaning) -> Completer | None:
    """What completes an option. Raises: KeyError for a word that stands for nothing."""
    if not about.among or about.among in _FOUND:
        return _FOUND.get(about.among)
    return (several if about.several else among)(NAMES[about.among])
