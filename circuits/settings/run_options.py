"""The options of discover and compare, each written here or in `interp.attribution.asking.request_options` once.

The command line's options, the keys of files of options, --help and the values that the jobs take come from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from interp.attribution.asking.request_options import (
    MemoryOptions,
    MethodOptions,
    PartOptions,
    PatchOptions,
    PositionOptions,
    SearchOptions,
    SeedOptions,
    TopOptions,
)
from interp.option import option

if TYPE_CHECKING:
    from interp.scores.scores import Ranking

MODEL: Final = "'demo', a Hugging Face folder, a GGUF file, or a hub id written hf:ORG/NAME"
ADAPTER: Final = "a folder of adapters that peft saved, merged into the model's weights"
#: What `compare` compares unless it is told.
DEFAULT_METHODS: Final = "atp,relp,relp-ah,atp-ig,relp-ig"
DEFAULT_EDGE_METHODS: Final = "eap,relp,relp-ah,eap-ig,relp-ig"
OTHER: Final = "[default: mean, or zero where the mean holds the answer]"


# ---------------------------------------------------------------- what several commands share


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where."""

    device: str | None = option(None, "cpu, cuda, cuda:1, ... [default: cpu]", among="devices")


@dataclass(frozen=True, kw_only=True)
class DtypeOptions:
    """In which numbers."""

    dtype: str | None = option(None, "{names} [default: the checkpoint's]", among="dtypes")


@dataclass(frozen=True, kw_only=True)
class MachineOptions(DeviceOptions, DtypeOptions):
    """In which numbers, and where."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model."""

    model: str = option("demo", MODEL, among="models", file="model")
    adapter: Path | None = option(None, ADAPTER, file="any")


@dataclass(frozen=True, kw_only=True)
class LoadOptions(MachineOptions, ModelOptions):
    """Which model, in which numbers, and where."""


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """How many pairs, of which length, and whether their prompts are asked as chats."""

    limit: int | None = option(
        None,
        "so many pairs: the first of a file, or of a built-in task [default: all of a file, 100 of a built-in task]",
    )
    length: int | None = option(
        None,
        "only prompts of so many tokens, special ones too [default: any; where each position is scored the commonest]",
    )
    chat: bool = option(
        False,
        "ask each prompt as one user message, by the tokenizer's chat template; answers get the leading space of the template, or none",
    )


@dataclass(frozen=True, kw_only=True)
class PromptOptions(LimitOptions, SeedOptions):
    """Which pairs of prompts: those of a task, or one pair."""

    task: str = option(
        "ioi", "a built-in task (see: circuits tasks) or a .json, .jsonl or .csv file", among="tasks", file="task"
    )
    pair: tuple[str, str] | None = option(None, "one pair instead of a task: CLEAN CORRUPT")
    answer: str | None = option(
        None,
        "with --pair: the token right after the clean prompt, with its space; with --metric log_prob also several tokens",
    )
    wrong: str | None = option(
        None, "with --pair: the token right after the corrupt prompt; not for metrics of the answer alone"
    )
    similar_to: list[str] | None = option(
        None, "of a sentence encoder: a text that others are compared with, which is an answer then; may be repeated"
    )


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """For whom the result is printed."""

    json: bool = option(False, "print the result as JSON on standard output")


@dataclass(frozen=True, kw_only=True)
class PrintOptions(JsonOptions):
    """What is printed."""

    quiet: bool = option(False, "say nothing while working")


@dataclass(frozen=True, kw_only=True)
class OutputOptions(PrintOptions):
    """What is printed, and where the run is written."""

    out: Path | None = option(None, "directory of the run [default: a new one under runs/]", file="any")
    force: bool = option(False, "replace an existing run directory at --out")


@dataclass(frozen=True, kw_only=True)
class RankingOptions:
    """What important means."""

    ranking: Ranking = option("absolute", "absolute (by size) or signed (by importance)", kind=str, among="rankings")


@dataclass(frozen=True, kw_only=True)
class CircuitOptions(RankingOptions, TopOptions):
    """Which circuit is made of the scores, and what it is compared with. `prune` and `greedy` belong to level `edges`."""

    n: int | None = option(
        None,
        "nodes, edges or features in the circuit [default: the smallest number that is 90 % faithful on the scored pairs]",
    )
    threshold: float | None = option(
        None, "instead of --n: the smallest importance, in the metric's unit, of a part in it"
    )
    algorithm: str = option("top", "order to take them in: top, or at level edges greedy", among="algorithms")
    prune: bool = option(False, "level edges: drop what is on no path from embedding to logits")
    n_random: int = option(
        20, "random circuits to compare with, of the circuit's size; at most 5 of each other", typed="random"
    )
    hold_out: bool = option(True, "evaluate on pairs that were not scored")
    other_ablation: str | None = option(
        None, f"judge the circuit under this ablation too: {{names}} {OTHER}", among="other ablations"
    )


# ---------------------------------------------------------------- the two commands


@dataclass(frozen=True, kw_only=True)
class ScoringRun(
    OutputOptions,
    MemoryOptions,
    SearchOptions,
    MethodOptions,
    PatchOptions,
    PartOptions,
    PromptOptions,
    LoadOptions,
):
    """What discover and compare share. `command`: which of them it is."""

    command: ClassVar[str] = ""
    max_forwards: float | None = option(
        None,
        "the most that the whole run may cost, in plain forwards of the scored pairs; method auto gets what the rest leaves",
    )
    level: str = option("heads", "resid, blocks, heads, qkv, neurons, edges or features", among="levels")
    metric: str = option("logit_diff", "{names:5}", among="metrics")

    @property
    def names(self) -> tuple[str, ...]:
        """The methods, in order."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Discovery(PositionOptions, CircuitOptions, ScoringRun):
    """What `circuits discover` was given."""

    command: ClassVar[str] = "discover"
    level: str = option(
        "heads", "blocks, heads, neurons, edges, features (circuits), or qkv (a map)", among="levels of discover"
    )
    method: str | None = option(
        None,
        "scoring method (see: circuits methods) [default: auto; at level edges exact where patching all is cheap, else portfolio]",
        among="methods",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The one method; none where it is left open."""
        return () if self.method is None else (self.method,)


@dataclass(frozen=True, kw_only=True)
class Comparison(PositionOptions, ScoringRun):
    """What `circuits compare` was given."""

    command: ClassVar[str] = "compare"
    methods: str | None = option(
        None,
        f"comma-separated methods [default: {DEFAULT_METHODS}; at level edges {DEFAULT_EDGE_METHODS}]",
        among="methods",
        several=True,
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Those that were named, or the usual ones of the level."""
        default = DEFAULT_EDGE_METHODS if self.level == "edges" else DEFAULT_METHODS
        return tuple(listed(default if self.methods is None else self.methods))


def listed(names: str) -> list[str]:
    """Names given with commas between them."""
    return [name.strip() for name in names.split(",")]
