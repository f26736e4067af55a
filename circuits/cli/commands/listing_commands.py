"""models, tasks, methods, sites, doctor, verify, bench."""

from __future__ import annotations

from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.cli.options.commands_of_values import command
from circuits.settings.machine_options import Benchmark, SitesOptions
from circuits.settings.run_options import LoadOptions


def models() -> None:
    """What --model takes, and the architectures that are tested."""
    from circuits.jobs.machine import listings

    listings.models()


def tasks() -> None:
    """The built-in tasks."""
    from circuits.jobs.machine import listings

    listings.tasks()


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="one of them in full: formula, cost, paper, levels",
            autocompletion=completing.among(completing.NAMES["methods"]),
            show_default=False,
        ),
    ] = None,
) -> None:
    """The attribution methods. What they score, cost, paper; with a name one of them in full."""
    from circuits.jobs.machine import listings

    if name is None:
        listings.methods()
    else:
        listings.method(name)


@command(SitesOptions)
def sites(asked: SitesOptions) -> None:
    """The sites that a model has, and those it lacks. With --rules, what each module does in the backward pass."""
    from circuits.jobs.machine import listings

    listings.sites(asked.model, asked.rules, asked.adapter)


def doctor() -> None:
    """Check that the installed versions work together. Says what to do where they do not, with exit code 3."""
    from circuits.jobs.machine import listings

    raise typer.Exit(0 if listings.doctor() else 3)


@command(LoadOptions)
def verify(asked: LoadOptions) -> None:
    """Check that all holds on a model of yours. Parity, rules, padding and cleanliness; exit code 3 where a check fails."""
    from circuits.jobs.machine import listings

    raise typer.Exit(0 if listings.verify(asked) else 3)


@command(Benchmark)
def bench(asked: Benchmark) -> None:
    """What attribution and exact patching cost here. As ratios to the plain model, peers beside it."""
    from circuits.jobs.machine import bench

    bench.run(asked)
