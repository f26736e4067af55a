"""tokens: what each token of the prompts adds to the answer, and how good such numbers are."""

from __future__ import annotations

from circuits.cli.options.commands_of_values import command
from circuits.settings.token_options import TokenScoring


@command(TokenScoring)
def tokens(asked: TokenScoring) -> None:
    """What tokens add to the answer, by any method. With --evaluate: how good that is."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.jobs import token_scoring
    token_scoring.run(asked)
