"""evaluate, stability, truth: how good a circuit, a ranking or a method is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.cli.options.shared_options import (
    BatchSize,
    Device,
    Dictionaries,
    Dtype,
    Json,
    Limit,
    Quiet,
    Ranking,
    Seed,
    listed,
)

OfRun = "[default: that of the run]"


def evaluate(
    circuit: Annotated[
        Path, typer.Argument(help="a circuit.json, or a run directory", autocompletion=completing.run_directories)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help=f"'demo', a Hugging Face folder, or a hub id written hf:ORG/NAME {OfRun}",
            autocompletion=completing.models,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="a built-in task or a file of pairs [default: the held-out pairs of the run]",
            autocompletion=completing.tasks,
        ),
    ] = None,
    hold_out: Annotated[bool, typer.Option(help="leave out the pairs that the circuit was chosen by")] = True,
    scores: Annotated[Path | None, typer.Option(help=f"the scores.parquet that ranks all parts {OfRun}")] = None,
    ablation: Annotated[
        str | None,
        typer.Option(
            help=f"counterfactual, mean, zero or resample {OfRun}",
            autocompletion=completing.among(completing.ABLATIONS),
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help=f"logit_diff, normalized_logit_diff, log_prob, cross_entropy, kl_source, ... {OfRun}",
            autocompletion=completing.among(completing.METRICS),
        ),
    ] = None,
    ranking: Annotated[
        str | None,
        typer.Option(help=f"absolute or signed {OfRun}", autocompletion=completing.among(completing.RANKINGS)),
    ] = None,
    random: Annotated[int, typer.Option(help="random circuits per size of the curve")] = 20,
    tests: Annotated[int, typer.Option(help="random circuits for each of the tests of sufficient and necessary")] = 100,
    seed: Seed = 0,
    limit: Limit = None,
    dictionaries: Dictionaries = None,
    batch_size: BatchSize = None,
    dtype: Dtype = None,
    device: Device = None,
    out: Annotated[
        Path | None, typer.Option(help="also write the result to this file: a page where it ends in .html, else JSON")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace the file at --out")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a circuit by intervention. Faithfulness, completeness, tests, minimality, areas over size."""
    from circuits.console.phases import waiting

    with waiting(quiet):
        from circuits.jobs import judging

    request = judging.Request(
        circuit, model, task, hold_out, scores, ablation, metric, ranking, random, tests, seed, limit, batch_size, dtype,
        device, dictionaries,
    )  # fmt: skip
    judging.evaluate(request, out=out, force=force, json=json, quiet=quiet)


def stability(
    source: Annotated[
        Path, typer.Argument(help="a run directory, or a scores.parquet", autocompletion=completing.run_directories)
    ],
    n: Annotated[int | None, typer.Option("--n", help="size of the top [default: that of the run's circuit]")] = None,
    ranking: Ranking = "absolute",
    resamples: Annotated[int, typer.Option(help="how often the examples are drawn again")] = 1000,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """How often each part stays in the top on other draws of pairs. Runs no model."""
    from circuits.jobs import judging

    judging.stability(source, n, ranking, resamples, seed, json=json)


def truth(
    folder: Annotated[Path, typer.Argument(help="a compiled program with its known circuit, or a folder of them")],
    methods: Annotated[
        str | None,
        typer.Option(
            help="comma-separated methods [default: exact,eap,relp,relp-ah,eap-ig; with zero ablation exact]",
            autocompletion=completing.several(completing.METHODS),
        ),
    ] = None,
    ablation: Annotated[
        str,
        typer.Option(
            help="counterfactual or zero: each has its own known circuit",
            autocompletion=completing.among(completing.KNOWN_ABLATIONS),
        ),
    ] = "counterfactual",
    limit: Annotated[int | None, typer.Option(help="use the first so many pairs of a program [default: all]")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Judge methods by circuits that are known edge by edge. Exit code 3 where exact patching does not find one."""
    from circuits.jobs import judging

    names = listed(methods) if methods is not None else judging.default_methods(ablation)
    raise typer.Exit(0 if judging.truth(folder, names, ablation, limit, seed, json=json) else 3)
