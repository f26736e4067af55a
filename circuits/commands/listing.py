"""models, tasks, methods, sites, doctor, verify, bench."""

from __future__ import annotations

from typing import Annotated

import typer

from circuits.commands.options import (
    Device,
    Dtype,
    Json,
    Level,
    Model,
    Steps,
    listed,
)


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
    methods: Annotated[str, typer.Option(help="comma-separated methods")] = "atp,relp,relp-ah",
    level: Level = "heads",
    batch: Annotated[int, typer.Option(help="prompts")] = 8,
    length: Annotated[int, typer.Option(help="tokens per prompt")] = 16,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts", min=1)] = 7,
    steps: Steps = None,
    dtype: Dtype = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Cost of attribution as a ratio to two forwards and one backward of the plain model, and peak memory."""
    from circuits import listings

    listings.bench(model, listed(methods), level, batch, length, repeats, steps, dtype, device, json)
