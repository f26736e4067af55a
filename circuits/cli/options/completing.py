"""Names for the shell to complete: written down here, because the registries take seconds to load. A test compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from interp.option import About

METHODS: Final = (
    "auto",
    "atp-star",
    "atp",
    "relp",
    "relp-ah",
    "attnlrp",
    "cp-lrp",
    "gim",
    "atp-ig",
    "relp-ig",
    "atp-ig-sites",
    "relp-ig-sites",
    "random",
    "clean-corrupted",
    "eap-ig-activations",
    "eap",
    "eap-ig",
    "acdc",
    "ifr",
    "exact",
)
TASKS: Final = (
    "ioi",
    "greater-than",
    "gender",
    "sva",
    "induction",
    "capital",
)
LEVELS: Final = ("blocks", "heads", "neurons", "qkv", "edges", "features")
METRICS: Final = (
    "logit_diff",
    "normalized_logit_diff",
    "log_prob",
    "cross_entropy",
    "kl_source",
    "l2_source",
    "kl_base",
    "l2_base",
    "largest_change",
    "projection",
)
ABLATIONS: Final = ("counterfactual", "mean", "zero", "resample")
DIRECTIONS: Final = ("denoise", "noise")
RANKINGS: Final = ("absolute", "signed")
DTYPES: Final = ("float32", "float64", "bfloat16", "float16")
ALGORITHMS: Final = ("top", "greedy")
POSITIONS: Final = ("all", "each", "end", "spans")
KEY_VALUES: Final = ("shared", "split")
QUADRATURES: Final = ("midpoint", "gauss-legendre", "trapezoid", "left", "right")
PRESETS: Final = ("gradient", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim")
DEVICES: Final = ("cpu", "cuda")
BENCH_PARTS: Final = ("attribution", "exact", "peers")
#: Formats that are written, and those that are read.
WRITTEN: Final = ("svg", "png", "html", "eap-ig", "mib", "mib-circuits", "graphml", "dot", "parquet")
READ: Final = ("eap-ig", "mib", "mib-circuits", "graphml", "parquet")
#: Dictionaries that are trained, and in which numbers.
ARCHITECTURES: Final = (
    "topk",
    "batchtopk",
    "standard",
    "gated",
    "jumprelu",
    "matryoshka",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "batchtopk_transcoder",
)
TRAINED_IN: Final = ("float32", "float64")
#: Ablations that compiled programs have a known circuit for.
KNOWN_ABLATIONS: Final = ("counterfactual", "zero")
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


# ---------------------------------------------------------------- the names of an option

#: What the word `among` of an option stands for.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "ablations": ABLATIONS,
    "ablations of known circuits": KNOWN_ABLATIONS,
    "algorithms": ALGORITHMS,
    "architectures": ARCHITECTURES,
    "bench parts": BENCH_PARTS,
    "devices": DEVICES,
    "directions": DIRECTIONS,
    "dtypes": DTYPES,
    "formats read": READ,
    "formats written": WRITTEN,
    "key-values": KEY_VALUES,
    "levels": ("resid", *LEVELS),
    "levels of discover": LEVELS,
    "methods": METHODS,
    "metrics": METRICS,
    "positions": POSITIONS,
    "presets": PRESETS,
    "quadratures": QUADRATURES,
    "rankings": RANKINGS,
    "trained in": TRAINED_IN,
}
_FOUND: Final[Mapping[str, Completer]] = {
    "measured models": measured_models,
    "models": models,
    "runs": run_directories,
    "tasks": tasks,
    "texts": texts,
}


class _Listed(str):
    """Names in a sentence: all, or with `{names:5}` the first five."""

    def __new__(cls, names: tuple[str, ...]) -> _Listed:
        found = super().__new__(cls, f"{', '.join(names[:-1])} or {names[-1]}" if names else "")
        found.names = names
        return found

    names: tuple[str, ...]

    def __format__(self, most: str) -> str:
        return ", ".join([*self.names[: int(most)], "..."]) if most else str(self)


def worded(about: About) -> str:
    """The help of an option with the names that may stand there."""
    return about.help.format(names=_Listed(_NAMES.get(about.among, ()))) if "{names" in about.help else about.help


def completer(about: About) -> Completer | None:
    """What completes an option. Raises: KeyError for a word that stands for nothing."""
    if not about.among or about.among in _FOUND:
        return _FOUND.get(about.among)
    return (several if about.several else among)(_NAMES[about.among])
