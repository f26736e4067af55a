"""Whether a model gives the same numbers for the same example again: one that draws at random, or looks at other examples, has none to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import LoadError
from interp.model.modules.calling import on_inputs
from interp.model.modules.lock import reserved
from interp.model.modules.tensors import activation_out, close
from interp.parts.outputs import Output

#: Runs a model on one example again -> [1 pos output].
Again = Callable[[], Tensor]


def check_repeats(model: nn.Module, again: Again, first: Tensor, second: Tensor) -> None:
    """Compare what two runs on the same example gave [1 pos output].

    Raises: LoadError where these are other numbers, naming the first module that gives others.
    """
    if not alike(first, second):
        where = _first_other(model, again)
        raise LoadError(
            f"{type(model).__name__}: the same input gives other numbers in each run{where}: drawn at random (noise, a dropout function with "
            "training=True), or kept from one run for the next. Every score would be chance: give a model whose runs are alike."
        )


def check_examples(model: nn.Module, again: Again, output: Output, given: Mapping[str, Tensor], alone: Tensor) -> None:
    """Run an example behind another one, and compare what it gives with what it gave `alone` [1 pos output]; of a model that takes no two,
    run it by itself.

    Raises: LoadError where these are other numbers.
    """
    with torch.no_grad():
        found = _beside_another(model, output, given)
        if found is not None and alike(found, alone):
            return
        check_repeats(model, again, alone, again())
    if found is not None:
        raise LoadError(
            f"{type(model).__name__}: what comes out for one example depends on those that are run with it: it mixes them (a mean over the batch), or "
            "its first axis is not that of examples (a module without batch_first=True). Scores would depend on how prompts are put together: give a "
            "model of independent examples, batch first."
        )


def _beside_another(model: nn.Module, output: Output, given: Mapping[str, Tensor]) -> Tensor | None:
    """What comes out for an example [1 pos output] that is run behind another one of the same form; None where the model takes no two."""
    both = on_inputs(model, {name: torch.cat([_other(x), x]) if x.ndim else x for name, x in given.items()})
    try:
        with reserved(model):
            found = output(model(**both), both)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a module of somebody else may raise anything
        return None
    return found[-1:] if len(found) == 2 else None


def _other(x: Tensor) -> Tensor:
    """Another example [1 ...], of the numbers of this one."""
    turned = x.flatten(1).flip(1).view_as(x)
    return turned / 2 if x.is_floating_point() else turned


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether numbers are the same up to rounding; what is infinite, such as the logit of a banned token, is so in both."""
    if a.shape != b.shape:
        return False
    finite = torch.isfinite(a)
    return torch.equal(finite, torch.isfinite(b)) and close(a.where(finite, 0), b.where(finite, 0))


def _first_other(model: nn.Module, again: Again) -> str:
    """Where two runs begin to differ, as the end of a sentence: the first module to return that gives other numbers."""
    runs: list[list[tuple[str, Tensor]]] = [[], []]
    for seen in runs:
        with reserved(model), torch.no_grad(), ExitStack() as stack:
            for path, module in model.named_modules():
                stack.callback(module.register_forward_hook(_kept(path, seen)).remove)
            again()
    differing = (path for (path, x), (_, y) in zip(*runs, strict=False) if path and not alike(x, y))
    path = next(differing, "")
    return f", first in {path} ({type(model.get_submodule(path)).__name__})" if path else ""


def _kept(path: str, seen: list[tuple[str, Tensor]]) -> Callable[..., None]:
    """Keep a copy of what a module returns."""

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        with suppress(TypeError):
            seen.append((path, activation_out(output).detach().clone()))

    return hook
