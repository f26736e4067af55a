"""Towers of images and sound as bare models: what their parts write, and the metric where one reader alone sees another stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
import transformers as hf
from torch import Tensor, nn

from interp.model.model import HookedModel
from interp.parts.graph import Edge
from interp.parts.nodes import Node
from interp.tasks.task import Task
from tests.interp.model.tiny import randomise
from tests.interp.model.vision.made import made

#: Of each class by the Hugging Face sources: a block, and in it the norm, queries, keys, values and projection of attention, the MLP's
#: norm and the MLP; and what scales the two parts, a module or a parameter.
PLACES: Final[dict[str, tuple[str, ...]]] = {
    "ViTForImageClassification": (
        "vit.layers.{}", "layernorm_before", "attention.{}_proj", "attention.o_proj", "layernorm_after", "mlp", "", "",
    ),
    "CLIPVisionModelWithProjection": (
        "vision_model.encoder.layers.{}", "layer_norm1", "self_attn.{}_proj", "self_attn.out_proj", "layer_norm2", "mlp", "", "",
    ),
    "ASTForAudioClassification": (
        "audio_spectrogram_transformer.layers.{}", "layernorm_before", "attention.{}_proj", "attention.o_proj", "layernorm_after", "mlp",
        "", "",
    ),
    "DINOv2-swiglu": (
        "dinov2.encoder.layer.{}", "norm1", "attention.{}_proj", "attention.o_proj", "norm2", "mlp", "layer_scale1.lambda1",
        "layer_scale2.lambda1",
    ),
    "BEiT": (
        "beit.layers.{}", "layernorm_before", "attention.{}_proj", "attention.o_proj", "layernorm_after", "mlp", "lambda_1", "lambda_2",
    ),
}  # fmt: skip
#: Numbers of a head.
FAN: Final = 8


def _beit() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model = hf.BeitForImageClassification(hf.BeitConfig(**sizes, image_size=16, patch_size=4)).eval()
    randomise(model)
    model.set_attn_implementation("eager")
    return model


@dataclass(frozen=True)
class Bare:
    """The bare model with the modules of its blocks; the runs of a pair [1 ...], the second being the one to patch from."""

    hf: Any
    places: tuple[str, ...]
    base: Tensor
    source: Tensor

    def at(self, layer: int, place: int, channel: str = "") -> nn.Module:
        block, *inside = self.places
        found: nn.Module = self.hf.get_submodule(f"{block.format(layer)}.{inside[place].format(channel)}")
        return found

    def block(self, layer: int) -> nn.Module:
        found: nn.Module = self.hf.get_submodule(self.places[0].format(layer))
        return found

    def metric(self, x: Tensor) -> Tensor:
        result = self.hf(x)
        out = result.logits if hasattr(result, "logits") else result.image_embeds
        value: Tensor = out[:, 0] - out[:, 1]
        return value

    def scale(self, layer: int, place: int) -> Tensor | float:
        path = f"{self.places[0].format(layer)}.{self.places[place]}"
        return self.hf.get_parameter(path).detach() if self.places[place] else 1.0

    def seen(self, x: Tensor, module: nn.Module, output: bool) -> Tensor:
        """What a module reads, or makes, in a run."""
        found: list[Tensor] = []
        with torch.no_grad(), changed(module, output, lambda y: found.append(y.detach().clone()) or y):
            self.metric(x)
        return found[0]

    def written(self, node: Node, x: Tensor) -> Tensor:
        """What a node adds to the stream, without biases of projections."""
        if node.kind == "embed":
            return self.seen(x, self.block(0), False)
        layer = node.layer or 0
        if node.kind == "mlp":
            return self.seen(x, self.at(layer, 4), True) * self.scale(layer, 7)
        own = slice(FAN * (node.unit or 0), FAN * (node.unit or 0) + FAN)
        o = self.at(layer, 2)
        added: Tensor = self.seen(x, o, False)[..., own] @ o.weight.detach()[:, own].T * self.scale(layer, 6)  # type: ignore[union-attr]
        return added

    def effect(self, edge: Edge, change: Tensor) -> float:
        """By how much the metric moves where the reader alone sees this change of the stream."""
        layer, reader = edge.receiver.layer or 0, edge.receiver
        with torch.no_grad():
            base = self.metric(self.base)
            if reader.kind == "logits":
                with changed(self.block(1), True, lambda x: x + change):
                    return float(self.metric(self.base) - base)
            if reader.kind == "mlp":
                with changed(self.at(layer, 3), False, lambda x: x + change):
                    return float(self.metric(self.base) - base)
            norm, projection = self.at(layer, 0), self.at(layer, 1, reader.kind)
            other = projection(norm(self.seen(self.base, norm, False) + change))
            own = slice(FAN * (reader.unit or 0), FAN * (reader.unit or 0) + FAN)

            def put(y: Tensor) -> Tensor:
                y = y.clone()
                y[..., own] = other[..., own]
                return y

            with changed(projection, True, put):
                return float(self.metric(self.base) - base)


@contextmanager
def changed(module: nn.Module, output: bool, function: Callable[[Tensor], Any]) -> Iterator[None]:
    """Put `function` of what a module makes, or reads, in its place."""

    def after(_: nn.Module, args: Any, y: Any) -> Any:
        return (function(y[0]), *y[1:]) if isinstance(y, tuple) else function(y)

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (function(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": function(kwargs["hidden_states"])}

    hook = module.register_forward_hook(after) if output else module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(_beit() if name == "BEiT" else made(name), name=name)


def bare(name: str, task: Task) -> Bare:
    """The model of a class, and the first pair of a task."""
    model = hooked(name)
    (clean, corrupt), *_ = (pair.prompts for pair in task.tokenize(None, model.outputs))
    first, second = (one.batched().alone for one in (clean, corrupt))
    return Bare(model.hf, PLACES[name], first, second)
