"""discover, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.cli.options.commands_of_values import command
from circuits.settings.run_options import Comparison, Discovery


@command(Discovery, file="circuits discover")
def discover(asked: Discovery) -> None:
    """Find a circuit, check it, and write a report. The main job: every score is measured or compared with exact patching."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs import discovery
    discovery.run(asked)


@command(Comparison, file="circuits compare")
def compare(asked: Comparison) -> None:
    """Compare methods with exact patching, and write a report. A table per kind of node or edge."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs import discovery
    discovery.run(asked)


def report(
    directory: Annotated[
        Path, typer.Argument(help="a complete run directory", autocompletion=completing.run_directories)
    ],
) -> None:
    """Render report.html again from the files of a run."""
    from circuits.jobs import discovery

    typer.echo(str(discovery.render_again(directory)))
