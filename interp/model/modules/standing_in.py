"""Modules that give what they gave before, so that a run goes on from the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from interp.model.modules.undo import Change


@contextmanager
def recording(model: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What each of these modules returns meanwhile, by path: a copy, as who reads it may write into it."""
    found: dict[str, Any] = {}

    def keep(path: str) -> Callable[..., None]:
        return lambda module, args, output: found.__setitem__(path, copied(output))

    with ExitStack() as hooks:
        for path in paths:
            hooks.callback(model.get_submodule(path).register_forward_hook(keep(path)).remove)
        yield found


@contextmanager
def standing_in(model: nn.Module, given: Mapping[str, Any]) -> Iterator[None]:
    """Meanwhile each of these modules, by path, returns this and computes nothing. Their forwards must be those of their classes."""
    modules = [model.get_submodule(path) for path in given]

    def undo() -> None:
        for module in modules:
            vars(module).pop("forward", None)

    change = Change(model, undo)
    try:
        for module, output in zip(modules, given.values(), strict=True):
            vars(module)["forward"] = lambda *args, output=output, **kwargs: copied(output)
        yield
    finally:
        change.end()


def copied(value: Any) -> Any:
    """A module's output with tensors of its own; what is neither a tensor nor holds some as it is."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(copied, value))
    if isinstance(value, list):
        return list(map(copied, value))
    if isinstance(value, Mapping):
        kind: Any = type(value)
        return kind(**{key: copied(own) for key, own in value.items()})
    return value
