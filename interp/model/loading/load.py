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

from interp.errors import LayoutError, LoadError, some
from interp.model.inputs.similarity import Similarity
from interp.model.loading.adapters import adapter_settings, merge, read_adapter
from interp.model.loading.pretrained import blamed, cause, failing, read_pretrained
from interp.model.loading.processors import Beside
from interp.model.loading.source import ADAPTER, refuse_adapter
from interp.model.model import HookedModel
from interp.model.modules.lock import settled
from interp.model.nets.net import Net
from interp.model.origin import Dequantised, Origin
from interp.parts.outputs import Output, part_of_result

HUB: Final = "hf:"
#: The embedded model, found by its path: what trained it stands above the loading of models.
DEMO: Final = Path(__file__).parents[2] / "demo" / "model"
#: What is there for a model whose blocks are of no form that is known.
AS_NET: Final = 'In Python it may load without blocks, as a net of its modules: interp.load(model, output="logits").'
DTYPES: Final = ("float32", "float64", "bfloat16", "float16")


def load(
    x: Any,
    *,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    adapter: str | Path | None = None,
    processor: Any = None,
    output: Output | Similarity | Callable[[Any], Any] | str | None = None,
    inputs: Any = None,
) -> HookedModel:
    """A `HookedModel` of `x`.

    x: `"demo"` (the embedded model), a local Hugging Face folder, a folder in TransformerLens layout (see
    `interp.model.loading.transformer_lens_files`), a GGUF file (its tensors are unpacked, its tokeniser is built; `model.origin` says
    what was), a hub id written `hf:ORG/NAME` (the only case that may touch the network), a `PreTrainedModel` in
    memory, any other `nn.Module`, or a `HookedModel`. Of a folder or hub id the class is the one that its configuration names. A `TransformerBridge` or
    `HookedTransformer` of transformer-lens is refused: the first has replaced modules of its model, the second has
    converted the weights, so neither gives the numbers of the Hugging Face model.
    dtype, device: by name, for models loaded here; default the checkpoint's dtype and the CPU.
    tokenizer, processor: what makes inputs of text, and of images or sound; default those beside the weights, None where there
    are none.
    output: what of a forward is read, such as `interp.similarity("A text.")`; default its logits, or else embeddings. A function of what forward
    returns, which gives [batch output], or the name of a part of that (`"logits"`), makes of any module, also of one of transformers, a net without
    blocks (as every module is that is none of transformers): its sites are its modules by their paths, `module:features.4`.
    inputs: of a model of images or sound an example, to find its layout on; default one of the size that the configuration tells.
    adapter: a folder that peft saved, whose adapters are merged into the weights: in float32 or wider, then rounded to the dtype.

    Weights of the files that the class does not have are left out only where they are heads of other classes of the same type
    and the class is not causal; a LoadWarning says so, and `model.origin.left_out`.
    Raises: LoadError where the model cannot be loaded safely; LayoutError where its architecture is not mapped.
    """
    if adapter is not None and not isinstance(x, (str, Path)):
        raise LoadError(
            "adapter belongs to models loaded by name; merge one into a model in memory with peft (merge_and_unload)."
        )
    read = part_of_result(output) if isinstance(output, str) else output
    beside = Beside(tokenizer, processor, read, inputs)
    if isinstance(x, HookedModel):
        own = Beside(x.tokenizer, x.processor, read, x.probed if isinstance(x, Net) and inputs is None else inputs)
        return x if read is None else _hooked(x.hf, own, x.name, x.origin)
    with _quiet():
        if isinstance(x, (str, Path)):
            return _from_name(str(x), beside, dtype, device, None if adapter is None else Path(adapter))
        return _from_memory(x, beside, dtype, device)


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


def _from_memory(x: Any, beside: Beside, dtype: str | None, device: str | None) -> HookedModel:
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
    if not isinstance(x, torch.nn.Module):
        raise LoadError(
            f"{type(x).__name__} given; expected 'demo', a folder, a GGUF file, 'hf:ORG/NAME', a Hugging Face PreTrainedModel or another "
            "nn.Module."
        )
    if dtype is not None or device is not None:
        raise LoadError(
            "dtype and device belong to models loaded by name; move a model in memory yourself (model.to(...))."
        )
    return _hooked(x, beside)


