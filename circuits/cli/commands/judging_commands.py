"""evaluate, stability, truth: how good a circuit, a ranking or a method is."""

from __future__ import annotations

import typer

from circuits.cli.options.commands_of_values import command
from circuits.settings.judging_options import Judgement, KnownCircuits, Resampling


@command(Judgement)
def evaluate(asked: Judgement) -> None:
    """Judge a circuit by intervention. Faithfulness, completeness, tests, minimality, areas over size."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs import assessing
    assessing.evaluate(asked)


@command(Resampling)
def stability(asked: Resampling) -> None:
    """How far a ranking depends on the pairs. With --splits: whether a circuit is found again on others."""
    from circuits.jobs import judging

    judging.stability(asked)


@command(KnownCircuits)
def truth(asked: KnownCircuits) -> None:
    """Judge methods by circuits that are known edge by edge. Exit code 3 where exact patching does not find one."""
    from circuits.jobs import judging

    raise typer.Exit(0 if judging.truth(asked) else 3)
