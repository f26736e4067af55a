"""Do a model's files and its class fit: is every weight there, what is left over, and are the numbers those of the files?"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import LoadError, some
from interp.model.loading.classes import causal_class, classes_of, weight_names
from interp.model.loading.source import stored_names, stored_rows, stored_tensors

#: Buffers that older checkpoints hold and that newer classes make themselves; and the state of a training library.
_HARMLESS: Final = re.compile(
    r"(^|\.)(inv_freq|(cos|sin)_cached|masked_bias|causal_mask|position_ids|_extra_state|(attn|attention|self_attn)\.(bias|mask|embed_positions))$"
)
#: What Wav2Vec2 and its kin put in place of hidden frames in training; checkpoints that were trained without lack it.
_TRAINING_ONLY: Final = re.compile(r"(^|\.)masked_spec_embed$")
#: The argument of `forward` that says which frames are hidden.
_HIDDEN_FRAMES: Final = "mask_time_indices"
_POOLER: Final = re.compile(r"(^|\.)pooler\.")


class LoadWarning(UserWarning):
    """A model that is not all of its files, or has weights that they lack and that no run reads."""


def check_report(source: str, model: Any, report: dict[str, Any]) -> None:
    """Raises: LoadError where a weight was drawn at random because the files lack it or hold another shape, or where the
    files hold weights that the model has no place for."""
    _check_shapes(source, report)
    _check_missing(source, model, report["missing_keys"])
    _check_extra(source, model, _left_over(report))


def fitted(source: str, local: bool, model: Any, report: dict[str, Any]) -> tuple[str, ...]:
    """The weights of the files that the class has no place for, and that may be left out: each belongs to another class of the same
    type of model, as the pooler and the heads that BERT was trained with beside its masked language model do.

    Only of classes that are not causal: a decoder has one head, and files with another are of another model. All weights of the
    class have to be there. What is left out is said with a LoadWarning, and so is what the files lack and no run reads.
    Raises: LoadError as `check_report`.
    """
    extra: list[str] = []
    if type(model) is causal_class(model.config):
        check_report(source, model, report)
    else:
        _check_shapes(source, report)
        lacking = _fill_unread(source, model, report["missing_keys"])
        _check_missing(source, model, lacking, _advice(model, lacking))
        extra = _left_over(report)
        _check_extra(source, model, sorted(set(extra) - _of_other_classes(model)) if extra else [])
    if extra:
        _warn(
            f"model {source!r}: its files hold weights ({len(extra)}) that a {type(model).__name__}, which its config.json names, does "
            f"not have: {some(extra)}. They are parts of other classes of this type, and are left out."
        )
    _warn_of_constants(source, local, model)
    _keep_padding(source, local, model)
    check_numbers(source, local, model, report)
    return tuple(extra)


def _check_shapes(source: str, report: dict[str, Any]) -> None:
    if wrong := sorted(report["mismatched_keys"]):
        said = [f"{key} is {list(found)}, by the configuration {list(expected)}" for key, found, expected in wrong]
        raise LoadError(
            f"model {source!r}: its configuration and its weights disagree about shapes ({len(wrong)}): {some(said)}."
        )


def _check_missing(source: str, model: Any, missing: Iterable[str], advice: str = "") -> None:
    if names := sorted(missing):
        raise LoadError(
            f"model {source!r}: its files lack {len(names)} of the weights of a {type(model).__name__}: {some(names)}. They would be "
            f"random numbers. Was it saved without its head, or in part? Save the whole model, with its head.{advice}"
        )


def _check_extra(source: str, model: Any, extra: list[str]) -> None:
    if extra:
        raise LoadError(
            f"model {source!r}: its files hold weights ({len(extra)}) that a {type(model).__name__} of its config.json has no place for: "
            f"{some(extra)}. So they are another model's. Where they may be left out, load it with transformers and give that "
            "model in place of the folder."
        )


def _left_over(report: dict[str, Any]) -> list[str]:
    return sorted(key for key in report["unexpected_keys"] if not _HARMLESS.search(key))


def _of_other_classes(model: Any) -> set[str]:
    """The names of the weights of all classes of a model's type, as far as its configuration makes them."""
    return set().union(*(weight_names(cls, model.config) for cls in classes_of(model.config)))


def _advice(model: Any, missing: Iterable[str]) -> str:
    """What to do where all that is missing stands outside of the model without its head, or is its pooler."""
    body = getattr(model, model.base_model_prefix, model) if model.base_model_prefix else model
    prefix = "" if body is model else f"{model.base_model_prefix}."
    inside = [name for name in missing if name.startswith(prefix)]
    option = "add_pooling_layer"
    without = option in inspect.signature(type(body).__init__).parameters
    lacks_pooler = any(_POOLER.search(name) for name in inside)
    if not missing or any(not _POOLER.search(name) for name in inside) or (lacks_pooler and not without):
        return ""
    call = f"transformers.{type(body).__name__}.from_pretrained(folder{f', {option}=False' if lacks_pooler else ''})"
    return f" What is there is a {type(body).__name__}{' without its pooler' if lacks_pooler else ''}: give {call} in place of the folder."


def _fill_unread(source: str, model: Any, missing: Iterable[str]) -> list[str]:
    """The weights that are missing, less those that only training reads: these become 0."""
    unread = sorted(name for name in missing if _TRAINING_ONLY.search(name))
    if not unread or _HIDDEN_FRAMES in inspect.signature(model.forward).parameters:
        return sorted(missing)
    with torch.no_grad():
        for name in unread:
            model.get_parameter(name).zero_()
    _warn(f"model {source!r}: its files lack {some(unread)}, which only training reads. It is 0 here.")
    return sorted(set(missing) - set(unread))


