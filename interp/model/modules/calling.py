"""With which keyword arguments a model's forward is called: what it takes, and nothing else."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn


def takes(hf: nn.Module, name: str) -> bool:
    """Whether the forward of a model has a keyword argument of this name, or any."""
    parameters = inspect.signature(hf.forward).parameters
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def on_ids(hf: nn.Module, ids: Tensor) -> dict[str, Any]:
    """The arguments of a plain call on token ids [batch pos], without a cache."""
    return {"input_ids": ids, "use_cache": False} if takes(hf, "use_cache") else {"input_ids": ids}
