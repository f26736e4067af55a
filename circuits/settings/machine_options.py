"""The options of sites and bench, each written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuits.settings.run_options import JsonOptions, MachineOptions, ModelOptions
from circuits.terms.names import BENCH_PARTS
from interp.attribution.asking.request_options import StepOptions
from interp.option import option


@dataclass(frozen=True, kw_only=True)
class SitesOptions(ModelOptions):
    """What `circuits sites` was given."""

    rules: str | None = option(None, "also show the coverage of this preset: {names}", among="presets")


@dataclass(frozen=True, kw_only=True)
class Benchmark(JsonOptions, MachineOptions, StepOptions):
    """What `circuits bench` was given."""

    model: str = option(
        "gpt2-small-random",
        "'gpt2-small-random', 'demo', a Hugging Face folder, a GGUF file, or a hub id written hf:ORG/NAME",
        among="measured models",
    )
    parts: str | None = option(
        None,
        f"{', '.join(BENCH_PARTS)}; with --methods attribution alone [default: all]",
        among="bench parts",
        several=True,
    )
    methods: str | None = option(
        None, "comma-separated methods [default: one or two per level]", among="methods", several=True
    )
    level: str | None = option(
        None, "level of the methods [default: several; heads with --methods]", among="levels of discover"
    )
    batch: int | None = option(None, "prompts [default: 8]; with --sae tokens [default: 4096]", least=1)
    length: int = option(16, "tokens per prompt", least=2)
    repeats: int = option(7, "rounds; the median counts (sweeps take a third of them)", least=1)
    scale: bool = option(False, "time and memory of small random models against their size instead")
    sae: bool = option(False, "training of dictionaries instead, beside sae-lens' own trainer")
    architecture: str | None = option(
        None, "with --sae: comma-separated architectures [default: all]", among="architectures", several=True
    )
    d_in: int | None = option(None, "with --sae: width of the site [default: 768]", least=1)
    d_sae: int | None = option(None, "with --sae: features [default: 6144]", least=1)
    k: int | None = option(None, "with --sae: active features per token [default: 32]", least=1)
    out: Path | None = option(
        None, "also write the result as JSON to this file (with --scale a plot beside it)", file="any"
    )
