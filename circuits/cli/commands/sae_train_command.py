"""sae train: dictionaries of what is at a site, from text; sae eval is in `sae_eval_command`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.commands import sae_eval_command
from circuits.cli.options import completing
from circuits.cli.options.configuration import reads_file
from circuits.cli.options.help_sections import Sectioned
from circuits.cli.options.shared_options import Device, Json, Quiet, Texts
from circuits.terms import names

app = typer.Typer(no_args_is_help=True, help="Train and evaluate dictionaries. Sparse autoencoders and transcoders.")
app.command(name="eval", cls=Sectioned)(sae_eval_command.evaluate)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE: any other option of the architecture, such as l1_coefficient=5"),
]


@app.command(cls=Sectioned)
@reads_file("circuits sae train")
def train(
    config: Annotated[
        Path | None,
        typer.Argument(help="a TOML file with these options (batch_tokens = 4096, ...) and [[dictionaries]]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="'demo', a Hugging Face folder, or a hub id written hf:ORG/NAME [default: demo]",
            autocompletion=completing.models,
        ),
    ] = None,
    data: Texts = None,
    site: Annotated[
        str | None, typer.Option(help="such as resid_post.1, z.0, mlp_out.2; mlp_normed.2 for a transcoder")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="what a transcoder makes up [default: mlp_out of mlp_normed]")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="topk, batchtopk, standard, gated, jumprelu, matryoshka, transcoder, ... [default: topk]",
            autocompletion=completing.among(completing.ARCHITECTURES),
        ),
    ] = None,
    d_sae: Annotated[int | None, typer.Option(help="features of the dictionary; needed, here or in the file")] = None,
    k: Annotated[int | None, typer.Option(help="active features per token, of topk and its kin [default: 32]")] = None,
    lr: Annotated[
        float | None, typer.Option(help="learning rate [default: 0.004 with k, less beyond 1,024 features; else 0.001]")
    ] = None,
    set_: Set = None,
    tokens: Annotated[int | None, typer.Option(help="activations to train on [default: 2,000,000]")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="tokens per step [default: 2048]")] = None,
    buffer: Annotated[
        str | None,
        typer.Option(
            help="shuffled buffer: tokens, or bytes such as 256MiB [default: 131,072, or 256MiB if that is less]"
        ),
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="tokens per row [default: the model's context, at most 512]")
    ] = None,
    keep_bos: Annotated[bool | None, typer.Option("--keep-bos", help="train on activations at BOS too")] = None,
    hold_out: Annotated[float | None, typer.Option(help="share of the documents to measure on [default: 0.05]")] = None,
    seed: Annotated[int | None, typer.Option(help="for weights, order and what is held out [default: 0]")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help=f"of the training: {completing.one_of(names.TRAINED_IN)} [default: float32]",
            autocompletion=completing.among(completing.TRAINED_IN),
        ),
    ] = None,
    device: Device = None,
    cache: Annotated[Path | None, typer.Option(help="folder to keep activations in, for further runs")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the run [default: a new one under runs/]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run at --out")] = False,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="steps between checkpoints [default: half a minute]")
    ] = None,
    keep_checkpoint: Annotated[
        bool | None, typer.Option("--keep-checkpoint", help="keep the last checkpoint at the end")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train dictionaries on a model's activations. Killed or interrupted, it goes on with --resume and ends the same."""
    given = dict(locals())
    from circuits.console.phases import waiting

    with waiting(quiet):
        from circuits.cli.options.training_options import merged
        from circuits.jobs import dictionary_training

    for name in ("config", "set_", "out", "resume", "json", "quiet"):
        del given[name]
    asked = merged(train, config, given, set_ or [])
    dictionary_training.train(asked, out=out, resume=resume, json=json, quiet=quiet)
