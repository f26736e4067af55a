"""discover, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from circuits.commands.options import (
    Ablation,
    Answer,
    BatchSize,
    Budget,
    Chance,
    Device,
    Dictionaries,
    Direction,
    Dtype,
    Force,
    Json,
    KeyValue,
    Level,
    Limit,
    MaxMemory,
    MetricName,
    Model,
    Out,
    PairTexts,
    Quadrature,
    Quiet,
    Ranking,
    Seed,
    SplitPositions,
    Steps,
    TaskName,
    Tau,
    Wrong,
    listed,
)

DEFAULT_METHODS: Final = "atp,relp,relp-ah,atp-ig,relp-ig"
DEFAULT_EDGE_METHODS: Final = "eap,relp,relp-ah,eap-ig,relp-ig"


def discover(
    model: Model = "demo",
    task: TaskName = "ioi",
    limit: Limit = None,
    method: Annotated[str, typer.Option(help="scoring method (see: circuits methods)")] = "auto",
    level: Level = "heads",
    direction: Direction = None,
    ablation: Ablation = "counterfactual",
    metric: MetricName = "logit_diff",
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="nodes, edges or features in the circuit [default: the smallest number that is 90 % faithful on the scored pairs]",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="instead of --n: the smallest importance, in the metric's unit, of a part in it"),
    ] = None,
    ranking: Ranking = "absolute",
    algorithm: Annotated[str, typer.Option(help="order to take them in: top, or at level edges greedy")] = "top",
    prune: Annotated[
        bool, typer.Option("--prune", help="level edges: drop what is on no path from embedding to logits")
    ] = False,
    kv: KeyValue = None,
    split_positions: SplitPositions = False,
    dictionaries: Dictionaries = None,
    tau: Tau = None,
    budget: Budget = None,
    chance: Chance = None,
    steps: Steps = None,
    quadrature: Quadrature = None,
    random: Annotated[int, typer.Option(help="random circuits per size")] = 20,
    hold_out: Annotated[bool, typer.Option(help="evaluate on pairs that were not scored")] = True,
    batch_size: BatchSize = None,
    max_memory: MaxMemory = None,
    dtype: Dtype = None,
    device: Device = None,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    pair: PairTexts = None,
    answer: Answer = None,
    wrong: Wrong = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find a circuit, measure it, check it against exact patching, and write a report. The main job."""
    from circuits import jobs

    options = _options(locals())
    jobs.run("discover", options, methods=[method], json=json, quiet=quiet)


def compare(
    model: Model = "demo",
    task: TaskName = "ioi",
    limit: Limit = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help=f"comma-separated methods [default: {DEFAULT_METHODS}; at level edges {DEFAULT_EDGE_METHODS}]"
        ),
    ] = None,
    level: Annotated[str, typer.Option(help="resid, blocks, heads, qkv, neurons, edges or features")] = "heads",
    positions: Annotated[
        str | None, typer.Option(help="all, each, end or spans [default: all; each for resid]")
    ] = None,
    kv: KeyValue = None,
    split_positions: SplitPositions = False,
    dictionaries: Dictionaries = None,
    tau: Tau = None,
    budget: Budget = None,
    chance: Chance = None,
    direction: Direction = None,
    ablation: Ablation = "counterfactual",
    metric: MetricName = "logit_diff",
    steps: Steps = None,
    quadrature: Quadrature = None,
    batch_size: BatchSize = None,
    max_memory: MaxMemory = None,
    dtype: Dtype = None,
    device: Device = None,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    pair: PairTexts = None,
    answer: Answer = None,
    wrong: Wrong = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare several methods with exact patching: a table per kind of node or edge, and a report."""
    from circuits import jobs

    options = _options(locals())
    default = DEFAULT_EDGE_METHODS if level == "edges" else DEFAULT_METHODS
    jobs.run("compare", options, methods=listed(default if methods is None else methods), json=json, quiet=quiet)


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """The options of a run, without those that only say how to print it."""
    return {k: v for k, v in values.items() if k not in ("jobs", "json", "quiet", "method", "methods")}


def report(directory: Annotated[Path, typer.Argument(help="a complete run directory")]) -> None:
    """Render report.html again from the files of a run."""
    from circuits import jobs

    typer.echo(str(jobs.render_again(directory)))
