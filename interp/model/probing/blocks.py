"""The chains of blocks of a model, from the paths of the modules that compute its attention, or from its lists of modules where none does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Final

from torch import nn

from interp.errors import LayoutError, some
from interp.model.modules.calling import main_input
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import depends, has_matrix
from interp.model.probing.probe import Attended, Call
from interp.model.probing.watch import Attending
from interp.parts.named_inputs import TEXT

_LISTS: Final = (nn.ModuleList, nn.Sequential, nn.ModuleDict)


@dataclass(frozen=True)
class Chain:
    """The blocks of a stack, by path and in their order, and the prefix of its sites."""

    name: str
    blocks: tuple[str, ...]


def find_chains(model: nn.Module, attending: Sequence[Attending]) -> tuple[Chain, ...]:
    """The chains of blocks in the order in which they run: the children of one module, each with one of the attentions or, in a list, with
    none, and those of a decoder behind an encoder with one across to that too; without any attention those of the list that holds most of a model
    of text.

    Raises: LayoutError where there is no such chain, or no such two, saying what was found.
    """
    name = type(model).__name__
    across = [own.path for own in attending if own.across]
    within = [own.path for own in attending if not own.across]
    if not within:
        within, across = across, []
    if not within and (main_input(model) == TEXT or _of_torch(model)) and (lists := _lists(model)):
        return (Chain("", lists),)
    _check_seen(name, model, within)
    chains = dict.fromkeys(_chain(model, path, within) for path in within)
    if None in chains:
        raise LayoutError(
            f"{name}: attention is computed in {some(within)}; expected a list of blocks with one attention in each."
        )
    if len(chains) > 1:
        _check_single(name, model, within)
    if len(chains) > 2:
        shown = some([str(chain) for chain in chains])
        raise LayoutError(f"{name}: {len(chains)} chains of blocks were found ({shown}); expected one, or two.")
    found = [_children(model, str(chain), within) for chain in chains]
    if across:
        _check_across(name, found, across)
    names = _names([str(chain) for chain in chains], bool(across))
    return tuple(Chain(prefix, blocks) for prefix, blocks in zip(names, found, strict=True))


def _check_seen(name: str, model: nn.Module, attending: Sequence[str]) -> None:
    """Raises: LayoutError where no attention was seen, or one several times."""
    if not attending:
        if whole := _of_torch(model):
            raise LayoutError(
                f"{name}: attention in {some(whole)} is torch's nn.MultiheadAttention, whose projections are no modules that are called, so z "
                "cannot be reached; expected attention with an output projection (nn.Linear) of its own."
            )
        raise LayoutError(
            f"{name}: no attention was seen in a forward pass (no call of transformers' attention function, no softmax over the scores "
            "of all positions); expected blocks of attention and MLP."
        )
    if twice := [path for path, n in Counter(attending).items() if n > 1]:
        raise LayoutError(
            f"{name}: {some(twice)} attends {Counter(attending)[twice[0]]} times in one forward pass; expected every block to be called "
            "once (blocks that share one module cannot be told apart)."
        )


def _of_torch(model: nn.Module) -> list[str]:
    """The paths of torch's own attention modules."""
    return [path for path, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)]


def _check_across(name: str, chains: Sequence[Sequence[str]], across: Sequence[str]) -> None:
    """Raises: LayoutError where attention from one stream to another is not once in each block of the second of two chains."""
    owners = Counter(block for path in across for block in chains[-1] if path.startswith(f"{block}."))
    if len(chains) != 2 or owners != Counter(chains[-1]) or len(across) != len(chains[-1]):
        raise LayoutError(
            f"{name}: attention with keys of other positions than its queries in {some(across)}; expected an encoder, and a decoder each block "
            "of which attends to it once."
        )


