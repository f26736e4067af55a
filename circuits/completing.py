"""Names for the shell to complete: written down here, because the registries take seconds to load. A test compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

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


def tasks(incomplete: str) -> list[str]:
    """Built-in tasks and task files of this folder."""
    files = sorted(str(path) for suffix in ("json", "jsonl", "csv") for path in Path().glob(f"*.{suffix}"))
    return among([*TASKS, *files[:MOST]])(incomplete)


def run_directories(incomplete: str) -> list[str]:
    """Run directories below runs/."""
    return among(sorted(str(path.parent) for path in Path("runs").glob("*/manifest.json"))[:MOST])(incomplete)
