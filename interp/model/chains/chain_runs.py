"""A run with another chain of layers: what is found out of the blocks before it, once, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.ledger import spend, uncounted
from interp.model.chains.chained import Course
from interp.model.modules.calling import on_inputs
from interp.model.modules.lock import reserved, settled
from interp.model.modules.repeats import alike
from interp.model.modules.standing_in import copied, recording
from interp.model.modules.tensors import activation_out


def courses(
    model: Any, chains: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Any], price: Callable[[], int]
) -> tuple[Course, ...]:
    """The way of each stack that has another chain. price: the multiply-adds of one run on these inputs.

    Where blocks return more than the stream, which a block that is left out cannot make, one ordinary run records it.
    Raises: LayoutError for a block that cannot be called again.
    """
    given = returned(model)
    paths = {name: [block.path for block in model.layout.stack(name).blocks] for name in chains}
    changed = [
        path for name, chain in chains.items() if chain != tuple(range(len(paths[name]))) for path in paths[name]
    ]
    if any(_more(given[path]) for path in changed):
        with reserved(model.hf), torch.no_grad(), recording(model.hf, changed) as found:
            model.hf(**inputs)
        spend(price())
        given = {**given, **found}
    return tuple(Course(chain, paths[name], given) for name, chain in chains.items())


def returned(model: Any) -> Mapping[str, Any]:
    """What each block returns on a few tokens, by path; found once. Raises: LayoutError for a block that gives other numbers when it is called
    again with the same arguments, as it keeps something."""
    paths = [block.path for block in model.layout.every_block]
    built = (model.dtype, *(id(model.hf.get_submodule(path)) for path in paths))
    if model.chained is None or model.chained[0] != built:
        with uncounted(), reserved(model.hf), settled(model.device), torch.no_grad():
            model.chained = built, _tried(model, paths)
    found: Mapping[str, Any] = model.chained[1]
    return found


def _tried(model: Any, paths: Sequence[str]) -> dict[str, Any]:
    calls: dict[str, Any] = {}
    with ExitStack() as stack:
        for path in paths:
            stack.callback(_kept(model.hf.get_submodule(path), path, calls))
        with recording(model.hf, paths) as found:
            model.hf(**on_inputs(model.hf, model.probed))
    if missing := [path for path in paths if path not in found]:
        raise LayoutError(f"layers: {missing[0]} is not called in a forward of this model.")
    for path in paths:
        args, kwargs = calls[path]
        again = model.hf.get_submodule(path)(*args, **kwargs)
        if not alike(activation_out(again), activation_out(found[path])):
            raise LayoutError(
                f"layers: {path} gives other numbers when it is called again, so it keeps something (a cache, a state); expected blocks "
                "that can be called in any order."
            )
    return found


def _kept(module: nn.Module, path: str, calls: dict[str, Any]) -> Any:
    def keep(_: nn.Module, args: Any, kwargs: Any) -> None:
        calls[path] = tuple(map(copied, args)), {name: copied(value) for name, value in kwargs.items()}

    return module.register_forward_pre_hook(keep, with_kwargs=True).remove


def _more(output: Any) -> bool:
    """Whether a block returns tensors beside the stream."""
    return not isinstance(output, Tensor) and any(isinstance(x, Tensor) for x in _flat(output[1:]))


def _flat(values: Any) -> list[Any]:
    return [y for x in values for y in (_flat(x) if isinstance(x, (tuple, list)) else [x])]
