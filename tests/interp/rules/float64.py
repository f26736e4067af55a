"""Modules of Hugging Face models in true float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Widened(TorchFunctionMode):
    """Every float32 that a torch call is given becomes float64, and `.float()` becomes `.double()`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wide = torch.float64
        args = tuple(wide if a is torch.float32 else a for a in args)
        kwargs = {k: wide if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return torch.Tensor.double(*args) if func is torch.Tensor.float else func(*args, **kwargs)


@contextmanager
def true_float64() -> Iterator[None]:
    """Turn off the casts to float32 that many Hugging Face modules make inside a float64 model."""
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widened():
            yield
    finally:
        torch.set_default_dtype(old)
