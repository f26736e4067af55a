"""sae train: dictionaries of what is at a site, from text; sae eval is in `sae_eval_command`."""

from __future__ import annotations

import typer

from circuits.cli.commands import sae_eval_command
from circuits.cli.options.commands_of_values import command
from circuits.cli.options.configuration import reads_file
from circuits.cli.options.help_sections import Sectioned
from circuits.settings.dictionary_options import Training

app = typer.Typer(no_args_is_help=True, help="Train and evaluate dictionaries. Sparse autoencoders and transcoders.")
app.command(name="eval", cls=Sectioned)(sae_eval_command.evaluate)
reads_file("circuits sae train", Training)


@app.command(cls=Sectioned)
@command(Training)
def train(asked: Training) -> None:
    """Train dictionaries on a model's activations. Killed or interrupted, it goes on with --resume and ends the same."""
    from circuits.console.phases import waiting

    with waiting(asked.quiet):
        from circuits.cli.options.training_options import merged
        from circuits.jobs.dictionaries import dictionary_training
    dictionary_training.train(asked, merged(asked))
