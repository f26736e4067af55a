"""Files are looked at before transformers opens them: no pickle is reached, no adapter left out, no impossible size made."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.errors import LoadError
from tests.interp.model.loading.folders import copy_of_demo, saved, set_key

INDEX = "model.safetensors.index.json"


def index(folder: Path, shard: Any) -> None:
    weight_map = {"transformer.wte.weight": shard}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def as_pickle(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"x": print}))


def _bin_index(folder: Path) -> None:
    as_pickle(folder, "pytorch_model.bin")
    index(folder, "pytorch_model.bin")


def _absolute(folder: Path) -> None:
    as_pickle(folder, "weights.pt")
    index(folder, str(folder / "weights.pt"))


def _mixed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "b.bin").write_bytes(pickle.dumps({"x": print}))
    weight_map = {"transformer.wte.weight": "a.safetensors", "transformer.wpe.weight": "b.bin"}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def _named(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        as_pickle(folder, name)
        set_key(folder, "config.json", "transformers_weights", name)

    return make


def _named_index(folder: Path) -> None:
    as_pickle(folder, "pytorch_model.bin")
    index(folder, "pytorch_model.bin")
    (folder / INDEX).rename(folder / "other.safetensors.index.json")
    set_key(folder, "config.json", "transformers_weights", "other.safetensors.index.json")


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(folder)})
    )
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"x": print}))


def _disguised(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"x": print}))


PICKLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "index": (_bin_index, r"index\.json.*pytorch_model\.bin.*safetensors"),
    "absolute": (_absolute, r"weights\.pt.*safetensors"),
    "mixed": (_mixed, r"b\.bin.*safetensors"),
    "only .bin": (lambda folder: as_pickle(folder, "pytorch_model.bin"), r"pytorch_model\.bin.*save_pretrained"),
    "only .pt": (lambda folder: as_pickle(folder, "model.pt"), r"model\.pt.*save_pretrained"),
    "named": (_named("pytorch_model.bin"), "transformers_weights"),
    "named as an adapter's": (_named("adapter_model.bin"), "transformers_weights"),
    "named index": (_named_index, r"pytorch_model\.bin.*safetensors"),
    "adapter": (_adapter, r"adapter.*--adapter"),
    "disguised": (_disguised, r"model\.safetensors"),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_no_pickle_is_reached(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, lambda *a, **k: called.append(a))
    make, says = PICKLES[kind]
    folder = copy_of_demo(tmp_path / "m")
    make(folder)
    with pytest.raises(LoadError, match=says):
        interp.load(folder)
    assert not called


def test_shards_of_safetensors_load(tmp_path: Path) -> None:
    plain = interp.load("demo")
    plain.hf.save_pretrained(tmp_path / "m", max_shard_size="200KB")
    assert (tmp_path / "m" / INDEX).is_file()
    again = interp.load(tmp_path / "m")
    assert torch.equal(again.run([1, 2, 3]).logits, plain.run([1, 2, 3]).logits)
    next((tmp_path / "m").glob("model-00002*")).unlink()
    with pytest.raises(LoadError, match="lacks its weights, model-00002"):
        interp.load(tmp_path / "m")


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, {"a": None}, "x"])
def test_a_damaged_index(weight_map: Any, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(LoadError, match=r"index\.json"):
        interp.load(folder)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("llama", "num_hidden_layers", 10**9),
        ("llama", "vocab_size", 10**12),
        ("llama", "hidden_size", 10**9),
        ("gpt2", "n_layer", 10**30),
        ("gpt2", "n_positions", 10**9),
        ("opt", "max_position_embeddings", 10**9),
    ],
)
def test_impossible_sizes_are_refused_before_anything_is_made(name: str, key: str, value: int, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", name)
    set_key(folder, "config.json", key, value)
    with pytest.raises(LoadError, match=f"{key} is {value}"):
        interp.load(folder)


def test_a_long_context_without_a_table_of_positions_loads(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "llama", max_position_embeddings=131072)
    assert interp.load(folder).layout.n_layers == 2
