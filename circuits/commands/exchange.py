"""export and import: other projects' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Replace = Annotated[bool, typer.Option("--force", help="replace files that exist")]


def export(
    source: Annotated[Path, typer.Argument(help="a run directory, a circuit.json or a scores.parquet")],
    to: Annotated[str, typer.Option(help="eap-ig, mib, mib-circuits, graphml, dot or parquet")],
    out: Annotated[Path, typer.Option(help="the file to write; a folder for mib and mib-circuits")],
    model: Annotated[
        str | None, typer.Option(help="for formats that need its shape [default: the one that the source names]")
    ] = None,
    force: Replace = False,
) -> None:
    """Write scores and circuit in a format of another project."""
    from circuits import show
    from circuits.interchange import jobs

    show.paths(jobs.export(source, to, out, force, model=model))


def import_(
    file: Annotated[Path, typer.Argument(help="a file or folder that another project wrote")],
    out: Annotated[Path, typer.Option(help="the folder to write scores.parquet and circuit.json in")],
    format: Annotated[str | None, typer.Option(help="its format [default: told by its extension]")] = None,
    force: Replace = False,
) -> None:
    """Read scores and circuit from a format of another project."""
    from circuits import show
    from circuits.interchange import jobs

    written, notes = jobs.import_file(file, out, format=format, force=force)
    for note in notes:
        show.say(f"not said in {file.name}: {note}")
    show.paths(written)
