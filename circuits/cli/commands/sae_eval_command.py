"""sae eval: how good dictionaries are, and what their features look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import completing
from circuits.cli.options.shared_options import Device, Dtype, Force, Json, Out, Quiet, Texts


def evaluate(
    dictionary: Annotated[
        str,
        typer.Argument(help="a folder with a dictionary (sae-lens, sparsify, ...) or with several; hf:RELEASE/SAE_ID"),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="the model that it was trained on: 'demo', a Hugging Face folder, or a hub id written hf:ORG/NAME",
            autocompletion=completing.models,
        ),
    ] = "demo",
    data: Texts = None,
    tokens: Annotated[int, typer.Option(help="evaluate on the first so many tokens")] = 100_000,
    context: Annotated[
        int | None, typer.Option(help="tokens per row [default: the model's context, at most 512]")
    ] = None,
    keep_bos: Annotated[bool, typer.Option("--keep-bos", help="count activations at BOS too")] = False,
    hold_out: Annotated[
        float,
        typer.Option(
            help="only documents that training with this share and --seed set aside [default: 0, all documents]",
            show_default=False,
        ),
    ] = 0.0,
    pca: Annotated[
        int, typer.Option(help="principal components to compare with, beside as many as the L0; 0: none")
    ] = 32,
    probe: Annotated[
        list[Path] | None, typer.Option(help="a JSONL file of labelled texts (text, label 0 or 1); may be repeated")
    ] = None,
    dashboards: Annotated[int, typer.Option(help="features to show in the report; 0: none", min=0)] = 20,
    site: Annotated[str | None, typer.Option(help="where it belongs, over what its files say")] = None,
    target: Annotated[str | None, typer.Option(help="what a transcoder makes up, over what its files say")] = None,
    scaling_factor: Annotated[
        float | None, typer.Option(help="factor of the training inputs, where it is not stored")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="for generated text, what is held out, and features drawn")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate dictionaries on text. L0, explained variance, dead features, cross-entropy recovered, and a report."""
    given = dict(locals())
    from circuits.console.phases import waiting

    with waiting(quiet):
        from circuits.jobs import dictionary_evaluation

    for name in ("json", "quiet"):
        del given[name]
    dictionary_evaluation.evaluate(
        dictionary_evaluation.Request(**given | {"probe": tuple(probe or ())}), json=json, quiet=quiet
    )
