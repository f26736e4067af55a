"""sae eval: how good dictionaries are, and what their features look like."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.dictionary_options import DictionaryJudgement


@command(DictionaryJudgement)
def evaluate(asked: DictionaryJudgement) -> None:
    """Evaluate dictionaries on text. L0, explained variance, dead features, cross-entropy recovered, and a report."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs.dictionaries import dictionary_evaluation
    dictionary_evaluation.evaluate(asked)
