"""diff: two runs or circuits side by side."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.exchange_options import SideBySideOptions


@command(SideBySideOptions)
def diff(asked: SideBySideOptions) -> None:
    """Show two runs or circuits side by side. What differs, which parts they share, how scores and places compare; runs no model."""
    from circuits.jobs.side_by_side import diff as run

    run(asked)
