"""models, tasks, methods, sites, doctor, verify, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.cli.options.shared_options import Device, Dtype, Json, Model, Steps, listed
from circuits.terms import names
from interp.errors import InterpError


def models() -> None:
    """What --model takes, and the architectures that are tested."""
    from circuits.jobs import listings

    listings.models()


def tasks() -> None:
    """The built-in tasks."""
    from circuits.jobs import listings

    listings.tasks()


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="one of them in full: formula, cost, paper, levels",
            autocompletion=completing.among(completing.METHODS),
            show_default=False,
        ),
    ] = None,
) -> None:
    """The attribution methods. What they score, cost, paper; with a name one of them in full."""
    from circuits.jobs import listings

    if name is None:
        listings.methods()
    else:
        listings.method(name)


def sites(
    model: Model = "demo",
    rules: Annotated[
        str | None,
        typer.Option(
            help=f"also show the coverage of this preset: {completing.one_of(names.PRESETS)}",
            autocompletion=completing.among(completing.PRESETS),
        ),
    ] = None,
) -> None:
    """The sites that a model has, and those it lacks. With --rules, what each module does in the backward pass."""
    from circuits.jobs import listings

    listings.sites(model, rules)


def doctor() -> None:
    """Check that the installed versions work together. Says what to do where they do not, with exit code 3."""
    from circuits.jobs import listings

    raise typer.Exit(0 if listings.doctor() else 3)


def verify(model: Model = "demo", dtype: Dtype = None, device: Device = None) -> None:
    """Check that all holds on a model of yours. Parity, rules, padding and cleanliness; exit code 3 where a check fails."""
    from circuits.jobs import listings

    raise typer.Exit(0 if listings.verify(model, dtype, device) else 3)


def bench(
    model: Annotated[
        str,
        typer.Option(
            help="'gpt2-small-random', 'demo', a Hugging Face folder, or a hub id written hf:ORG/NAME",
            autocompletion=completing.measured_models,
        ),
    ] = "gpt2-small-random",
    parts: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(names.BENCH_PARTS)}; with --methods attribution alone [default: all]",
            autocompletion=completing.several(completing.BENCH_PARTS),
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="comma-separated methods [default: one or two per level]",
            autocompletion=completing.several(completing.METHODS),
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="level of the methods [default: several; heads with --methods]",
            autocompletion=completing.among(completing.LEVELS),
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="prompts [default: 8]; with --sae tokens [default: 4096]", min=1)
    ] = None,
    length: Annotated[int, typer.Option(help="tokens per prompt", min=2)] = 16,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts (sweeps take a third of them)", min=1)] = 7,
    steps: Steps = None,
    dtype: Dtype = None,
    device: Device = None,
    scale: Annotated[
        bool, typer.Option("--scale", help="time and memory of small random models against their size instead")
    ] = False,
    sae: Annotated[
        bool, typer.Option("--sae", help="training of dictionaries instead, beside sae-lens' own trainer")
    ] = False,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="with --sae: comma-separated architectures [default: all]",
            autocompletion=completing.several(completing.ARCHITECTURES),
        ),
    ] = None,
    d_in: Annotated[int | None, typer.Option(help="with --sae: width of the site [default: 768]", min=1)] = None,
    d_sae: Annotated[int | None, typer.Option(help="with --sae: features [default: 6144]", min=1)] = None,
    k: Annotated[int | None, typer.Option(help="with --sae: active features per token [default: 32]", min=1)] = None,
    out: Annotated[
        Path | None, typer.Option(help="also write the result as JSON to this file (with --scale a plot beside it)")
    ] = None,
    json: Json = False,
) -> None:
    """What attribution and exact patching cost here. As ratios to the plain model, peers beside it."""
    about_models = (model, parts, methods, level, length, steps, dtype, device)
    default = ("gpt2-small-random", None, None, None, 16, None, None, None)
    if sae:
        from circuits.bench.training_cost import Training
        from circuits.jobs.bench import bench_sae

        if scale or about_models != default:
            raise InterpError(
                "--sae runs no model; only --architecture, --d-in, --d-sae, --k, --batch, --repeats, --out and --json go with it."
            )
        size = Training(d_in or 768, d_sae or 6144, k or 32, batch or 4096, repeats)
        bench_sae(listed(architecture) if architecture else None, size, out=out, json=json)
        return
    if (architecture, d_in, d_sae, k) != (None, None, None, None):
        raise InterpError("--architecture, --d-in, --d-sae and --k are about dictionaries; expected --sae with them.")
    if scale:
        from circuits.jobs.bench import bench_scale

        if (*about_models, batch, repeats) != (*default, None, 7):
            raise InterpError("--scale has models and sizes of its own; only --out and --json go with it.")
        bench_scale(out, json)
        return
    from circuits.bench.workload import Size
    from circuits.jobs.bench import PARTS, wanted
    from circuits.jobs.bench import bench as measure

    chosen = listed(parts) if parts else ["attribution"] if methods or level else list(PARTS)
    what = wanted(listed(methods) if methods else None, level, steps)
    measure(model, chosen, what, Size(batch or 8, length, repeats), dtype=dtype, device=device, out=out, json=json)
