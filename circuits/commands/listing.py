"""models, tasks, methods, sites, doctor, verify, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.commands.options import (
    Device,
    Dtype,
    Json,
    Model,
    Steps,
    listed,
)
from interp.errors import InterpError


def models() -> None:
    """What --model takes, and the architectures that are tested."""
    from circuits import listings

    listings.models()


def tasks() -> None:
    """The built-in tasks."""
    from circuits import listings

    listings.tasks()


def methods() -> None:
    """The attribution methods: formula, cost, paper."""
    from circuits import listings

    listings.methods()


def sites(
    model: Model = "demo",
    rules: Annotated[str | None, typer.Option(help="also show the coverage of this preset")] = None,
) -> None:
    """The sites that a model has, those it lacks and why; with --rules, what each module does in the backward pass."""
    from circuits import listings

    listings.sites(model, rules)


def doctor() -> None:
    """Check the installed versions."""
    from circuits import listings

    raise typer.Exit(0 if listings.doctor() else 3)


def verify(model: Model = "demo", dtype: Dtype = None, device: Device = None) -> None:
    """Check parity, rules, padding and cleanliness on a model of yours. Exit code 3 where a check fails."""
    from circuits import listings

    raise typer.Exit(0 if listings.verify(model, dtype, device) else 3)


def bench(
    model: Annotated[str, typer.Option(help="as elsewhere, or 'gpt2-small-random'")] = "gpt2-small-random",
    parts: Annotated[
        str | None, typer.Option(help="attribution, exact, peers; with --methods attribution alone [default: all]")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="comma-separated methods [default: one or two per level]")] = None,
    level: Annotated[
        str | None, typer.Option(help="level of the methods [default: several; heads with --methods]")
    ] = None,
    batch: Annotated[int, typer.Option(help="prompts", min=1)] = 8,
    length: Annotated[int, typer.Option(help="tokens per prompt", min=2)] = 16,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts (sweeps take a third of them)", min=1)] = 7,
    steps: Steps = None,
    dtype: Dtype = None,
    device: Device = None,
    scale: Annotated[
        bool, typer.Option("--scale", help="time and memory of small random models against their size instead")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="also write the result as JSON to this file (with --scale a plot beside it)")
    ] = None,
    json: Json = False,
) -> None:
    """Cost of attribution and of exact patching on this machine, as ratios to the plain model; peers beside it."""
    if scale:
        from circuits.scale import command

        given = (model, parts, methods, level, batch, length, repeats, steps, dtype, device)
        if given != ("gpt2-small-random", None, None, None, 8, 16, 7, None, None, None):
            raise InterpError("--scale has models and sizes of its own; only --out and --json go with it.")
        command(out, json)
        return
    from circuits.bench import Size
    from circuits.bench.run import PARTS, wanted
    from circuits.bench.run import bench as measure

    chosen = listed(parts) if parts else ["attribution"] if methods or level else list(PARTS)
    what = wanted(listed(methods) if methods else None, level, steps)
    measure(model, chosen, what, Size(batch, length, repeats), dtype=dtype, device=device, out=out, json=json)
