"""Are the numbers of a model those of its files? Every tensor of both is compared, so that none is put in another's place without a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from interp.errors import LoadError, some
from interp.model.loading.source import stored_tensors


def check_numbers(
    source: str, local: bool, model: Any, apart: Callable[[str], object], lacking: Collection[str]
) -> None:
    """Compare the tensors of the files with those of the model that was read from them, both ways.

    A tensor of the model has a name in files, that under which transformers saves it: there its numbers have to be, in its dtype. Files
    that are older have other names: these, and what of the model has no name there, must have the same numbers one by one, tied
    tensors counted once. That last part is left out of models whose tensors transformers takes apart or puts together
    (`WeightConverter`).
    apart: whether a name in the files may be left out. lacking: names of the model that files need not have.
    Raises: LoadError naming the tensors that differ, or that have no counterpart.
    """
    named, converted = _names(model)
    wrong: list[str] = []
    loose: dict[str, Tensor] = {}
    found: set[str] = set()
    for key, value in stored_tensors(source, local):
        if key in named:
            found.add(key)
            wrong += [] if _same(value, named[key]) else [key]
        elif not converted:
            loose[key] = value
    if not converted:
        stored, own = _alone(named, found, loose)
        wrong += [key for key in stored if not apart(key) and not _told(model, "unexpected", key)]
        wrong += [key for key in own if key not in lacking and not _told(model, "missing", key)]
    if wrong:
        raise LoadError(
            f"model {source!r}: transformers does not put the weights of its files where a {type(model).__name__} has them ({len(wrong)}): "
            f"{some(sorted(wrong))}. The model would compute something else. Make it yourself, fill it by load_state_dict under the names of its own "
            "state_dict, and give that model in place of the folder."
        )


def _same(stored: Tensor, own: Tensor) -> bool:
    """Whether numbers of a file are those of a tensor of the model, in its dtype."""
    if stored.shape != own.shape:
        return False
    found = stored.to(own.device, own.dtype)
    return torch.equal(found, own) or torch.equal(found.nan_to_num(), own.nan_to_num())


def _alone(
    named: Mapping[str, Tensor], found: Collection[str], loose: Mapping[str, Tensor]
) -> tuple[list[str], list[str]]:
    """Of files and of the model the tensors whose names do not meet and that have no counterpart of the same numbers."""
    met = {named[key].data_ptr() for key in found}
    left = {key: own for key, own in named.items() if own.data_ptr() not in met}
    alone = []
    for key, value in loose.items():
        twin = next((own.data_ptr() for own in left.values() if _same(value, own)), None)
        if twin is not None:
            left = {name: own for name, own in left.items() if own.data_ptr() != twin}
        elif not any(_same(value, own) for own in named.values()):
            alone.append(key)
    return alone, [*left]


def _told(model: Any, what: str, key: str) -> bool:
    """Whether a class says itself that a weight may be missing in files, or be there without a place."""
    patterns = getattr(model, f"_keys_to_ignore_on_load_{what}", None) or ()
    return any(re.search(pattern, key) for pattern in patterns)


def _names(model: Any) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a model under their names in files; and whether transformers takes some apart or puts some together."""
    from transformers.core_model_loading import WeightConverter, revert_weight_conversion

    ways = getattr(model, "_weight_conversions", None) or ()
    converted = any(isinstance(way, WeightConverter) for way in ways)
    found: dict[str, Tensor] = {}
    for group in _groups(model.state_dict()) if converted else ({key: x} for key, x in model.state_dict().items()):
        found.update(revert_weight_conversion(model, group) if ways else group)
    return found, converted


def _groups(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors of one layer at a time, so that copies of them do not fill the memory."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        parts = key.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdecimal()), len(parts))
        groups.setdefault(".".join(parts[: number + 1]), {})[key] = value
    yield from groups.values()
