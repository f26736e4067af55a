"""Tiny random models of every class in transformers' auto-mappings of causal, masked and sequence-to-sequence language models, of
images and of audio: which classes these are, and how one is made."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
import transformers
from torch import Tensor
from transformers.models.auto import modeling_auto

from tests.interp.model.tiny import randomise
from tests.whole.architectures.corrections import corrected
from tests.whole.architectures.inputs import inputs
from tests.whole.architectures.shrinking import ways

#: What is counted, and transformers' table of it, from a type of model to its class.
MAPPINGS: Final = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "sequence-to-sequence": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "image classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "backbone": "MODEL_FOR_BACKBONE_MAPPING_NAMES",
    "audio classification": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "audio CTC": "MODEL_FOR_CTC_MAPPING_NAMES",
    "speech to text": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
}
#: A configuration that forgets a size must not fill the memory.
MOST_PARAMETERS: Final = 6_000_000


class NotBuilt(Exception):
    """A class of which no tiny model was made: the first line of why, of the first way that was tried."""


@dataclass(frozen=True)
class Built:
    """A tiny random model in evaluation mode, what it runs on [1 ...], and the way its configuration was made."""

    model: Any
    inputs: dict[str, Tensor]
    way: str


def classes() -> tuple[tuple[str, str, str], ...]:
    """Every mapping, class in it, and the first type of model that has it there, in transformers' order."""
    found: dict[tuple[str, str], str] = {}
    for mapping, table in MAPPINGS.items():
        for model_type, names in getattr(modeling_auto, table).items():
            for name in (names,) if isinstance(names, str) else names:
                found.setdefault((mapping, name), model_type)
    return tuple((mapping, name, model_type) for (mapping, name), model_type in found.items())


def build(name: str, model_type: str) -> Built:
    """A tiny model of a class of transformers. Raises: NotBuilt."""
    errors: list[str] = []
    for way, config in _configs(name, model_type, errors):
        try:
            return _built(getattr(transformers, name), config, way)
        except (NotBuilt, MemoryError) as error:
            errors.append(str(error) or "too little memory")
        except Exception as error:  # transformers' classes raise anything at all
            errors.append(_first_line(error))
    raise NotBuilt(errors[0] if errors else "no configuration")


def _configs(name: str, model_type: str, errors: list[str]) -> Iterator[tuple[str, Any]]:
    cls = getattr(transformers, name)
    kind: Any = cls.config_class
    own = transformers.CONFIG_MAPPING[model_type]
    for config_class in dict.fromkeys((own, kind)):
        try:
            known = _default(config_class).to_dict()
        except Exception as error:
            errors.append(_first_line(error))
            continue
        for way, shrink in ways():
            try:
                config = config_class(**corrected(shrink(known), name, model_type))
            except Exception as error:
                errors.append(_first_line(error))
                continue
            yield way, config


def _default(config_class: Any) -> Any:
    """The configuration of a class with nothing said; of one that is made of two, of two that go together."""
    parts = {
        "encoder-decoder": ("bert", "bert"),
        "speech-encoder-decoder": ("wav2vec2", "bert"),
        "vision-encoder-decoder": ("vit", "bert"),
    }.get(config_class.model_type)
    if parts is None:
        return config_class()
    encoder, decoder = (transformers.CONFIG_MAPPING[kind]() for kind in parts)
    decoder.is_decoder = decoder.add_cross_attention = True
    return config_class(encoder=encoder.to_dict(), decoder=decoder.to_dict())


def _built(cls: Any, config: Any, way: str) -> Built:
    with torch.device("meta"):
        size = sum(p.numel() for p in cls(copy.deepcopy(config)).parameters())
    if size > MOST_PARAMETERS:
        raise NotBuilt(f"{size} parameters with every size that the recipe knows made small")
    errors: list[str] = []
    for spread in (True, False):
        torch.manual_seed(0)
        model = cls(copy.deepcopy(config)).eval()
        model.set_attn_implementation("eager") if _routed(model) else None
        if spread:
            randomise(model)
        for given in inputs(model):
            try:
                found = outputs(model, given)
            except Exception as error:
                errors.append(_first_line(error))
                continue
            if found and all(bool(torch.isfinite(x).all()) for x in found.values()):
                return Built(model, given, way)
            errors.append("its outputs are not finite" if found else "its forward gives no numbers")
    raise NotBuilt(errors[0] if errors else f"no inputs are known for {model.main_input_name}")


def _routed(model: Any) -> bool:
    return bool(getattr(model, "_supports_sdpa", False) or getattr(model, "_supports_attention_backend", False))


@torch.no_grad()
def outputs(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a plain forward gives that is numbers: the tensors of its result by name."""
    torch.manual_seed(0)
    given = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    result = model(**inputs, **given)
    items = result.items() if isinstance(result, Mapping) else ()
    found = {}
    for key, value in items:
        value = value[-1] if isinstance(value, (tuple, list)) and key == "feature_maps" else value
        if isinstance(value, Tensor) and value.is_floating_point():
            found[key] = value
    return found


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [""]
    said = lines[-1] if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {said}"[:300]
