"""Dictionaries that sae-lens trained, stored in its present and older formats, compute here what they compute there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.storage import load_dictionary, save_dictionary
from interp.parts.sites import Site
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.dictionaries.stored_dictionaries import CLOSE, D, N, inputs, same


@pytest.fixture(scope="module")
def sae_lens() -> Any:
    return pytest.importorskip("sae_lens")


# ---------------------------------------------------------------- sae-lens' own, read by us


def trained(sae_lens: Any, kind: str, **more: Any) -> Any:
    """A training SAE of sae-lens after a few of its own steps."""
    from sae_lens.registry import get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata, TrainStepInput

    cls, config = get_sae_training_class(kind)
    metadata = SAEMetadata(hook_name="blocks.1.hook_resid_pre", model_name="tiny")
    cfg = config(d_in=D, d_sae=N, metadata=metadata, **more)
    torch.manual_seed(0)
    sae = cls(cfg)
    optimiser = torch.optim.Adam(sae.parameters(), lr=0.02)
    for step in range(12):
        given = TrainStepInput(inputs(256, seed=step), {"l0": 0.01, "l1": 0.1}, None, step, False)
        optimiser.zero_grad()
        sae.training_forward_pass(given).loss.backward()
        optimiser.step()
    return sae


TRAINED: list[tuple[str, dict[str, Any]]] = [
    ("standard", {}),
    ("standard", {"normalize_activations": "layer_norm"}),
    ("standard", {"normalize_activations": "constant_norm_rescale", "apply_b_dec_to_input": False}),
    ("gated", {}),
    ("jumprelu", {"jumprelu_init_threshold": 0.3}),
    ("topk", {"k": 4, "rescale_acts_by_decoder_norm": False}),
    ("topk", {"k": 4, "rescale_acts_by_decoder_norm": True, "decoder_init_norm": 0.3}),
    ("batchtopk", {"k": 4, "rescale_acts_by_decoder_norm": False}),
    ("batchtopk", {"k": 4, "rescale_acts_by_decoder_norm": True, "decoder_init_norm": 0.3}),
    ("matryoshka_batchtopk", {"k": 4, "matryoshka_widths": [6, N]}),
]
IDS = [f"{kind}-{'-'.join(map(str, more.values()))}" for kind, more in TRAINED]


@pytest.mark.parametrize(("kind", "more"), TRAINED, ids=IDS)
def test_we_read_what_sae_lens_trains(sae_lens: Any, tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    sae, x = trained(sae_lens, kind, **more), inputs()
    sae.save_inference_model(tmp_path / "inference")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    found = load_dictionary(tmp_path / "inference")
    same(found, theirs.encode(x), theirs(x), x)
    assert found.site == found.target == Site("resid_pre", 1) and found.details["model_name"] == "tiny"
    sae.save_model(tmp_path / "training")
    same(load_dictionary(tmp_path / "training"), theirs.encode(x), theirs(x), x)


@pytest.mark.parametrize(
    ("kind", "more"),
    [("standard", {}), ("topk", {"k": 4, "rescale_acts_by_decoder_norm": True}), ("batchtopk", {"k": 4})],
)
def test_a_factor_of_the_inputs_is_folded(sae_lens: Any, tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    """What a run in progress stores, and what sae-lens' own folding makes of it at the end."""
    sae, x, s = trained(sae_lens, kind, normalize_activations="expected_average_only_in", **more), inputs(), 0.37
    sae.save_model(tmp_path / "d")
    with pytest.raises(DictionaryError, match="scaling_factor="):
        load_dictionary(tmp_path / "d")
    found = load_dictionary(tmp_path / "d", scaling_factor=s)
    sae.fold_activation_norm_scaling_factor(s)
    sae.save_inference_model(tmp_path / "folded")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "folded")
    same(found, theirs.encode(x), theirs(x), x)
    for wrong in (0, -1.0, float("nan"), "1"):
        (tmp_path / "d" / "activation_scaler.json").write_text(json.dumps({"scaling_factor": wrong}))
        with pytest.raises(DictionaryError, match="expected a number above 0"):
            load_dictionary(tmp_path / "d")
    (tmp_path / "d" / "activation_scaler.json").write_text(json.dumps({"scaling_factor": s}))
    same(load_dictionary(tmp_path / "d"), theirs.encode(x), theirs(x), x)


