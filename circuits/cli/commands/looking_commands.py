"""The commands that look inside a model without a circuit: lens, depth, neurons, statistics."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.looking_options import DepthLook, LensLook, NeuronsLook, StatisticsLook


@command(LensLook, file="circuits lens")
def lens(asked: LensLook) -> None:
    """What each layer already says. The stream of every layer read as tokens, and how far that is from the model's own answer."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs.looking import lens_look
    lens_look.run(asked)


@command(DepthLook, file="circuits depth")
def depth(asked: DepthLook) -> None:
    """What each layer is used for. How much each turns the stream of a text, and what is left of the model when some are left out."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs.looking import depth_look
    depth_look.run(asked)


@command(NeuronsLook, file="circuits neurons")
def neurons(asked: NeuronsLook) -> None:
    """Which neurons write the answer. Ranked by what each adds where it is read, and judged by zeroing the first of them beside random ones."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs.looking import neurons_look
    neurons_look.run(asked)


@command(StatisticsLook, file="circuits statistics")
def statistics(asked: StatisticsLook) -> None:
    """What is true of activations over a text. Moments, how few units are active, quantiles, position and context, in one pass."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs.looking import statistics_look
    statistics_look.run(asked)
