"""What a look is given: the prompts, the corpus and the layers that its options name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from circuits.jobs.inputs import stored_task, task_of
from circuits.settings.looking_options import LayerOptions, SaidOptions, check_said, layers_of
from circuits.settings.run_options import PromptOptions
from interp.dictionaries.training.data.reading import check_there
from interp.errors import InterpError
from interp.model.model import HookedModel


def check_prompts(asked: Any) -> None:
    """What needs no model to be wrong in texts, the task and layers, of those that the options have. Raises: InterpError."""
    if isinstance(asked, SaidOptions):
        check_said(asked)
    if isinstance(asked, PromptOptions):
        stored_task(asked)
    if isinstance(asked, LayerOptions):
        layers_of(asked.layers)


def prompts_of(asked: Any, model: HookedModel) -> list[Any]:
    """Each prompt as what `model.run` takes: the texts that are said, or the clean prompts of the task. Raises: InterpError."""
    if asked.text:
        return list(asked.text)
    return [pair.clean for pair in task_of(asked, model).tokenize(model.tokenizer, model.outputs)]


def layers_in(asked: LayerOptions, model: HookedModel, layers: Sequence[int]) -> tuple[int, ...]:
    """Those of `layers` that are asked for. Raises: InterpError for one that the model has not."""
    wanted = layers_of(asked.layers)
    if wanted is None:
        return tuple(layers)
    if odd := [layer for layer in wanted if layer not in layers]:
        raise InterpError(
            f"--layers: model {model.name!r} has no layer {odd[0]}; expected {min(layers)} to {max(layers)}."
        )
    return wanted


def corpus_of(data: str | None, model: str) -> str:
    """The corpus that `--data` names, that of the embedded model without it. Raises: InterpError for none, and for a file that is not there."""
    found = data or ("demo" if model == "demo" else None)
    if found is None:
        raise InterpError("--data: none given; expected a .txt, .json or .jsonl file, or a dataset saved to disk.")
    check_there(found)
    return found
