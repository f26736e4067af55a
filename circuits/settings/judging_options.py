"""The options of evaluate, stability and truth, each written once; None stands for what the run says, or else for the default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from circuits.settings.run_options import (
    ADAPTER,
    MODEL,
    OTHER,
    JsonOptions,
    LimitOptions,
    MachineOptions,
    PrintOptions,
    RankingOptions,
    listed,
)
from interp.attribution.asking.request_options import DictionaryOptions, MemoryOptions, SeedOptions
from interp.option import needed, option

OF_RUN = "[default: that of the run]"


@dataclass(frozen=True, kw_only=True)
class Judgement(PrintOptions, MachineOptions, MemoryOptions, DictionaryOptions, LimitOptions, SeedOptions):
    """What `circuits evaluate` was given."""

    circuit: Path = field(metadata=needed("a circuit.json, or a run directory", argument=True, among="runs"))
    model: str | None = option(None, f"{MODEL} {OF_RUN}", among="models", file="model")
    adapter: Path | None = option(None, f"{ADAPTER} {OF_RUN}", file="any")
    task: str | None = option(
        None,
        "a built-in task or a file of pairs [default: the held-out pairs of the run]",
        among="tasks",
        file="task",
    )
    hold_out: bool = option(True, "leave out the pairs that the circuit was chosen by")
    scores: Path | None = option(None, f"the scores.parquet that ranks all parts {OF_RUN}", file="any")
    ablation: str | None = option(None, f"{{names}} {OF_RUN}", among="ablations")
    other_ablation: str | None = option(
        None, f"judge the circuit under this ablation too: {{names}} {OTHER}", among="other ablations"
    )
    metric: str | None = option(None, f"{{names:5}} {OF_RUN}", among="metrics")
    ranking: str | None = option(None, f"absolute or signed {OF_RUN}", among="rankings")
    n_random: int = option(
        20, "random circuits of the circuit's size, and at most 5 of each other size of the curve", typed="random"
    )
    n_tests: int = option(100, "random circuits for each of the tests of sufficient and necessary", typed="tests")
    max_forwards: float | None = option(None, "the most that it may cost, in plain forwards of the judged pairs")
    out: Path | None = option(
        None, "also write the result to this file: a page where it ends in .html, else JSON", file="any"
    )
    force: bool = option(False, "replace the file at --out")


@dataclass(frozen=True, kw_only=True)
class Resampling(JsonOptions, SeedOptions, RankingOptions):
    """What `circuits stability` was given."""

    source: Path = field(metadata=needed("a run directory, or a scores.parquet", argument=True, among="runs"))
    n: int | None = option(None, "size of the top [default: that of the run's circuit]")
    resamples: int = option(1000, "how often the examples are drawn again")
    splits: int | None = option(
        None,
        "instead of that, find the run's circuit again on so many other splits of its pairs, and compare; runs the model",
    )


@dataclass(frozen=True, kw_only=True)
class KnownCircuits(JsonOptions, SeedOptions):
    """What `circuits truth` was given."""

    folder: Path = field(
        metadata=needed("a compiled program with its known circuit, or a folder of them", argument=True)
    )
    methods: str | None = option(
        None,
        "comma-separated methods [default: exact,eap,relp,relp-ah,eap-ig; with zero ablation exact]",
        among="methods",
        several=True,
    )
    ablation: str = option(
        "counterfactual",
        "counterfactual or zero: each has its own known circuit",
        among="ablations of known circuits",
    )
    limit: int | None = option(None, "use the first so many pairs of a program [default: all]")

    @property
    def names(self) -> list[str]:
        """The methods: under zero ablation there is no run for approximations to look at."""
        usual = "exact" if self.ablation == "zero" else "exact,eap,relp,relp-ah,eap-ig"
        return listed(usual if self.methods is None else self.methods)
