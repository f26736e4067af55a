"""What a job is about, by the names that a command was given: model, task, dictionaries."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circuits.runs.model_files import weights_line
from circuits.settings.prepared import Say
from circuits.settings.run_options import PromptOptions
from circuits.terms.words import GIVEN
from interp.dictionaries.dictionary import Dictionary
from interp.errors import InterpError, TaskError
from interp.model.model import HookedModel
from interp.parts.nodes import FEATURES
from interp.parts.sites import Site
from interp.parts.texts import TokenWarning
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from interp.whole_numbers import count


def load_model(
    name: str,
    dtype: str | None,
    device: str | None,
    adapter: str | Path | None = None,
    similar_to: Sequence[str] | None = None,
) -> HookedModel:
    """A model for the command line: quiet, and by name only."""
    warnings.filterwarnings("ignore")
    from interp.model.inputs.similarity import similarity
    from interp.model.loading.load import load

    output = similarity(*similar_to) if similar_to else None
    return load(name, dtype=dtype, device=device, adapter=adapter, output=output)


def task_of(asked: PromptOptions, model: HookedModel) -> Task:
    """The task that the options name, or their one pair. Raises: TaskError."""
    from interp.tasks.find import task

    known = stored_task(asked) or asked.task
    return task(known, model, n=asked.limit, seed=asked.seed, length=asked.length, chat=asked.chat)


def task_for(positions: str, asked: PromptOptions, model: HookedModel, say: Say) -> Task:
    """The same for scores at these positions: `each` takes prompts of one length, and says so. Raises: TaskError."""
    from interp.tasks.find import alike

    if positions != "each" or asked.length is not None:
        return task_of(asked, model)
    known = stored_task(asked)
    found, said = alike(known or asked.task, model, n=asked.limit, seed=asked.seed, chat=asked.chat)
    if said:
        say(f"{'NOTE' if known is None else 'WARNING'}: {said}")
    return found


def stored_task(asked: PromptOptions) -> Task | None:
    """The same where no model is needed to have it: a file or one pair; None for a built-in task. Raises: TaskError."""
    from interp.tasks.find import stored

    if asked.limit is not None:
        count(asked.limit, "limit", TaskError, expected="one pair or more")
    if asked.pair is None:
        if asked.answer or asked.wrong:
            raise TaskError("--answer and --wrong belong to --pair CLEAN CORRUPT.")
        return stored(asked.task, asked.limit, asked.length)
    for name in ("limit", "length"):
        if getattr(asked, name) is not None:
            raise TaskError(f"--{name} belongs to a task; --pair is one pair.")
    if asked.pair[0] == asked.pair[1]:
        raise TaskError("--pair: CLEAN and CORRUPT are the same text; there is nothing to patch.")
    if not asked.answer:
        raise TaskError(
            "--pair needs --answer and --wrong: the token right after the clean prompt, and after the corrupt one (--wrong where the "
            "metric reads it)."
        )
    clean, corrupt = asked.pair
    pair = Pair(clean, corrupt, (asked.answer,), (asked.wrong,) if asked.wrong else (), where="--pair")
    return Task(GIVEN, (pair,), "one pair from the command line")


@contextmanager
def said_doubts(say: Say) -> Iterator[None]:
    """Say what the reading of prompts and answers as tokens had doubts about, each once: other warnings stay quiet here."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", TokenWarning)
        yield
    for message in dict.fromkeys(
        str(warning.message) for warning in seen if issubclass(warning.category, TokenWarning)
    ):
        say(f"WARNING: {message}")


def dictionaries_of(level: str, folder: object) -> dict[Site, Dictionary] | None:
    """The dictionaries in a folder, at level `features`. Raises: InterpError where they are missing or of no use."""
    if level != FEATURES:
        if folder is not None:
            raise InterpError(f"--dictionaries belongs to --level features; given with level {level!r}.")
        return None
    if folder is None:
        raise InterpError(
            "level 'features' needs dictionaries: give --dictionaries FOLDER (circuits sae train makes one)."
        )
    from interp.dictionaries.storage import load_dictionaries

    return load_dictionaries(str(folder))


def note_weights(manifest: Mapping[str, Any], say: Say) -> None:
    """Say what was done to the weights on the way from their files."""
    if line := weights_line(manifest):
        say(f"NOTE: weights {line}")


def note_models(model: HookedModel, dictionaries: Iterable[Dictionary], say: Say) -> None:
    """Say which dictionaries were trained here on another model: one of the same widths would give numbers about nothing.

    Other projects have names of their own for models, so theirs are not compared.
    """
    own = Path(model.name).name
    for d in dictionaries:
        named = str(d.details.get("model_name", ""))
        if "model_sha256" in d.details and Path(named).name != own:
            say(f"WARNING: the dictionary of {d.target} was trained on model {named!r}; it is used on {model.name!r}")
