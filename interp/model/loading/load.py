"""From a name, a folder or a live model to a `HookedModel`, without pickles, remote code or unasked network."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from interp.errors import LoadError
from interp.model.loading.pretrained import blamed, cause, failing, read_pretrained, read_tokenizer
from interp.model.model import HookedModel
from interp.model.modules.lock import settled

HUB: Final = "hf:"
#: The embedded model, found by its path: what trained it stands above the loading of models.
DEMO: Final = Path(__file__).parents[2] / "demo" / "model"
DTYPES: Final = ("float32", "float64", "bfloat16", "float16")


def load(x: Any, *, tokenizer: Any = None, dtype: str | None = None, device: str | None = None) -> HookedModel:
    """A `HookedModel` of `x`.

    x: `"demo"` (the embedded model), a local Hugging Face folder, a folder in TransformerLens layout (see
    `interp.model.loading.transformer_lens_files`), a hub id written `hf:ORG/NAME` (the only case that may touch the network), a `PreTrainedModel` in
    memory, or a `HookedModel`. A `TransformerBridge` or
    `HookedTransformer` of transformer-lens is refused: the first has replaced modules of its model, the second has
    converted the weights, so neither gives the numbers of the Hugging Face model.
    dtype, device: by name, for models loaded here; default the checkpoint's dtype and the CPU.

    Raises: LoadError where the model cannot be loaded safely; LayoutError where its architecture is not mapped.
    """
    if isinstance(x, HookedModel):
        return x
    with _quiet():
        if isinstance(x, (str, Path)):
            return _from_name(str(x), tokenizer, dtype, device)
        return _from_memory(x, tokenizer, dtype, device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars of other libraries, and without the warning that a notebook cannot draw them, while a model loads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        importlib.import_module("tqdm.auto")
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    shown, hub_hidden = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    _bars(logging.disable_progress_bar)
    try:
        yield
    finally:
        if shown:
            _bars(logging.enable_progress_bar)
        if hub_hidden:
            _bars(disable_progress_bars)


def _bars(switch: Callable[[], object]) -> None:
    """Where the environment has decided about bars, the switch only warns that it does nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        switch()


def _from_memory(x: Any, tokenizer: Any, dtype: str | None, device: str | None) -> HookedModel:
    if any(cls.__module__.split(".")[0] == "transformer_lens" for cls in type(x).__mro__):
        raise LoadError(
            f"a {type(x).__name__} of transformer-lens holds replaced modules or converted weights, so its numbers are "
            "not those of the Hugging Face model: pass that model itself (AutoModelForCausalLM.from_pretrained(...))."
        )
    if type(x).__module__.split(".")[0] == "peft":
        raise LoadError(
            f"a {type(x).__name__} of peft is a model inside adapters: merge them, model.merge_and_unload(), or give the model "
            "that is inside with its adapters on, model.get_base_model()."
        )
    from transformers import PreTrainedModel

    if not isinstance(x, PreTrainedModel):
        raise LoadError(
            f"{type(x).__name__} given; expected 'demo', a folder, 'hf:ORG/NAME' or a Hugging Face PreTrainedModel."
        )
    if dtype is not None or device is not None:
        raise LoadError(
            "dtype and device belong to models loaded by name; move a model in memory yourself (model.to(...))."
        )
    return HookedModel(x, tokenizer)


def _from_name(name: str, tokenizer: Any, dtype: str | None, device: str | None) -> HookedModel:
    dtype = None if dtype is None else str(dtype).removeprefix("torch.")
    if dtype is not None and dtype not in DTYPES:
        raise LoadError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    if name.startswith(HUB):
        source, local = name.removeprefix(HUB), False
    else:
        source, local = str(_folder(name)), True
    _check_device(device)
    with settled(torch.device("cpu")):
        with failing(f"model {name!r} cannot be loaded", lambda: blamed(source, local)):
            model = _read(source, local, dtype)
        try:
            model = model.to(device) if device else model
        except (RuntimeError, AssertionError) as error:
            raise LoadError(f"device {device!r} cannot be used: {cause(error)}") from error
        tokenizer = tokenizer or read_tokenizer(source, local)
    with failing(f"model {name!r} cannot be run", lambda: blamed(source, local)):
        return HookedModel(model.eval(), tokenizer, name=_short(name), folder=source if local else "")


def _check_device(device: str | None) -> None:
    """Raises: LoadError for a device that this machine does not have, before anything is read."""
    try:
        torch.empty(0, device=device or "cpu")
    except (RuntimeError, AssertionError) as error:
        raise LoadError(f"device {device!r} cannot be used: {cause(error)}") from error


def _read(source: str, local: bool, dtype: str | None) -> Any:
    """The model of a folder or hub id, as a `PreTrainedModel`."""
    if local and _transformer_lens_layout(Path(source)):
        from interp.model.loading.transformer_lens_files import load_reference

        return load_reference(source, dtype)
    return read_pretrained(source, local, dtype)


def _transformer_lens_layout(folder: Path) -> bool:
    """Whether a configuration is in TransformerLens words: sizes by its names, no class of Hugging Face."""
    try:
        keys = set(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False
    return "d_vocab" in keys and not keys & {"model_type", "architectures"}


def _folder(name: str) -> Path:
    """The folder of a local model; a name that is none is an error here, not a look-up on the network."""
    if name == "demo":
        return DEMO
    folder = Path(name)
    if not folder.is_dir():
        raise LoadError(
            f"model {name!r} is no folder. Expected 'demo', a Hugging Face folder, or a hub id written 'hf:ORG/NAME'."
        )
    if not (folder / "config.json").is_file():
        raise LoadError(f"folder {name!r} has no config.json; expected a Hugging Face model folder.")
    return folder


def _short(name: str) -> str:
    return name if name == "demo" or name.startswith(HUB) else Path(os.path.abspath(name)).name
