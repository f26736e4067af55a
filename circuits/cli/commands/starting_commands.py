"""init and open: before the first run, and after it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.settings.run_options import Discovery


def init(
    directory: Annotated[Path, typer.Argument(help="the folder to write in", show_default=False)] = Path(),
    force: Annotated[bool, typer.Option("--force", help="replace files that are there")] = False,
) -> None:
    """Write a file of options and one of prompts. circuits.toml has every option and what it means, prompts.jsonl is to put your own prompts in."""
    from circuits.cli.options.configuration import described
    from circuits.console import printing
    from circuits.jobs import starting

    written = starting.start(directory, described(Discovery, Discovery.command), force)
    printing.paths(written)
    printing.lines(f"next: put your prompts in, then run: {starting.next_command(written[0])}")


def open_(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="a run directory [default: the newest complete run under runs/]",
            autocompletion=completing.run_directories,
        ),
    ] = None,
) -> None:
    """Open the report of a run in your browser. Prints where it is, too."""
    from circuits.jobs import opening

    opening.open_report(directory)
