"""export and import: pictures, pages, other projects' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.terms import names

Replace = Annotated[bool, typer.Option("--force", help="replace files that exist")]


def export(
    source: Annotated[
        Path,
        typer.Argument(
            help="a run directory, a circuit.json or a scores.parquet", autocompletion=completing.run_directories
        ),
    ],
    file: Annotated[
        Path | None, typer.Argument(help="the file to write, such as circuit.svg; a folder for mib and mib-circuits")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help=f"{completing.one_of(names.WRITTEN)} [default: told by the file's extension]",
            autocompletion=completing.among(completing.WRITTEN),
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the same as FILE")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="for formats that need its shape [default: the one that the source names]",
            autocompletion=completing.models,
        ),
    ] = None,
    force: Replace = False,
) -> None:
    """Write a run as a picture, a page, or for other projects."""
    from circuits.console import printing
    from circuits.interchange.strict import InterchangeError
    from circuits.jobs import exchange

    target = file or out
    if target is None or (file is not None and out is not None):
        raise InterchangeError("give the file to write once: after the source, or with --out.")
    printing.paths(exchange.export(source, to, target, force, model=model))


def import_(
    file: Annotated[Path, typer.Argument(help="a file or folder that another project wrote")],
    out: Annotated[Path, typer.Option(help="the folder to write scores.parquet and circuit.json in")],
    format: Annotated[
        str | None,
        typer.Option(
            help=f"{completing.one_of(names.READ)} [default: told by its extension]",
            autocompletion=completing.among(completing.READ),
        ),
    ] = None,
    force: Replace = False,
) -> None:
    """Read scores and circuit from a format of another project."""
    from circuits.console import printing
    from circuits.jobs import exchange

    written, notes = exchange.import_file(file, out, format=format, force=force)
    for note in notes:
        printing.say(f"not said in {file.name}: {note}")
    printing.paths(written)
