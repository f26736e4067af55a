"""discover, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from circuits.cli.options import completing
from circuits.cli.options.configuration import configured, reads_file
from circuits.cli.options.shared_options import (
    Ablation,
    Answer,
    BatchSize,
    Budget,
    Chance,
    Config,
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


@reads_file("circuits discover")
def discover(
    context: typer.Context,
    config: Config = None,
    model: Model = "demo",
    task: TaskName = "ioi",
    limit: Limit = None,
    method: Annotated[
        str,
        typer.Option(
            help="scoring method (see: circuits methods)", autocompletion=completing.among(completing.METHODS)
        ),
    ] = "auto",
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
    algorithm: Annotated[
        str,
        typer.Option(
            help="order to take them in: top, or at level edges greedy",
            autocompletion=completing.among(completing.ALGORITHMS),
        ),
    ] = "top",
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
    random: Annotated[int, typer.Option(help="random circuits to compare with, per size")] = 20,
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
    """Find a circuit, check it, and write a report. The main job: every score is measured or compared with exact patching."""
    from circuits.console.phases import waiting

    options = configured(context, discover, config, locals())
    with waiting(options["quiet"]):
        from circuits.jobs import discovery
    discovery.run(
        "discover", options, methods=[options.pop("method")], json=options.pop("json"), quiet=options.pop("quiet")
    )


@reads_file("circuits compare")
def compare(
    context: typer.Context,
    config: Config = None,
    model: Model = "demo",
    task: TaskName = "ioi",
    limit: Limit = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help=f"comma-separated methods [default: {DEFAULT_METHODS}; at level edges {DEFAULT_EDGE_METHODS}]",
            autocompletion=completing.several(completing.METHODS),
        ),
    ] = None,
    level: Annotated[
        str,
        typer.Option(
            help="resid, blocks, heads, qkv, neurons, edges or features",
            autocompletion=completing.among(("resid", *completing.LEVELS)),
        ),
    ] = "heads",
    positions: Annotated[
        str | None,
        typer.Option(
            help="all, each, end or spans [default: all; each for resid]",
            autocompletion=completing.among(completing.POSITIONS),
        ),
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
    """Compare methods with exact patching, and write a report. A table per kind of node or edge."""
    from circuits.console.phases import waiting

    options = configured(context, compare, config, locals())
    with waiting(options["quiet"]):
        from circuits.jobs import discovery
    default = DEFAULT_EDGE_METHODS if options["level"] == "edges" else DEFAULT_METHODS
    chosen = listed(default if (given := options.pop("methods")) is None else given)
    discovery.run("compare", options, methods=chosen, json=options.pop("json"), quiet=options.pop("quiet"))


def report(
    directory: Annotated[
        Path, typer.Argument(help="a complete run directory", autocompletion=completing.run_directories)
    ],
) -> None:
    """Render report.html again from the files of a run."""
    from circuits.jobs import discovery

    typer.echo(str(discovery.render_again(directory)))
