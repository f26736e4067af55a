"""The options that several commands share: their types and what --help says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing

Config = Annotated[
    Path | None, typer.Argument(help="a TOML file with these options (circuits init writes one)", show_default=False)
]
Model = Annotated[
    str,
    typer.Option(
        help="'demo', a Hugging Face folder, or a hub id written hf:ORG/NAME", autocompletion=completing.models
    ),
]
TaskName = Annotated[
    str,
    typer.Option(
        help="a built-in task (see: circuits tasks) or a .json, .jsonl or .csv file", autocompletion=completing.tasks
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        help="so many pairs: the first of a file, or of a built-in task [default: all of a file, 100 of a built-in task]"
    ),
]
Level = Annotated[
    str,
    typer.Option(
        help="blocks, heads, neurons, edges, features (circuits), or qkv (a map)",
        autocompletion=completing.among(completing.LEVELS),
    ),
]
Direction = Annotated[
    str | None,
    typer.Option(
        help="denoise (clean into corrupt) or noise [default: denoise for counterfactual]",
        autocompletion=completing.among(completing.DIRECTIONS),
    ),
]
Ablation = Annotated[
    str,
    typer.Option(help="counterfactual, mean, zero or resample", autocompletion=completing.among(completing.ABLATIONS)),
]
MetricName = Annotated[
    str,
    typer.Option(
        help="logit_diff, normalized_logit_diff, log_prob, cross_entropy, kl_source, ...",
        autocompletion=completing.among(completing.METRICS),
    ),
]
Steps = Annotated[int | None, typer.Option(help="integration steps of IG methods [default: 8]")]
Quadrature = Annotated[
    str | None,
    typer.Option(
        help="midpoint, gauss-legendre, trapezoid, left or right [default: midpoint]",
        autocompletion=completing.among(completing.QUADRATURES),
    ),
]
BatchSize = Annotated[int | None, typer.Option(help="prompts per batch [default: by memory]")]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        help="what scoring may take above the model, such as 2GiB; batches are made to fit [default: 1GiB per batch]"
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, float64, bfloat16 or float16 [default: the checkpoint's]",
        autocompletion=completing.among(completing.DTYPES),
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, ... [default: cpu]", autocompletion=completing.among(completing.DEVICES)),
]
Seed = Annotated[int, typer.Option(min=0, help="for generated prompts, splits and random circuits")]
Out = Annotated[Path | None, typer.Option(help="directory of the run [default: a new one under runs/]")]
Force = Annotated[bool, typer.Option("--force", help="replace an existing run directory at --out")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on standard output")]
Quiet = Annotated[bool, typer.Option("--quiet", help="say nothing while working")]
Texts = Annotated[
    str | None,
    typer.Option(
        help="a .txt, .json or .jsonl file, a dataset saved to disk, or demo [default: demo for model demo]",
        autocompletion=completing.texts,
    ),
]
PairTexts = Annotated[tuple[str, str] | None, typer.Option(help="one pair instead of a task: CLEAN CORRUPT")]
Answer = Annotated[str | None, typer.Option(help="with --pair: the token right after the clean prompt, with its space")]
Wrong = Annotated[str | None, typer.Option(help="with --pair: the token right after the corrupt prompt")]
KeyValue = Annotated[
    str | None,
    typer.Option(
        help="level edges: K/V readers shared by their group, or split [default: shared]",
        autocompletion=completing.among(completing.KEY_VALUES),
    ),
]
SplitPositions = Annotated[
    bool, typer.Option("--split-positions", help="level edges: the position embedding is a writer of its own")
]
Tau = Annotated[
    float | None,
    typer.Option(help="method acdc: the smallest change that keeps an edge [default: 1 % of the whole difference]"),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="method auto: seconds (60s) or forward equivalents (200F or 200) to spend after the presets; less than "
        "the fixed cost of its calls spends that [default: 100F]"
    ),
]
Chance = Annotated[
    float | None,
    typer.Option(
        help="method auto: the chance allowed, on average over draws, that a part outside belongs in the top n "
        "[default: 0.01]"
    ),
]
Dictionaries = Annotated[
    Path | None, typer.Option(help="level features: a dictionary's folder, or a folder of such folders")
]
Ranking = Annotated[
    str,
    typer.Option(
        help="absolute (by size) or signed (by importance)", autocompletion=completing.among(completing.RANKINGS)
    ),
]


def listed(names: str) -> list[str]:
    """Names given with commas between them."""
    return [name.strip() for name in names.split(",")]
