"""With which keyword arguments a model's forward is called: what it takes, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from interp.parts.named_inputs import MAIN, TEXT


def takes(hf: nn.Module, name: str) -> bool:
    """Whether the forward of a model has a keyword argument of this name, or any."""
    parameters = inspect.signature(hf.forward).parameters
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def main_input(hf: nn.Module) -> str:
    """The name of what a model reads first: `input_ids`, `pixel_values`, ...: what its class says, where forward has that; else the first
    of the usual ones that forward has; of a module that is no model of transformers else the first argument of forward."""
    parameters = inspect.signature(hf.forward).parameters
    first = next((name for name, p in parameters.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL), TEXT)
    said = str(getattr(hf, "main_input_name", next((name for name in MAIN if name in parameters), first)))
    return said if said in parameters else next((name for name in MAIN if name in parameters), said)


def on_inputs(hf: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a plain call on inputs by name, without a cache; a single truth value is a switch."""
    found: dict[str, Any] = {k: bool(x) if x.dtype == torch.bool and x.ndim == 0 else x for k, x in inputs.items()}
    return found | {"use_cache": False} if takes(hf, "use_cache") else found


def on_ids(hf: nn.Module, ids: Tensor) -> dict[str, Any]:
    """The arguments of a plain call on token ids [batch pos], without a cache."""
    return on_inputs(hf, {TEXT: ids})