def _names(chains: Sequence[str], across: bool) -> tuple[str, ...]:
    """The prefixes of stacks: `encoder` and none; of two towers what their paths call them (`vision_model.encoder.layers`: `vision`)."""
    if len(chains) == 1:
        return ("",)
    if across:
        return ("encoder", "")
    parts = [chain.split(".") for chain in chains]
    own = next(both for both in zip(*parts, strict=False) if len(set(both)) > 1)
    return tuple(re.sub("_(model|encoder|tower|backbone)$", "", part) for part in own)


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
    """The blocks of a chain: of a list all that is in it; of a sequence those with attention, what stands between them and has weights, and
    what stands around them and is of a class that stands between them; of another module, whose children may run in any order, those with
    attention."""
    module, owned = model.get_submodule(chain), _owned(chain, attending)
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return tuple(owned)
    every = {f"{chain}.{child}" if chain else child: own for child, own in module.named_children()}
    if isinstance(module, nn.ModuleList):
        return tuple(every)
    weighty = [path for path, own in every.items() if path in owned or has_matrix(own)]
    first, last = (end(map(weighty.index, owned)) for end in (min, max))
    between = {type(every[path]) for path in weighty[first:last] if path not in owned}
    before, behind = (
        list(takewhile(lambda path: type(every[path]) in between, side))
        for side in (weighty[:first][::-1], weighty[last + 1 :])
    )
    return (*before[::-1], *weighty[first : last + 1], *behind)


def _lists(model: nn.Module) -> tuple[str, ...]:
    """What is in the outermost list of modules with most weights; nothing without lists."""
    every = [path for path, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)]
    outer = [path for path in every if not any(path.startswith(f"{other}.") for other in every)]
    sizes = {path: sum(p.numel() for p in model.get_submodule(path).parameters()) for path in outer}
    return _children(model, max(outer, key=lambda path: sizes[path]), ()) if outer else ()


def check_chain(calls: Mapping[str, Call], blocks: Sequence[str], attended: Sequence[Attended]) -> dict[int, int]:
    """By layer, the layer whose keys and values a block attends to, where these are not its own.

    Raises: LayoutError naming a block that reads something else than what the one before it gives, or more of the run than that and such keys
    and values.
    """
    shared = {}
    for layer, (before, path) in enumerate(pairwise(blocks), 1):
        own = calls[path]
        if not close(own.x_value, calls[before].y_value):
            raise LayoutError(
                f"{path}: {_odd_input(own, calls[before])} the output of {before}; expected blocks one behind the other, and nothing between them."
            )
        if own.read is None or not depends(own.made, calls[blocks[0]].read, but_through=own.read):
            continue
        if (found := _shared(calls, blocks[: layer + 1], attended)) is None:
            raise LayoutError(
                f"{path}: it reads more than the stream, of what earlier blocks have made, and that is not the keys and values of one of them; "
                "expected blocks that read the stream alone, or attend to keys and values of an earlier block."
            )
        shared[layer] = found
    return shared


def _odd_input(own: Call, before: Call) -> str:
    """How a block does not read what the one before it gives: a number times it, as of models that keep half precision in range, or otherwise."""
    x, y = own.x_value.double().flatten(), before.y_value.double().flatten()
    scale = float((x * y).sum() / y.square().sum().clamp_min(1e-300)) if x.numel() == y.numel() else 0.0
    same = bool(scale) and close((scale * y).to(own.x_value.dtype), own.x_value.flatten())
    return f"it reads {scale:.3g} times" if same else "it does not read"


def _shared(calls: Mapping[str, Call], blocks: Sequence[str], attended: Sequence[Attended]) -> int | None:
    """The layer of which the last of these blocks takes its keys and values, all that it reads of earlier ones beside the stream; None where it
    reads something else."""
    *earlier, path = blocks
    own, first = calls[path], calls[blocks[0]].read
    made = [(one.keys, one.values) for one in attended if f"{one.path}.".startswith(f"{path}.") and not one.across]
    if len(made) != 1 or None in made[0]:
        return None
    if depends(own.made, first, but_through=(own.read, *made[0])) or any(depends(one, own.read) for one in made[0]):
        return None
    for layer, read in reversed([*enumerate(calls[block].read for block in earlier)]):
        if any(depends(one, read) for one in made[0]):
            return None if any(depends(one, first, but_through=read) for one in made[0]) else layer
    return None
