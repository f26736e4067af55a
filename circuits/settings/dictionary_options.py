"""The options of sae train and sae eval, each written once; of training None stands for the file of options, or else for the default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from circuits.settings.run_options import ADAPTER, MODEL, DeviceOptions, LoadOptions, OutputOptions, PrintOptions
from interp.attribution.asking.request_options import SeedOptions
from interp.option import needed, option


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which text."""

    data: str | None = option(
        None,
        "a .txt, .json or .jsonl file, a dataset saved to disk, or demo [default: demo for model demo]",
        among="texts",
        file="model",
    )


@dataclass(frozen=True, kw_only=True)
class TextOptions(DataOptions):
    """Which text, in rows of how many tokens."""

    context: int | None = option(None, "tokens per row [default: the model's context, at most 512]")


@dataclass(frozen=True, kw_only=True)
class Training(PrintOptions, DeviceOptions, TextOptions):
    """What `circuits sae train` was given on the command line."""

    config: Path | None = option(
        None, "a TOML file with these options (batch_tokens = 4096, ...) and [[dictionaries]]", argument=True
    )
    model: str | None = option(None, f"{MODEL} [default: demo]", among="models", file="model")
    adapter: Path | None = option(None, ADAPTER, file="any")
    site: str | None = option(None, "such as resid_post.1, z.0, mlp_out.2; mlp_normed.2 for a transcoder")
    target: str | None = option(None, "what a transcoder makes up [default: mlp_out of mlp_normed]")
    architecture: str | None = option(None, "{names:7} [default: topk]", among="architectures")
    d_sae: int | None = option(None, "features of the dictionary; needed, here or in the file")
    k: int | None = option(None, "active features per token, of topk and its kin [default: 32]")
    lr: float | None = option(None, "learning rate [default: 0.004 with k, less beyond 1,024 features; else 0.001]")
    set_: list[str] | None = option(
        None, "KEY=VALUE: any other option of the architecture, such as l1_coefficient=5", typed="set"
    )
    tokens: int | None = option(None, "activations to train on [default: 2,000,000]")
    batch_tokens: int | None = option(None, "tokens per step [default: 2048]")
    buffer: str | None = option(
        None, "shuffled buffer: tokens, or bytes such as 256MiB [default: 131,072, or 256MiB if that is less]"
    )
    keep_bos: bool | None = option(None, "train on activations at BOS too")
    hold_out: float | None = option(None, "share of the documents to measure on [default: 0.05]")
    seed: int | None = option(None, "for weights, order and what is held out [default: 0]")
    dtype: str | None = option(None, "of the training: {names} [default: float32]", among="trained in")
    cache: Path | None = option(None, "folder to keep activations in, for further runs", file="any")
    out: Path | None = option(None, "folder of the run [default: a new one under runs/]", file="any")
    resume: bool = option(False, "go on with the run at --out")
    checkpoint_every: int | None = option(None, "steps between checkpoints [default: half a minute]")
    keep_checkpoint: bool | None = option(None, "keep the last checkpoint at the end")


@dataclass(frozen=True, kw_only=True)
class DictionaryJudgement(OutputOptions, TextOptions, SeedOptions, LoadOptions):
    """What `circuits sae eval` was given."""

    dictionary: str = field(
        metadata=needed(
            "a folder with a dictionary (sae-lens, sparsify, ...) or with several; hf:RELEASE/SAE_ID", argument=True
        )
    )
    model: str = option("demo", f"the model that it was trained on: {MODEL}", among="models", file="model")
    tokens: int = option(100_000, "evaluate on the first so many tokens")
    keep_bos: bool = option(False, "count activations at BOS too")
    hold_out: float = option(
        0.0,
        "only documents that training with this share and --seed set aside [default: 0, all documents]",
        shown=False,
    )
    pca: int = option(32, "principal components to compare with, beside as many as the L0; 0: none")
    probe: list[Path] | None = option(None, "a JSONL file of labelled texts (text, label 0 or 1); may be repeated")
    dashboards: int = option(20, "features to show in the report; 0: none", least=0)
    site: str | None = option(None, "where it belongs, over what its files say")
    target: str | None = option(None, "what a transcoder makes up, over what its files say")
    scaling_factor: float | None = option(None, "factor of the training inputs, where it is not stored")
    seed: int = option(0, "for generated text, what is held out, and features drawn", least=0)
