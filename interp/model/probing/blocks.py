"""The chain of blocks of a model, from the paths of the modules that compute its attention, or from its lists of modules where none does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from torch import nn

from interp.errors import LayoutError, some
from interp.model.modules.calling import main_input
from interp.parts.named_inputs import TEXT

_LISTS: Final = (nn.ModuleList, nn.Sequential, nn.ModuleDict)


def find_blocks(model: nn.Module, attending: Sequence[str]) -> tuple[str, ...]:
    """The paths of the blocks, in their order: the children of one module, each with one of the attentions or, in a list, with none;
    without any attention those of the list that holds most of a model of text.

    Raises: LayoutError where there is no such chain, saying what was found.
    """
    name = type(model).__name__
    if not attending:
        if whole := [path for path, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]:
            raise LayoutError(
                f"{name}: attention in {some(whole)} is torch's nn.MultiheadAttention, whose projections are no modules that are called, so z "
                "cannot be reached; expected attention with an output projection (nn.Linear) of its own."
            )
        if main_input(model) == TEXT and (lists := _lists(model)):
            return lists
        raise LayoutError(
            f"{name}: no attention was seen in a forward pass (no call of transformers' attention function, no softmax over the scores "
            "of all positions); expected blocks of attention and MLP."
        )
    if twice := [path for path, n in Counter(attending).items() if n > 1]:
        raise LayoutError(
            f"{name}: {some(twice)} attends {Counter(attending)[twice[0]]} times in one forward pass; expected every block to be called "
            "once (blocks that share one module cannot be told apart)."
        )
    chains = dict.fromkeys(_chain(model, path, attending) for path in attending)
    if None in chains:
        raise LayoutError(
            f"{name}: attention is computed in {some(attending)}; expected a list of blocks with one attention in each."
        )
    if len(chains) > 1:
        _check_single(name, model, attending)
        found = some([str(chain) for chain in chains])
        raise LayoutError(f"{name}: several chains of blocks were found ({found}); expected one, of a decoder.")
    return _children(model, str(next(iter(chains))), attending)


def _chain(model: nn.Module, path: str, attending: Sequence[str]) -> str | None:
    """The outermost module around `path` whose children have at most one attention each: a list of modules, else any with two such
    children or more."""
    owners = [where for where in _parents(path) if max(_owned(where, attending).values()) == 1]
    lists = [where for where in owners if isinstance(model.get_submodule(where), _LISTS)]
    several = [where for where in owners if len(_owned(where, attending)) > 1]
    return next(iter((*lists, *several)), None)


def _check_single(name: str, model: nn.Module, attending: Sequence[str]) -> None:
    """Raises: LayoutError naming the first block of a list whose blocks have several attentions."""
    for path in attending:
        for where in (parent for parent in _parents(path) if isinstance(model.get_submodule(parent), _LISTS)):
            crowded = [child for child, n in _owned(where, attending).items() if 1 < n < len(attending)]
            if crowded:
                inside = [own for own in attending if own.startswith(f"{crowded[0]}.")]
                raise LayoutError(
                    f"{name}: {crowded[0]} has several attentions ({some(inside)}); expected one in each block."
                )


def _parents(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[:i]) for i in range(len(names))]


def _owned(where: str, attending: Sequence[str]) -> Counter[str]:
    """How many attentions each child of the module at `where` has."""
    depth = len(where.split(".")) if where else 0
    below = [path.split(".") for path in attending if not where or path.startswith(f"{where}.")]
    return Counter(".".join(names[: depth + 1]) for names in below)


def _children(model: nn.Module, chain: str, attending: Sequence[str]) -> tuple[str, ...]:
    """The blocks of a chain: of a list all that is in it."""
    module = model.get_submodule(chain)
    if not isinstance(module, nn.ModuleList):
        return tuple(_owned(chain, attending))
    return tuple(f"{chain}.{child}" for child, _ in module.named_children())


def _lists(model: nn.Module) -> tuple[str, ...]:
    """What is in the outermost list of modules with most weights; nothing without lists."""
    every = [path for path, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)]
    outer = [path for path in every if not any(path.startswith(f"{other}.") for other in every)]
    sizes = {path: sum(p.numel() for p in model.get_submodule(path).parameters()) for path in outer}
    return _children(model, max(outer, key=lambda path: sizes[path]), ()) if outer else ()
