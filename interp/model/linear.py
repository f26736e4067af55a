"""The weights of a linear map and the norm at a path of a model, whichever class it is of."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from interp.errors import LayoutError
from interp.rules.rules import Norm


def linear(model: Any, path: str) -> tuple[Tensor, Tensor | None]:
    """W [in out] and bias [out] of a linear map, whichever way round its class stores it."""
    module = model.hf.get_submodule(path)
    if not is_linear_map(module):
        raise LayoutError(f"{path} is a {type(module).__name__}; expected a linear map (nn.Linear or Conv1D).")
    weight = module.weight.detach()
    bias = None if module.bias is None else module.bias.detach()
    return (weight.T if isinstance(module, nn.Linear) else weight), bias


def is_linear_map(module: nn.Module) -> bool:
    """Whether a module is of a class that holds the weights of a linear map."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def norm_at(model: Any, path: str) -> Norm:
    found: Norm | None = model.operations.norms.get(path)
    if found is None:
        raise LayoutError(
            f"{path} ({type(model.hf.get_submodule(path)).__name__}) is not recognised as LayerNorm or RMSNorm, "
            "so what it does to a single component is not known."
        )
    return found