def old(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    """A folder as sae-lens before version 6 wrote it."""
    folder.mkdir(parents=True)
    common = {"d_in": D, "d_sae": N, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small"}
    common |= {"hook_name": "blocks.1.hook_resid_pre", "hook_layer": 1, "hook_head_index": None}
    common |= {"normalize_activations": "none", "sae_lens_training_version": None, "context_size": 128}
    (folder / "cfg.json").write_text(json.dumps({**common, **config}))
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "sparsity.safetensors").write_bytes(b"")
    return folder


def plain() -> dict[str, Tensor]:
    d = made("resid_post.1", D, n=N)
    return {"W_enc": d.W_enc, "b_enc": d.b_enc, "W_dec": d.W_dec, "b_dec": d.b_dec}


@pytest.mark.parametrize(
    "config",
    [
        {"activation_fn_str": "relu", "apply_b_dec_to_input": True},
        {"activation_fn_str": "relu", "apply_b_dec_to_input": False},
        {"normalize_activations": False},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "normalize_activations": "layer_norm"},
    ],
)
def test_configurations_from_before_version_6(sae_lens: Any, tmp_path: Path, config: dict[str, Any]) -> None:
    folder, x = old(tmp_path / "d", plain(), **config), inputs()
    theirs = sae_lens.SAE.load_from_disk(folder)
    found = load_dictionary(folder)
    same(found, theirs.encode(x), theirs(x), x)
    assert found.site == Site("resid_pre", 1)


def test_a_factor_per_feature_of_old_files_scales_what_is_decoded(sae_lens: Any, tmp_path: Path) -> None:
    factor, x = torch.rand(N) + 0.5, inputs()
    found = load_dictionary(old(tmp_path / "a", plain() | {"scaling_factor": factor}, finetuning_scaling_factor=True))
    without = load_dictionary(old(tmp_path / "b", plain() | {"scaling_factor": torch.ones(N)}))
    assert torch.equal(found.encode(x), without.encode(x))
    expected = (without.encode(x) * factor) @ plain()["W_dec"] + plain()["b_dec"]
    torch.testing.assert_close(found.reconstruct(x), expected, **CLOSE)
    with pytest.raises(DictionaryError, match="a factor per feature that its configuration does not apply"):
        load_dictionary(old(tmp_path / "c", plain() | {"scaling_factor": factor}))


def test_old_activations_that_sae_lens_passes_over_are_refused(sae_lens: Any, tmp_path: Path) -> None:
    for i, (config, message) in enumerate(
        (
            ({"activation_fn_str": "tanh-relu"}, "activation function 'tanh-relu'"),
            ({"activation_fn_str": "topk"}, "topk without its k"),
            ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3, "signed": True}}, r"with \['signed'\]"),
            ({"activation_fn_kwargs": 3}, "with 3"),
            ({"architecture": "abstopk", "k": 3}, "unknown architecture 'abstopk'"),
            ({"hook_head_index": 2}, "of head 2 alone"),
        )
    ):
        with pytest.raises(DictionaryError, match=message):
            load_dictionary(old(tmp_path / str(i), plain(), **config))


def test_a_hub_release(sae_lens: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is sae-lens' own loader's business; what it returns becomes ours."""
    save_dictionary(d := made("resid_post.1", D, n=N, kind="gated"), tmp_path / "d")
    asked = []

    def released(release: str, sae_id: str) -> Any:
        asked.append((release, sae_id))
        if release == "gone":
            raise ValueError("Release gone not found\nsecond line")
        return sae_lens.SAE.load_from_disk(tmp_path / "d")

    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", released)
    x = inputs()
    for found in (
        load_dictionary("hf:gpt2-small-res-jb/blocks.1.hook_resid_pre"),
        load_dictionary("org/name", sae_id="layer_1/width_16k", site="resid_post.0"),
    ):
        same(found, d.encode(x), d.reconstruct(x), x)
    assert found.site == Site("resid_post", 0)
    assert asked == [("gpt2-small-res-jb", "blocks.1.hook_resid_pre"), ("org/name", "layer_1/width_16k")]
    with pytest.raises(DictionaryError, match=r"cannot be loaded: Release gone not found$"):
        load_dictionary("hf:gone/x")
    with pytest.raises(DictionaryError, match="expected hf:RELEASE/SAE_ID"):
        load_dictionary("hf:gpt2-small-res-jb")
