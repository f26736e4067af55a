"""The options of reproduce, each written once."""

from __future__ import annotations

from dataclasses import dataclass, field

from circuits.settings.run_options import MODEL, MachineOptions, OutputOptions
from interp.attribution.asking.request_options import MemoryOptions, SeedOptions, StepOptions
from interp.option import needed, option


@dataclass(frozen=True, kw_only=True)
class PaperOptions(OutputOptions, MemoryOptions, SeedOptions, StepOptions, MachineOptions):
    """What `circuits reproduce` was given."""

    paper: str = field(metadata=needed("whose table: {names}", argument=True, among="papers"))
    models: list[str] | None = option(
        None, f"{MODEL}; again for each further model [default: demo]", typed="model", among="models", file="model"
    )
    methods: str | None = option(
        None, "comma-separated methods [default: the paper's, and some beside them]", among="methods", several=True
    )
    max_forwards: float | None = option(None, "the most that each model may cost, in plain forwards of its pairs")
    limit: int = option(20, "pairs of prompts")
    length: int | None = option(
        None, "prompts of so many tokens, special ones too [default: the commonest of the task's]"
    )