def _from_name(name: str, beside: Beside, dtype: str | None, device: str | None, folder: Path | None) -> HookedModel:
    dtype = None if dtype is None else str(dtype).removeprefix("torch.")
    if dtype is not None and dtype not in DTYPES:
        raise LoadError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    local = not name.startswith(HUB)
    source = str(_place(name)) if local else name.removeprefix(HUB)
    _check_device(device)
    adapter = None if folder is None else read_adapter(folder)
    with settled(torch.device("cpu")):
        if local and Path(source).is_file():
            model, beside, found = _of_gguf(Path(source), beside, dtype)
            left: tuple[str, ...] = ()
        else:
            with failing(f"model {name!r} cannot be loaded", lambda: blamed(source, local)):
                (model, left), found = _read(source, local, dtype), None
            beside = beside.completed(source, local)
        if adapter is not None:
            own = model.dtype
            model = merge(model.to(torch.promote_types(own, torch.float32)), adapter, name).to(own)
        try:
            model = model.to(device) if device else model
        except (RuntimeError, AssertionError) as error:
            raise LoadError(f"device {device!r} cannot be used: {cause(error)}") from error
    origin = Origin(source if local else "", found, None if adapter is None else adapter.origin, left)
    with failing(f"model {name!r} cannot be run", lambda: "" if found else blamed(source, local)):
        return _hooked(model.eval(), beside, _short(name, folder), origin)


def _hooked(hf: Any, beside: Beside, name: str = "", origin: Origin | None = None) -> HookedModel:
    """A net without blocks where a function says what is read, or where it is no model of transformers; else a model with its layout."""
    from transformers import PreTrainedModel

    output = beside.output
    given: dict[str, Any] = {"name": name, "processor": beside.processor, "output": output, "inputs": beside.inputs}
    if not isinstance(hf, PreTrainedModel) or (callable(output) and not isinstance(output, (Output, Similarity))):
        return Net(hf, **given, origin=origin)
    try:
        return HookedModel(hf, beside.tokenizer, **given, origin=origin)
    except LayoutError as error:
        raise LayoutError(f"{error} {AS_NET}") from error


def _of_gguf(path: Path, beside: Beside, dtype: str | None) -> tuple[Any, Beside, Dequantised]:
    """The model and tokeniser of a GGUF file, and what was unpacked."""
    from interp.model.loading.gguf_files import dequantised, read_gguf
    from interp.model.loading.gguf_header import read_header
    from interp.model.loading.gguf_tokenizer import gguf_tokenizer

    header = read_header(path)
    tokenizer = beside.tokenizer or gguf_tokenizer(header)  # before the weights, which take longer
    return read_gguf(header, dtype), Beside(tokenizer, beside.processor, beside.output), dequantised(header)


def _check_device(device: str | None) -> None:
    """Raises: LoadError for a device that this machine does not have, before anything is read."""
    try:
        torch.empty(0, device=device or "cpu")
    except (RuntimeError, AssertionError) as error:
        raise LoadError(f"device {device!r} cannot be used: {cause(error)}") from error


def _read(source: str, local: bool, dtype: str | None) -> tuple[Any, tuple[str, ...]]:
    """The model of a folder or hub id, as a `PreTrainedModel`, and the weights of its files that are left out."""
    if local and _transformer_lens_layout(Path(source)):
        from interp.model.loading.transformer_lens_files import load_reference

        return load_reference(source, dtype), ()
    return read_pretrained(source, local, dtype)


def _transformer_lens_layout(folder: Path) -> bool:
    """Whether a configuration is in TransformerLens words: sizes by its names, no class of Hugging Face."""
    try:
        keys = set(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False
    return "d_vocab" in keys and not keys & {"model_type", "architectures"}


def _place(name: str) -> Path:
    """The folder or GGUF file of a local model; a name that is none is an error here, not a look-up on the network."""
    if name == "demo":
        return DEMO
    path = Path(name)
    if path.is_file():
        return path
    if not path.is_dir():
        raise LoadError(
            f"model {name!r} is no folder and no file. Expected 'demo', a Hugging Face folder, a GGUF file, or a hub id written "
            "'hf:ORG/NAME'."
        )
    if not (path / "config.json").is_file():
        _check_other(path)
        raise LoadError(f"folder {name!r} has no config.json; expected a Hugging Face model folder.")
    return path


def _check_other(folder: Path) -> None:
    """Raises: LoadError for a folder that is no model and holds something that makes one, saying how."""
    if (folder / ADAPTER).is_file():
        refuse_adapter(str(folder), adapter_settings(folder))
    if files := sorted(path.name for path in folder.glob("*.gguf")):
        raise LoadError(
            f"folder {str(folder)!r} has no config.json, and GGUF files: {some(files)}. Give one file: {str(folder / files[0])!r}."
        )


def _short(name: str, adapter: Path | None) -> str:
    own = name if name == "demo" or name.startswith(HUB) else Path(os.path.abspath(name)).name
    return own if adapter is None else f"{own}+{Path(os.path.abspath(adapter)).name}"
