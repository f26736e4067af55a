"""The commands that look inside a model without a circuit: lens."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.looking_options import LensLook


@command(LensLook, file="circuits lens")
def lens(asked: LensLook) -> None:
    """What each layer already says. The stream of every layer read as tokens, and how far that is from the model's own answer."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs.looking import lens_look
    lens_look.run(asked)
