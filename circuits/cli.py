"""The command line: parse, call, write. Exit codes: 0 ok, 1 the run failed, 2 bad input, 3 a check failed, 130 interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from interp.errors import InterpError

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a language model and prompt pairs to a circuit that one can trust.",
)

Model = Annotated[str, typer.Option(help="'demo', a Hugging Face folder, or a hub id written hf:ORG/NAME")]
TaskName = Annotated[str, typer.Option(help="a built-in task (see: circuits tasks) or a .json, .jsonl or .csv file")]
Limit = Annotated[
    int | None, typer.Option(help="use the first so many pairs [default: all of a file, 100 of a built-in task]")
]
Level = Annotated[str, typer.Option(help="blocks, heads, neurons (circuits), or qkv (a map)")]
Direction = Annotated[
    str | None, typer.Option(help="denoise (clean into corrupt) or noise [default: denoise for counterfactual]")
]
Ablation = Annotated[str, typer.Option(help="counterfactual, mean, zero or resample")]
MetricName = Annotated[
    str, typer.Option(help="logit_diff, normalized_logit_diff, log_prob, cross_entropy, kl_source, ...")
]
Steps = Annotated[int | None, typer.Option(help="integration steps of IG methods [default: 8]")]
Quadrature = Annotated[
    str | None, typer.Option(help="midpoint, gauss-legendre, trapezoid, left or right [default: midpoint]")
]
BatchSize = Annotated[int | None, typer.Option(help="prompts per batch [default: by memory]")]
Dtype = Annotated[str | None, typer.Option(help="float32, float64, bfloat16 or float16 [default: the checkpoint's]")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... [default: cpu]")]
Seed = Annotated[int, typer.Option(min=0, help="for generated prompts, splits and random circuits")]
Out = Annotated[Path | None, typer.Option(help="directory of the run [default: a new one under runs/]")]
Force = Annotated[bool, typer.Option(help="replace an existing run directory at --out")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on standard output")]
Quiet = Annotated[bool, typer.Option(help="say nothing while working")]
PairTexts = Annotated[tuple[str, str] | None, typer.Option(help="one pair instead of a task: CLEAN CORRUPT")]
Answer = Annotated[str | None, typer.Option(help="with --pair: the token right after the clean prompt, with its space")]
Wrong = Annotated[str | None, typer.Option(help="with --pair: the token right after the corrupt prompt")]


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option(help="show a traceback on errors")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads", min=1)] = None,
) -> None:
    _state["debug"] = debug
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


_state: dict[str, bool] = {"debug": False}


@app.command(name="discover")
def discover_command(
    model: Model = "demo",
    task: TaskName = "ioi",
    limit: Limit = None,
    method: Annotated[str, typer.Option(help="scoring method (see: circuits methods)")] = "relp",
    level: Level = "heads",
    direction: Direction = None,
    ablation: Ablation = "counterfactual",
    metric: MetricName = "logit_diff",
    n: Annotated[
        int | None,
        typer.Option(
            "--n", help="nodes in the circuit [default: the smallest number that is 90 % faithful on the scored pairs]"
        ),
    ] = None,
    ranking: Annotated[str, typer.Option(help="absolute (by size) or signed (by importance)")] = "absolute",
    steps: Steps = None,
    quadrature: Quadrature = None,
    random: Annotated[int, typer.Option(help="random circuits per size")] = 20,
    hold_out: Annotated[bool, typer.Option(help="evaluate on pairs that were not scored")] = True,
    batch_size: BatchSize = None,
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


@app.command()
def compare(
    model: Model = "demo",
    task: TaskName = "ioi",
    limit: Limit = None,
    methods: Annotated[str, typer.Option(help="comma-separated methods")] = "atp,relp,relp-ah,atp-ig,relp-ig",
    level: Annotated[str, typer.Option(help="resid, blocks, heads, qkv or neurons")] = "heads",
    positions: Annotated[
        str | None, typer.Option(help="all, each, end or spans [default: all; each for resid]")
    ] = None,
    direction: Direction = None,
    ablation: Ablation = "counterfactual",
    metric: MetricName = "logit_diff",
    steps: Steps = None,
    quadrature: Quadrature = None,
    batch_size: BatchSize = None,
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
    """Compare several methods with exact patching: a table per kind of node, and a report."""
    from circuits import jobs

    options = _options(locals())
    jobs.run("compare", options, methods=[m.strip() for m in methods.split(",")], json=json, quiet=quiet)


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """The options of a run, without those that only say how to print it."""
    return {k: v for k, v in values.items() if k not in ("jobs", "json", "quiet", "method", "methods")}


@app.command()
def report(directory: Annotated[Path, typer.Argument(help="a complete run directory")]) -> None:
    """Render report.html again from the files of a run."""
    from circuits import jobs

    typer.echo(str(jobs.render_again(directory)))


@app.command()
def models() -> None:
    """What --model takes, and the architectures that are tested."""
    from circuits import listings

    listings.models()


@app.command()
def tasks() -> None:
    """The built-in tasks."""
    from circuits import listings

    listings.tasks()


@app.command()
def methods() -> None:
    """The attribution methods: formula, cost, paper."""
    from circuits import listings

    listings.methods()


@app.command()
def sites(
    model: Model = "demo",
    rules: Annotated[str | None, typer.Option(help="also show the coverage of this preset")] = None,
) -> None:
    """The sites that a model has, those it lacks and why; with --rules, what each module does in the backward pass."""
    from circuits import listings

    listings.sites(model, rules)


@app.command()
def doctor() -> None:
    """Check the installed versions."""
    from circuits import listings

    raise typer.Exit(0 if listings.doctor() else 3)


@app.command()
def verify(model: Model = "demo", dtype: Dtype = None, device: Device = None) -> None:
    """Check parity, rules, padding and cleanliness on a model of yours. Exit code 3 where a check fails."""
    from circuits import listings

    raise typer.Exit(0 if listings.verify(model, dtype, device) else 3)


@app.command()
def bench(
    model: Annotated[str, typer.Option(help="as elsewhere, or 'gpt2-small-random'")] = "gpt2-small-random",
    methods: Annotated[str, typer.Option(help="comma-separated methods")] = "atp,relp,relp-ah",
    level: Level = "heads",
    batch: Annotated[int, typer.Option(help="prompts")] = 8,
    length: Annotated[int, typer.Option(help="tokens per prompt")] = 16,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts", min=1)] = 7,
    dtype: Dtype = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Cost of attribution as a ratio to two forwards and one backward of the plain model, and peak memory."""
    from circuits import listings

    listings.bench(model, [m.strip() for m in methods.split(",")], level, batch, length, repeats, dtype, device, json)


def main() -> None:
    """Entry point: every error of the input is one line on standard error and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(_guarded(lambda: app(standalone_mode=False)))


def _guarded(call: Callable[[], Any]) -> int:
    try:
        result = call()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except InterpError as error:
        return _fail(str(error), getattr(error, "exit_code", 2))
    except typer.Exit as error:
        return error.exit_code
    except Exception as error:
        if hasattr(error, "format_message"):
            return _fail(error.format_message(), 2)
        return _fail(f"failed: {type(error).__name__}: {error}. Run again with: circuits --debug ...", 1)


def _fail(message: str, code: int) -> int:
    if _state["debug"]:
        import traceback

        traceback.print_exc()
    from circuits.report.text import visible

    sys.stderr.write(f"circuits: {visible(' '.join(message.split()))}\n")
    return code
