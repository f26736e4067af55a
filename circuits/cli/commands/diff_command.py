"""diff: two runs or circuits side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.cli.options.shared_options import Json


def diff(
    a: Annotated[
        Path, typer.Argument(help="a run directory, or a circuit.json", autocompletion=completing.run_directories)
    ],
    b: Annotated[Path, typer.Argument(help="another", autocompletion=completing.run_directories)],
    out: Annotated[Path | None, typer.Option(help="also write both side by side to this HTML file")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace the file at --out")] = False,
    json: Json = False,
) -> None:
    """Show two runs or circuits side by side. What differs, which parts they share, how scores and places compare; runs no model."""
    from circuits.jobs.side_by_side import diff as run

    run(a, b, out=out, force=force, json=json)
