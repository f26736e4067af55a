"""reproduce: the table of a paper on models of yours."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.reproduction_options import PaperOptions


@command(PaperOptions)
def reproduce(asked: PaperOptions) -> None:
    """Measure the table of a paper on any models. Printed figures beside it, with intervals, and what carries each number."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs import reproduction
    reproduction.run(asked)
