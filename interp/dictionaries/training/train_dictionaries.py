"""`train_dictionary` and `train_dictionaries`: from a model and data to dictionaries, with a folder to go on from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.training.checkpoints import checkpoint, folder
from interp.dictionaries.training.checkpoints.identity import check_same
from interp.dictionaries.training.loop.loop import KEPT, Training
from interp.dictionaries.training.loop.outcome import details, record
from interp.dictionaries.training.loop.ready import checked, dtype_of
from interp.dictionaries.training.loop.settings import (
    BATCH_TOKENS,
    HELD_OUT_TOKENS,
    HOLD_OUT,
    TOKENS,
    Keeping,
    Settings,
    Wanted,
    check_specs,
    check_whole,
)
from interp.dictionaries.training.loop.status import Say
from interp.model.loading.load import load
from interp.parts.sites import SiteLike

DTYPE: Final = "float32"


class ResumeWarning(UserWarning):
    """A run goes on under other conditions than those it began with."""


def train_dictionary(
    model: Any,
    data: Any,
    *,
    site: SiteLike,
    d_sae: int,
    architecture: str = "topk",
    target: SiteLike | None = None,
    name: str = "",
    k: int | None = None,
    lr: float | None = None,
    tokens: int = TOKENS,
    batch_tokens: int = BATCH_TOKENS,
    buffer: int | str | None = None,
    context: int | None = None,
    keep_bos: bool = False,
    hold_out: float = HOLD_OUT,
    held_out_tokens: int = HELD_OUT_TOKENS,
    seed: int = 0,
    dtype: str = DTYPE,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    keep_checkpoint: bool = False,
    show_progress: bool | None = None,
    **options: Any,
) -> Dictionary:
    """Train one dictionary on activations of `data`; see `train_dictionaries`, which this is for one.

    site, d_sae, architecture, target, k, lr, options: what is trained; the options are those of the architecture (see
    `interp.dictionaries.training.steps.options`). target: what a transcoder makes up, by default `mlp_out` of `mlp_normed`.
    Raises: DictionaryError and other InterpErrors, before anything is written, for whatever does not fit.
    """
    given = {"k": k, "lr": lr, "target": target, "name": name or None}
    spec = {"site": site, "d_sae": d_sae, "architecture": architecture, **options}
    spec |= {key: value for key, value in given.items() if value is not None}
    settings = Settings(tokens, batch_tokens, buffer, context, keep_bos, hold_out, held_out_tokens, seed)
    keeping = Keeping.of(out, resume, checkpoint_every, keep_checkpoint)
    return _train(model, data, [spec], settings, dtype, cache, keeping, show_progress)[0]


def train_dictionaries(
    model: Any,
    data: Any,
    specs: Sequence[Mapping[str, Any]],
    *,
    tokens: int = TOKENS,
    batch_tokens: int = BATCH_TOKENS,
    buffer: int | str | None = None,
    context: int | None = None,
    keep_bos: bool = False,
    hold_out: float = HOLD_OUT,
    held_out_tokens: int = HELD_OUT_TOKENS,
    seed: int = 0,
    dtype: str = DTYPE,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    keep_checkpoint: bool = False,
    show_progress: bool | None = None,
    say: Say | None = None,
) -> list[Dictionary]:
    """Train several dictionaries (sites, architectures, sizes) on the same tokens, with one forward pass for all.

    data: a .txt, .json or .jsonl file, a folder of a dataset saved to disk, texts, rows of token ids, an iterable of these,
    or `"demo"`: text like that of the embedded model, without end. Data shorter than `tokens` are gone over again.
    specs: a mapping for each with `site`, `d_sae`, and `architecture`, `target`, `name`, `k`, `lr`, ... where wanted.
    tokens: activations to train on; `batch_tokens` of them in each step. Activations at BOS are left out unless `keep_bos`.
    buffer: size of the shuffled buffer, in tokens or as bytes ("256MiB"); its memory is that and no more. Default: 131,072
    tokens, or 256 MiB where that is less, but two batches and two rows at least. Beside it there are two chunks of
    activations (16,384 tokens each at most), the held-out ones, and in a checkpoint a copy of weights and moments.
    hold_out: share of the documents that are never trained on; measures on `held_out_tokens` of theirs are logged.
    cache: folder of a collection of activations, written by the first run and read by later ones.
    out: folder of the run, with checkpoints and at the end the dictionaries in sae-lens' format; `resume` goes on there.
    checkpoint_every: steps between checkpoints; by default half a minute, or more where writing them takes long.
    show_progress: a bar; by default on a terminal. say: is told lines of where the run is, where there is no bar.

    On the CPU the same call gives the same bits with the same number of threads, killed and resumed or not.
    Raises: DictionaryError and other InterpErrors, before anything is written, for whatever does not fit.
    """
    settings = Settings(tokens, batch_tokens, buffer, context, keep_bos, hold_out, held_out_tokens, seed)
    keeping = Keeping.of(out, resume, checkpoint_every, keep_checkpoint)
    return _train(model, data, specs, settings, dtype, cache, keeping, show_progress, say)


def check_training(specs: Sequence[Mapping[str, Any]], *, dtype: str = DTYPE, **options: Any) -> None:
    """What can be refused of a training without the model. options: those of `train_dictionaries`, which means each by the same name.

    Raises: DictionaryError.
    """
    dtype_of(dtype)
    own = {f.name for f in fields(Settings)}
    settings = Settings(**{key: value for key, value in options.items() if key in own})
    every = options.get("checkpoint_every")
    if every is not None:
        check_whole("checkpoint_every", every, 1)
    check_specs(specs, settings)


def _train(
    model: Any, data: Any, specs: Sequence[Mapping[str, Any]], settings: Settings, dtype: str, cache: str | Path | None,
    keeping: Keeping, show: bool | None, say: Say | None = None,
) -> list[Dictionary]:  # fmt: skip
    """Either of them, with what is kept of the run as one value. show: a bar."""
    place = keeping.out
    before = None if place is None else folder.check_out(place, keeping.resume)
    ready = checked(load(model), data, specs, settings, dtype, cache)
    if place is not None and before is not None:
        check_same(before["identity"], ready.identity)
        if before["status"] == folder.COMPLETE:
            if not keeping.keep_checkpoint:
                checkpoint.remove(place)
            return _loaded(place, ready.wanted)
    training = ready.training(cache)
    training.out, training.checkpoint_every = place, keeping.checkpoint_every
    if place is not None and before is not None:
        _go_on(training, place)
    return _trained(training, keeping.keep_checkpoint, show, say)


# ---------------------------------------------------------------- from beginning to end


def _go_on(training: Training, out: Path) -> None:
    """Put a run back to its last checkpoint; one without any begins again."""
    found = checkpoint.read(out, KEPT)
    if found is None:
        return
    state, files = found
    check_same(state["identity"], training.identity)
    now, then = _environment(training), state["environment"]
    if changed := [f"{key} {then.get(key)} -> {now[key]}" for key in now if now[key] != then.get(key)]:
        warnings.warn(
            f"resumed with {', '.join(changed)}: the weights may differ in their last bits.",
            ResumeWarning,
            stacklevel=4,
        )
    training.load(state, files)


def _environment(training: Training) -> dict[str, Any]:
    return folder.environment(torch.get_num_threads(), str(training.learners[0].device))


def _trained(training: Training, keep_checkpoint: bool, show: bool | None, say: Say | None) -> list[Dictionary]:
    out, now = training.out, _environment(training)
    training.environment = now
    if say is not None:
        begun = (
            f"going on after step {training.step:,} of {training.steps:,}" if training.step else "filling the buffer"
        )
        say(begun)
    if training.step == 0:
        training.prepare()  # reads data: what is wrong with them is said before anything is written
    if out is not None and not (out / folder.RECORD).exists():
        folder.begin(out, training.identity, now)
    training.run(show, say)
    found = training.dictionaries(details(training))
    if out is not None:
        folder.save_all(out, found)
        folder.write_record(out, record(training, now))
        if not keep_checkpoint:
            checkpoint.remove(out)
    return found


def _loaded(out: Path, asked: Sequence[Wanted]) -> list[Dictionary]:
    """The dictionaries of a run that is done."""
    from interp.dictionaries.storage import load_dictionary

    return [load_dictionary(path) for path in folder.places(out, [one.name for one in asked])]
