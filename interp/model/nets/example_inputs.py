"""An input that a net takes, where the user gives none: of the kind that its first layer reads, in the first usual size that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import LoadError
from interp.model.modules.calling import on_inputs

#: Sizes that are tried along each axis behind the channels, small ones that many nets take first.
_SIDES: Final = (32, 28, 8, 16, 64, 96, 128, 224, 299, *range(3, 41))
_LENGTHS: Final = (64, 128, 256, 512, 1024, 4000, 8000, 16000, *range(3, 64))
_STEPS: Final = 5
_RECURRENT: Final = (nn.LSTM, nn.GRU, nn.RNN)


def example_of_net(model: nn.Module, name: str, like: Tensor) -> Tensor:
    """An input [1 ...] of the argument `name` of forward that runs through the net, of the dtype and device of `like` (or ids).

    Raises: LoadError where none of the usual sizes does, asking for one.
    """
    tried: list[str] = []
    for shape, ids in _guesses(model):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(like)
        x = torch.arange(shape[-1], device=like.device).expand(shape) % ids if ids else x
        try:
            with torch.no_grad():
                model(**on_inputs(model, {name: x}))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a module of somebody else may raise anything
            tried.append(f"{list(shape)} ({str(error).strip().partition(chr(10))[0]:.120})")
            continue
        return x
    said = f"tried {len(tried)}, the first {tried[0]}" if tried else "its first layer says nothing of what it reads"
    raise LoadError(
        f"{type(model).__name__}: no input was found that runs ({said}). Give one: interp.load(net, inputs=x), x [1, ...]."
    )


def first_layer(model: nn.Module) -> nn.Module | None:
    """The first of the innermost modules with weights; None without any."""
    inner = (m for m in model.modules() if next(m.children(), None) is None)
    return next((m for m in inner if next(m.parameters(), None) is not None), None)


def table_of_ids(model: nn.Module, given: Mapping[str, Tensor]) -> str:
    """The path of the embedding that reads the ids of the main input, or, where they come to none as they are, of the first one that is called;
    '' where none is."""
    ids, called, reading = next(iter(given.values())), list[str](), list[str]()

    def note(path: str, x: Any) -> None:
        if isinstance(x, Tensor):
            called.append(path)
            reading.extend([path] if x.shape == ids.shape and torch.equal(x, ids) else [])

    with ExitStack() as stack, torch.no_grad():
        for path, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                hook = module.register_forward_pre_hook(
                    lambda m, args, path=path: note(path, args[0]) if args else None
                )
                stack.callback(hook.remove)
        model(**on_inputs(model, given))
    return next(iter((*reading, *called)), "")


def _guesses(model: nn.Module) -> Iterator[tuple[tuple[int, ...], int]]:
    """Shapes that the first layer may read, and how many ids there are where it reads such."""
    first: Any = first_layer(model)
    if isinstance(first, nn.Embedding):
        yield (1, _STEPS), first.num_embeddings
    elif isinstance(first, _RECURRENT):
        yield (1, _STEPS, first.input_size), 0
    elif isinstance(first, nn.Linear):
        yield (1, first.in_features), 0
        side = round(first.in_features**0.5)
        if side * side == first.in_features:
            yield (1, 1, side, side), 0
        yield (1, _STEPS, first.in_features), 0
    elif isinstance(first, (nn.Conv1d, nn.BatchNorm1d)):
        yield from (((1, _channels(first), n), 0) for n in _LENGTHS)
    elif isinstance(first, (nn.Conv2d, nn.BatchNorm2d, nn.Conv3d, nn.BatchNorm3d)):
        axes = 3 if isinstance(first, (nn.Conv3d, nn.BatchNorm3d)) else 2
        yield from (((1, _channels(first), *[n] * axes), 0) for n in (_SIDES if axes == 2 else _SIDES[:5]))


def _channels(module: Any) -> int:
    return int(getattr(module, "in_channels", 0) or module.num_features)
