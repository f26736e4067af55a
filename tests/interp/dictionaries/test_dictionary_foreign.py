"""Dictionaries of sparsify and dictionary_learning compute here what their equations say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.storage import load_dictionary
from tests.interp.dictionaries.stored_dictionaries import D, N, inputs, same

# ---------------------------------------------------------------- sparsify and dictionary_learning


def sparsify(folder: Path, skip: bool = False, **config: Any) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(2)
    tensors = {
        "encoder.weight": torch.randn(N, D, generator=g, dtype=torch.float64),
        "encoder.bias": torch.randn(N, generator=g, dtype=torch.float64),
    }
    tensors |= {
        "W_dec": torch.randn(N, D, generator=g, dtype=torch.float64),
        "b_dec": torch.randn(D, generator=g, dtype=torch.float64),
    }
    tensors |= {"W_skip": torch.randn(D, D, generator=g, dtype=torch.float64)} if skip else {}
    folder.mkdir(parents=True)
    common = {"d_in": D, "expansion_factor": 3, "num_latents": 0, "k": 4, "normalize_decoder": True, "signed": False}
    (folder / "cfg.json").write_text(json.dumps({**common, **config}))
    save_file(tensors, folder / "sae.safetensors")
    return tensors


@pytest.mark.parametrize("coder", ["sae", "transcoder", "skip"])
def test_sparsify(tmp_path: Path, coder: str) -> None:
    """Against its equations, written with loops over tokens: the k largest, then what is positive of them."""
    transcode, skip = coder != "sae", coder == "skip"
    t = sparsify(tmp_path / "layers.1", skip, transcode=transcode, skip_connection=skip, activation="topk")
    places = {"site": "mlp_normed.1", "target": "mlp_out.1"} if transcode else {}
    found, x = load_dictionary(tmp_path / "layers.1", **places), inputs().double()
    features, made_up = torch.zeros(len(x), N).double(), torch.zeros(len(x), D).double()
    for i, one in enumerate(x):
        u = t["encoder.weight"] @ (one if transcode else one - t["b_dec"]) + t["encoder.bias"]
        for j in sorted(range(N), key=lambda j: -float(u[j]))[:4]:
            features[i, j] = max(float(u[j]), 0.0)
        made_up[i] = t["W_dec"].T @ features[i] + t["b_dec"] + (t["W_skip"] @ one if skip else 0)
    same(found, features, made_up, x)
    assert str(found.target) == ("mlp_out.1" if transcode else "resid_post.1")


def test_sparsify_that_is_not_understood(tmp_path: Path) -> None:
    sparsify(tmp_path / "a" / "layers.1", activation="groupmax")
    sparsify(tmp_path / "b" / "layers.1", signed=True)
    sparsify(tmp_path / "c" / "layers.1.mlp")
    sparsify(tmp_path / "d" / "layers.1", skip=True)
    for name, message in (
        ("a/layers.1", "activation 'groupmax'"),
        ("b/layers.1", "not known here: signed"),
        ("c/layers.1.mlp", "say where it belongs"),
        ("d/layers.1", "does not speak of: W_skip"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load_dictionary(tmp_path / name)


def learnt(folder: Path, dict_class: str) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    linear = {"encoder.weight": draw(N, D), "decoder.weight": draw(D, N)}
    tensors = {
        "AutoEncoder": linear | {"encoder.bias": draw(N), "bias": draw(D)},
        "GatedAutoEncoder": linear
        | {"decoder_bias": draw(D), "r_mag": 0.2 * draw(N), "gate_bias": draw(N), "mag_bias": draw(N)},
        "AutoEncoderTopK": linear
        | {"encoder.bias": draw(N), "b_dec": draw(D), "k": torch.tensor(4), "threshold": torch.tensor(-1.0)},
        "BatchTopKSAE": linear
        | {"encoder.bias": draw(N), "b_dec": draw(D), "k": torch.tensor(4), "threshold": torch.tensor(0.8)},
        "JumpReluAutoEncoder": {"W_enc": draw(D, N), "W_dec": draw(N, D), "b_enc": draw(N), "b_dec": draw(D)}
        | {"threshold": draw(N).abs()},
    }[dict_class]
    folder.mkdir(parents=True)
    trainer = {"dict_class": dict_class, "activation_dim": D, "dict_size": N, "submodule_name": "resid_post_layer_1"}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "ae.safetensors")
    return tensors


def by_its_equations(kind: str, t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and output as dictionary_learning's classes define them."""
    if kind == "JumpReluAutoEncoder":
        u, norms = x @ t["W_enc"] + t["b_enc"], t["W_dec"].norm(dim=1)
        f = torch.where(u > t["threshold"], u.clamp_min(0), torch.zeros((), dtype=torch.float64)) * norms
        return f, (f / norms) @ t["W_dec"] + t["b_dec"]
    b = t[{"AutoEncoder": "bias", "GatedAutoEncoder": "decoder_bias"}.get(kind, "b_dec")]
    u = torch.nn.functional.linear(x - b, t["encoder.weight"], t.get("encoder.bias"))
    norms = torch.ones(N)
    if kind == "GatedAutoEncoder":
        norms = t["decoder.weight"].norm(dim=0)
        f = torch.where(
            u + t["gate_bias"] > 0,
            (t["r_mag"].exp() * u + t["mag_bias"]).clamp_min(0),
            torch.zeros((), dtype=torch.float64),
        )
        f = f * norms
    elif kind == "AutoEncoderTopK":
        kth = u.clamp_min(0).sort(dim=-1, descending=True).values[:, 3:4]
        f = torch.where(u >= kth, u.clamp_min(0), torch.zeros((), dtype=torch.float64))
    else:
        f = torch.where(
            u > t.get("threshold", torch.zeros((), dtype=torch.float64)),
            u.clamp_min(0),
            torch.zeros((), dtype=torch.float64),
        )
    return f, torch.nn.functional.linear(f / norms, t["decoder.weight"]) + b


@pytest.mark.parametrize(
    "kind", ["AutoEncoder", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "JumpReluAutoEncoder"]
)
def test_dictionary_learning(tmp_path: Path, kind: str) -> None:
    t, x = learnt(tmp_path / "d", kind), inputs().double()
    found = load_dictionary(tmp_path / "d")
    same(found, *by_its_equations(kind, t, x), x)
    assert str(found.target) == "resid_post.1"


def test_dictionary_learning_that_is_not_understood(tmp_path: Path) -> None:
    learnt(tmp_path / "a", "AutoEncoder")
    path = tmp_path / "a" / "config.json"
    trainer = json.loads(path.read_text())["trainer"]
    for change, message in (
        ({"dict_class": "CrossCoder"}, "unknown dict_class 'CrossCoder'"),
        ({"submodule_name": "layer1"}, "is not a site's name: give site="),
        ({"dict_class": "AutoEncoderTopK", "k": 3}, "no tensor 'b_dec'"),
        ({"dict_size": 25}, "encoder.weight of shape|bias of shape"),
    ):
        path.write_text(json.dumps({"trainer": trainer | change}))
        with pytest.raises(DictionaryError, match=message):
            load_dictionary(tmp_path / "a")
    (tmp_path / "a" / "ae.safetensors").rename(tmp_path / "a" / "ae.pt")
    with pytest.raises(DictionaryError, match=r"is a pickle, .* convert it where you trust it"):
        load_dictionary(tmp_path / "a", site="resid_post.1")
