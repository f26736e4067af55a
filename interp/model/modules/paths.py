"""Modules by their paths."""

from __future__ import annotations

from torch import nn

from interp.errors import SiteError, unknown


def check_path(model: nn.Module, path: str) -> None:
    """Raises: SiteError with the near names for a path that no module of the model has."""
    paths = [name for name, _ in model.named_modules() if name]
    if path not in paths:
        raise SiteError(unknown("module", path, paths))
