"""What a model's files are, before transformers opens any: no pickles, no adapter in a model's place, sizes that can be.

Of a folder the files themselves are read; of a hub id those that decide which others are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from torch import Tensor

from interp.errors import LoadError, some
from interp.formatting.guarded import foreign_json
from interp.model.loading.quantised import SETTINGS, check_settings, check_types

WEIGHTS: Final = "model.safetensors"
INDEX: Final = f"{WEIGHTS}.index.json"
ADAPTER: Final = "adapter_config.json"
_SAFE: Final = (".safetensors", ".safetensors.index.json")
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
#: Keys of a configuration: how many blocks there are, widths that are axes of some weight, and positions.
_LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTHS: Final = ("vocab_size", "hidden_size", "n_embd", "d_model", "word_embed_proj_dim")
_POSITIONS: Final = ("n_positions", "max_position_embeddings")
_LEARNED: Final = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?|pos_embed\w*)\.weight$")
#: How many times the size of the weights is far beyond it.
_ABSURD: Final = 16


def check_source(source: str, local: bool) -> None:
    """Raises: LoadError for a folder or hub id whose weights are pickles or no whole model, or of impossible sizes."""
    if file(source, local, ADAPTER) is not None:
        refuse_adapter(source, json_object(source, local, ADAPTER))
    config = json_object(source, local, "config.json")
    check_settings(source, config, [name for name in SETTINGS if local and (Path(source) / name).is_file()])
    named = config.get("transformers_weights", WEIGHTS)
    if not isinstance(named, str) or not named.endswith(_SAFE):
        raise LoadError(
            f"config.json of model {source!r}: transformers_weights is {named!r}; expected a safetensors file. Other files may "
            "be pickles, which can run code when they are read."
        )
    shards = _shards(source, local, named)
    if local:
        _check_there(Path(source), named, shards)
        found = list(_headers(Path(source), shards or [named]))
        check_types(source, {name: kind for name, kind, _ in found})
        check_sizes("config.json", config, {name: shape for name, _, shape in found})


def refuse_adapter(source: str, settings: Mapping[str, Any]) -> NoReturn:
    """Raises: LoadError for adapters in a model's place, saying how to merge them."""
    base = settings.get("base_model_name_or_path")
    trained = f", trained on {base!r}" if isinstance(base, str) and base else ""
    raise LoadError(
        f"model {source!r} holds an adapter ({ADAPTER}{trained}), which is no model by itself and would be left out here: give the model "
        f"that it was trained on, with adapter={source!r} (--adapter on the command line), which merges it."
    )


def file(source: str, local: bool, name: str) -> Path | None:
    """The file of this name in a folder, or of a hub id (which may fetch it); None where there is none."""
    if local:
        found = Path(source) / name
        return found if found.is_file() else None
    from transformers.utils import cached_file

    path = cached_file(
        source,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)


def json_object(source: str, local: bool, name: str) -> Mapping[str, Any]:
    """A JSON file with keys; empty where there is none. Raises: LoadError for one that cannot be read."""
    path = file(source, local, name)
    if path is None:
        return {}
    return foreign_json(path, dict, f"{name} of model {source!r}", LoadError)


def _shards(source: str, local: bool, named: str) -> list[str]:
    """The files that an index names; none where there is a single file. Raises: LoadError for another kind of file."""
    if named == WEIGHTS and (not local or not (Path(source) / WEIGHTS).is_file()):
        named = INDEX
    if not named.endswith(".index.json"):
        return []
    found = json_object(source, local, named).get("weight_map", {})
    if not isinstance(found, dict) or not all(isinstance(shard, str) for shard in found.values()):
        raise LoadError(f"{named} of model {source!r}: weight_map is no object from the name of a weight to a file.")
    shards = sorted(set(found.values()))
    if odd := [shard for shard in shards if not shard.endswith(".safetensors")]:
        raise LoadError(
            f"{named} of model {source!r} names {some(odd)}; expected safetensors files only. Others may be pickles, which can "
            "run code when they are read: convert the model with save_pretrained where you trust it."
        )
    return shards


def stored_names(source: str, local: bool) -> frozenset[str]:
    """The names of all weights in the files of a folder, or of a hub id whose files are here."""
    return frozenset(key for path in _weight_files(source, local) for key, *_ in _headers(path.parent, [path.name]))


def stored_rows(source: str, local: bool, wanted: Mapping[str, int]) -> dict[str, Tensor]:
    """One row of each of some weights in the files, by their names there; those that are not there are left out."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in _weight_files(source, local):
        with safe_open(path, framework="pt") as opened:
            for name in wanted.keys() & set(opened.keys()):
                found[name] = opened.get_slice(name)[wanted[name] : wanted[name] + 1]
    return found


def stored_tensors(source: str, local: bool) -> dict[str, Callable[[], Tensor]]:
    """By the name of every weight in the files what reads its numbers."""
    from safetensors import safe_open

    opened: list[Any] = [safe_open(path, framework="pt") for path in _weight_files(source, local)]
    return {name: partial(one.get_tensor, name) for one in opened for name in one.keys()}  # noqa: SIM118


def _weight_files(source: str, local: bool) -> list[Path]:
    named = json_object(source, local, "config.json").get("transformers_weights", WEIGHTS)
    found = [file(source, local, name) for name in _shards(source, local, named) or [named]]
    return [path for path in found if path is not None]


def _check_there(folder: Path, named: str, shards: list[str]) -> None:
    """Raises: LoadError where the weights are not there, with what is there in their place."""
    absent = [name for name in shards or [named] if not (folder / name).is_file()]
    if not absent:
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    there = (
        f"it has pickles ({some(pickles)}), which can run code when they are read: convert the model with save_pretrained where you trust it"
        if pickles
        else "copy the whole model into it"
    )
    raise LoadError(f"model {str(folder)!r} lacks its weights, {some(absent)}; {there}.")


def _headers(folder: Path, names: list[str]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, type and shape of every weight, from the headers of the files. Raises: LoadError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    for name in names:
        try:
            with safe_open(folder / name, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    found = opened.get_slice(key)
                    yield key, found.get_dtype(), tuple(found.get_shape())
        except (OSError, ValueError, SafetensorError) as error:
            raise LoadError(f"{name} of model {str(folder)!r} cannot be read: {error}.") from error


def check_sizes(where: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises: LoadError for sizes far beyond those of the weights: a model of them would be made in memory before it is found
    out. Smaller differences are found when the weights are read."""
    longest = max((n for shape in shapes.values() for n in shape), default=0)
    learned = max((shape[0] for name, shape in shapes.items() if shape and _LEARNED.search(name)), default=None)
    limits = {
        **dict.fromkeys(_LAYERS, (len(shapes), f"there are {len(shapes)} weights")),
        **dict.fromkeys(_WIDTHS, (_ABSURD * longest, f"no weight is longer than {longest}")),
    }
    if learned is not None:
        limits |= dict.fromkeys(_POSITIONS, (_ABSURD * learned, f"position embeddings end at {learned}"))
    for key, (limit, says) in limits.items():
        value = config.get(key)
        if isinstance(value, int) and value > limit:
            raise LoadError(f"{where}: {key} is {value}, but {says}: it belongs to other weights.")