def _warn_of_constants(source: str, local: bool, model: Any) -> None:
    """Some classes do not miss certain weights: where the files lack them, these are the numbers that training begins with."""
    patterns = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    own = [name for name, _ in model.named_parameters() if any(re.search(pattern, name) for pattern in patterns)]
    if not own:
        return
    there = stored_names(source, local)
    if lacking := [name for name in own if there.isdisjoint(_in_files(model, name))]:
        _warn(
            f"model {source!r}: its files lack weights ({len(lacking)}) that transformers makes for a {type(model).__name__}: "
            f"{some(lacking)}. They are fixed numbers (sinusoids, ones, zeros), not random ones."
        )


def _keep_padding(source: str, local: bool, model: Any) -> None:
    """A few classes of transformers put 0 in the row of the padding token once the weights are read, which changes logits where the
    head is the embedding: the row of the files goes back."""
    zeroed = {
        f"{path}.weight": module
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and module.padding_idx is not None
        and not module.weight[module.padding_idx].any()
    }
    places = {there: name for name in zeroed for there in _in_files(model, name)}
    wanted = {there: int(zeroed[name].padding_idx or 0) for there, name in places.items()}
    with torch.no_grad():
        for there, row in (stored_rows(source, local, wanted) if wanted else {}).items():
            module = zeroed[places[there]]
            module.weight[module.padding_idx] = row[0].to(module.weight.dtype)


def _in_files(model: Any, name: str) -> set[str]:
    """The names that a weight may have in files: with and without the name of the model inside."""
    body = f"{model.base_model_prefix}."
    return {name, body + name, name.removeprefix(body)}


def _warn(said: str) -> None:
    warnings.warn(said, LoadWarning, stacklevel=2)


# ---------------------------------------------------------------- number by number


def check_numbers(source: str, local: bool, model: Any, report: Mapping[str, Any]) -> None:
    """Compare the tensors of the files with those of the model that was read from them, both ways.

    A tensor of the model has a name in files, that under which transformers saves it: there its numbers have to be, in its dtype. Files
    that are older have other names: these, and what of the model has no name there, must have the same numbers one by one, tied
    tensors counted once. That last part is left out of models whose tensors transformers takes apart or puts together
    (`WeightConverter`).
    Raises: LoadError naming the tensors that differ, or that have no counterpart.
    """
    files, wrong, found, left = stored_tensors(source, local), list[str](), dict[str, Tensor](), dict[str, Tensor]()
    converted = _converted(model)
    for key, own in _named(model, converted):
        if key not in files:
            left[key] = own
            continue
        found[key] = own
        wrong += [] if _same(files[key](), own) else [key]
    if not converted:
        stored, alone = _alone({key: read for key, read in files.items() if key not in found}, found, left)
        apart = {key for key in stored if _HARMLESS.search(key) or _told(model, "unexpected", key)}
        wrong += sorted(stored - apart - {*report["unexpected_keys"]})
        wrong += sorted(alone - {*report["missing_keys"]} - {key for key in alone if _told(model, "missing", key)})
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
    there = stored.to(own.device, own.dtype)
    return torch.equal(there, own) or torch.equal(there.nan_to_num(), own.nan_to_num())


def _alone(
    loose: Mapping[str, Callable[[], Tensor]], found: Mapping[str, Tensor], left: Mapping[str, Tensor]
) -> tuple[set[str], set[str]]:
    """Of files and of the model the tensors whose names do not meet and that have no counterpart of the same numbers."""
    met = {own.data_ptr() for own in found.values()}
    open_, alone = {key: own for key, own in left.items() if own.data_ptr() not in met}, set()
    for key, read in loose.items():
        value = read()
        twin = next((own.data_ptr() for own in open_.values() if _same(value, own)), None)
        if twin is not None:
            open_ = {name: own for name, own in open_.items() if own.data_ptr() != twin}
        elif not any(_same(value, own) for own in (*found.values(), *left.values())):
            alone.add(key)
    return alone, {*open_}


def _told(model: Any, what: str, key: str) -> bool:
    """Whether a class says itself that a weight may be missing in files, or be there without a place."""
    patterns = getattr(model, f"_keys_to_ignore_on_load_{what}", None) or ()
    return any(re.search(pattern, key) for pattern in patterns)


def _converted(model: Any) -> bool:
    """Whether transformers took tensors of the files apart, or put some together."""
    from transformers.core_model_loading import WeightConverter

    return any(isinstance(way, WeightConverter) for way in getattr(model, "_weight_conversions", None) or ())


def _named(model: Any, converted: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model under their names in files. Of those that are converted one layer at a time, so that copies do not
    fill the memory, and none of a layer that transformers cannot turn back."""
    from transformers.core_model_loading import revert_weight_conversion

    ways, state = getattr(model, "_weight_conversions", None), model.state_dict()
    for group in _layers(state) if converted else ({key: own} for key, own in state.items()):
        with suppress(Exception) if converted else nullcontext():
            yield from [*(revert_weight_conversion(model, group) if ways else group).items()]


def _layers(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors of each layer by themselves, by the first number in their names."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, own in state.items():
        parts = key.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdecimal()), len(parts))
        groups.setdefault(".".join(parts[: number + 1]), {})[key] = own
    yield from groups.values()
