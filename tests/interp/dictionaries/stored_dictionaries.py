"""What tests of dictionaries on disk share: activations, folders of ours with something changed, one comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.storage import save_dictionary
from tests.interp.dictionaries.random_dictionaries import made

D, N = 8, 24
CLOSE: dict[str, Any] = {"atol": 2e-6, "rtol": 1e-5}


def inputs(n: int = 64, d: int = D, seed: int = 5) -> Tensor:
    """Activations that are not centred and not of size 1."""
    return 1.5 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + 0.7


def same(ours: Dictionary, features: Tensor, made_up: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(ours.encode(x), features, **CLOSE)
    torch.testing.assert_close(ours.reconstruct(x), made_up, **CLOSE)
    assert bool((features > 0).any()) and bool((features == 0).any())


def written(tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any], kind: str = "relu") -> Path:
    """A folder of ours with its configuration and tensors changed."""
    folder = save_dictionary(made("resid_post.1", D, n=N, kind=kind), tmp_path / f"d{len(list(tmp_path.iterdir()))}")
    config = json.loads((folder / "cfg.json").read_text())
    tensors = load_file(folder / "sae_weights.safetensors")
    change(config, tensors)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "sae_weights.safetensors")
    return folder
