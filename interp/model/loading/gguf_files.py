"""A GGUF file as a Hugging Face model: every tensor unpacked, put where transformers has it, and none left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import LoadError, some
from interp.model.loading.fit import check_report
from interp.model.loading.gguf_header import GgufHeader
from interp.model.loading.gguf_keys import LIKE, ROTATION, check_config, read_keys
from interp.model.loading.pretrained import failing, no_report
from interp.model.loading.source import check_sizes
from interp.model.origin import Dequantised

#: The architectures whose conversion the tests go through both ways, by their name in the file. Of others that transformers converts
#: some come out wrong without a word: rows in another order, a rotary base that is left out.
CHECKED: Final = (
    "gemma", "gemma2", "gemma3", "gpt2", "llama", "olmo2", "phi3", "qwen2", "qwen3", "smollm3", "starcoder2",
)  # fmt: skip


def read_gguf(header: GgufHeader, dtype: str | None) -> Any:
    """The `PreTrainedModel` of a GGUF file, in evaluation mode, its weights in plain numbers.

    dtype: by name; default that of the file where all its tensors are of one plain type, else float32, which holds what
    comes out of the blocks as it is. Raises: LoadError for an architecture that is not converted, and where a tensor or key
    of the file would be left out.
    """
    if header.architecture not in CHECKED:
        raise LoadError(
            f"model {str(header.path)!r} is of the GGUF architecture {header.architecture!r}; converted here are "
            f"{', '.join(CHECKED)}. Of others the conversion is not checked: give the Hugging Face folder that the file was made of, or "
            "load it with transformers (gguf_file=...), compare its logits, and give that model in place of the file."
        )
    from transformers import AutoConfig, AutoModelForCausalLM

    with failing(f"model {str(header.path)!r} cannot be converted"):
        keys = read_keys(header)
        check_sizes(f"model {str(header.path)!r}", keys, {name: t.shape for name, t in header.tensors.items()})
        config = AutoConfig.for_model(**keys)
        check_config(header, config)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
        kind = getattr(torch, dtype or header.dtype)
        tensors = _tensors(header, empty, kind)
        check_report(str(header.path), empty, _shapes_apart(empty, tensors))  # before memory is taken for them
        with no_report():
            model, report = type(empty).from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                dtype=kind,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    check_report(str(header.path), model, report)
    return model


def dequantised(header: GgufHeader) -> Dequantised:
    """What is said of the file wherever numbers of its model are shown."""
    return Dequantised(header.path.name, header.file_type, header.kinds, header.packed)


def _shapes_apart(model: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The weights whose shapes are not those of the model, as transformers reports them."""
    wanted = model.state_dict()
    apart = [(name, t.shape, wanted[name].shape) for name, t in tensors.items() if t.shape != wanted[name].shape]
    return {"mismatched_keys": apart, "missing_keys": (), "unexpected_keys": ()}


def _tensors(header: GgufHeader, model: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of `model` by their names there. Raises: LoadError naming tensors that it has no place for."""
    import numpy as np
    from gguf import GGMLQuantizationType, dequantize
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    places = _places(header, model)
    if left := sorted(header.tensors.keys() - places.keys() - {ROTATION}):
        raise LoadError(
            f"model {str(header.path)!r} has tensors ({len(left)}) that a {type(model).__name__} has no place for: {some(left)}. Without "
            "them it computes something else: give the Hugging Face folder that the file was made of."
        )
    like = LIKE.get(header.architecture, header.architecture)
    order = TENSOR_PROCESSORS.get(like, TensorProcessor)(config=model.config.to_dict())
    blob = np.memmap(header.path, mode="r", dtype=np.uint8)
    found: dict[str, Tensor] = {}
    for name, tensor in ((name, t) for name, t in header.tensors.items() if name in places):
        packed = blob[tensor.start : tensor.end].reshape(*tensor.shape[:-1], -1)
        numbers = dequantize(packed, GGMLQuantizationType[tensor.kind])
        # llama.cpp keeps rows in another order, norms with 1 added, or maps the other way round.
        back = order.process(weights=numbers.reshape(tensor.shape), name=name, parsed_parameters={"tensors": {}})
        found[places[name]] = torch.from_numpy(np.array(back.weights)).to(dtype)
    return found


def _places(header: GgufHeader, model: Any) -> dict[str, str]:
    """The name of each weight of `model` by its name in such a file."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == header.architecture)
    names = get_tensor_name_map(kind, model.config.num_hidden_layers)
    places: dict[str, str] = {}
    for ours in model.state_dict():
        stem, _, last = ours.rpartition(".")
        if theirs := names.get_name(stem):
            places[f"{theirs}.{last}"] = ours
    return places
