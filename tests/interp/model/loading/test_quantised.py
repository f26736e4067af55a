"""Quantised weights are refused by name before anything is read: by the configuration, by files beside it, by their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import interp
from interp.errors import LoadError
from tests.interp.model.loading.folders import change_weights, saved, set_key

CONFIGS: list[tuple[str, Any, str]] = [
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes load_in_4bit=True"),
    ("quantization_config", {"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq bits=4"),
    ("quantization_config", {"quant_method": "awq", "bits": 4}, "awq bits=4"),
    ("quantization_config", {"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
    ("quantization_config", {"quant_method": "fp8", "fmt": "e4m3"}, "fp8 fmt='e4m3'"),
    ("quantization_config", {"quant_method": "mxfp4"}, "mxfp4"),
    ("quantization_config", {"load_in_8bit": True}, "load_in_8bit=True"),
    ("quantization_config", {"something": 1}, "something"),
    ("compression_config", {"quant_method": "sparseml"}, "sparseml"),
    ("quantization", {"group_size": 64, "bits": 4}, "bits=4"),
    ("text_config", {"quantization_config": {"quant_method": "hqq"}}, r"text_config\.quantization_config: hqq"),
]


@pytest.mark.parametrize(("key", "value", "said"), CONFIGS)
def test_by_the_configuration(key: str, value: Any, said: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    set_key(folder, "config.json", key, value)
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"not looked at")
    with pytest.raises(LoadError, match=rf"quantised weights \(config\.json has .*{said}.*before it was quantised"):
        interp.load(folder)


def test_an_entry_that_says_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    set_key(folder, "config.json", "quantization_config", None)
    assert interp.load(folder).layout.n_layers == 2


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_by_a_file_beside_it(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    (folder / name).write_text("{}")
    with pytest.raises(LoadError, match=rf"quantised weights \({name} lies beside"):
        interp.load(folder)


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_by_their_type_though_nothing_says_so(dtype: torch.dtype, tmp_path: Path) -> None:
    folder, name = saved(tmp_path / "m"), "model.layers.1.mlp.up_proj.weight"
    weight = load_file(folder / "model.safetensors")[name]
    change_weights(folder, **{name: weight.to(dtype)})
    with pytest.raises(LoadError, match=r"quantised weights \(model\.layers\.1\.mlp\.up_proj\.weight \((I|U|F|BOOL)"):
        interp.load(folder)


def test_masks_in_bytes_are_no_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "gpt2")
    change_weights(folder, **{"transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8)})
    assert interp.load(folder).layout.n_layers == 2
