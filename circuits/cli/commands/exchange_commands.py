"""export and import: pictures, pages, other projects' formats."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.exchange_options import Export, Import


@command(Export)
def export(asked: Export) -> None:
    """Write a run as a picture, a page, or for other projects."""
    from circuits.console import printing
    from circuits.interchange.strict import InterchangeError
    from circuits.jobs import exchange

    target = asked.file or asked.out
    if target is None or (asked.file is not None and asked.out is not None):
        raise InterchangeError("give the file to write once: after the source, or with --out.")
    printing.paths(exchange.export(asked.source, asked.to, target, asked.force, model=asked.model))


@command(Import)
def import_(asked: Import) -> None:
    """Read scores and circuit from a format of another project."""
    from circuits.console import printing
    from circuits.jobs import exchange

    written, notes = exchange.import_file(asked.file, asked.out, format=asked.format, force=asked.force)
    for note in notes:
        printing.say(f"not said in {asked.file.name}: {note}")
    printing.paths(written)
