"""The reference transformer: against the known outputs of compiled programs, against transformer-lens, and inside the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import interp
from interp.errors import LoadError, TaskError
from interp.model.loading.transformer_lens_files import load_reference, read_config, reference_model
from interp.model.model import HookedModel

PROGRAMS = ("count_a", "hist", "pair_balance", "reverse", "sort_unique")
SETTINGS: dict[str, Any] = {
    "n_layers": 2,
    "n_heads": 3,
    "d_head": 5,
    "d_model": 24,
    "d_mlp": 20,
    "d_vocab": 17,
    "d_vocab_out": 13,
    "n_ctx": 14,
    "act_fn": "gelu",
    "normalization_type": "LN",
    "attention_dir": "causal",
    "attn_scale": "sqrt(d_head)",
    "positional_embedding_type": "standard",
}
SHAPES = [
    {},
    {"act_fn": "gelu_new", "attention_dir": "bidirectional"},
    {"act_fn": "relu", "normalization_type": None, "attn_scale": 3.5},
    {"act_fn": "silu", "normalization_type": None, "attention_dir": "bidirectional"},
    {"attn_only": True, "act_fn": None, "d_mlp": None},
    {"eps": 0.5},
]


def lens(settings: dict[str, Any], weights: dict[str, torch.Tensor] | None = None) -> Any:
    """The peer: a `HookedTransformer` of these settings without any processing, in float64, with random biases and norms."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    scale = settings["attn_scale"]
    own = {"attn_scale": settings["d_head"] ** 0.5 if scale == "sqrt(d_head)" else scale, "device": "cpu"}
    config = HookedTransformerConfig(**{**settings, **own, "dtype": torch.float64})
    model = HookedTransformer(config, move_to_device=False).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name] if weights else 0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def tokens(settings: dict[str, Any], length: int) -> torch.Tensor:
    return torch.randint(0, settings["d_vocab"], (3, length), generator=torch.Generator().manual_seed(1))


def random_tensors(settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random weights under TransformerLens names, shapes written by hand."""
    d, h, e, m = (settings[key] for key in ("d_model", "n_heads", "d_head", "d_mlp"))
    shapes = {"embed.W_E": (settings["d_vocab"], d), "pos_embed.W_pos": (settings["n_ctx"], d)}
    shapes |= {"unembed.W_U": (d, settings["d_vocab_out"]), "unembed.b_U": (settings["d_vocab_out"],)}
    shapes |= {"ln_final.w": (d,), "ln_final.b": (d,)}
    for block in (f"blocks.{layer}" for layer in range(settings["n_layers"])):
        shapes |= {f"{block}.attn.W_{c}": (h, d, e) for c in "QKV"} | {f"{block}.attn.b_{c}": (h, e) for c in "QKV"}
        shapes |= {f"{block}.attn.W_O": (h, e, d), f"{block}.attn.b_O": (d,)}
        shapes |= {f"{block}.mlp.W_in": (d, m), f"{block}.mlp.b_in": (m,)}
        shapes |= {f"{block}.mlp.W_out": (m, d), f"{block}.mlp.b_out": (d,)}
        shapes |= {f"{block}.{norm}.{p}": (d,) for norm in ("ln1", "ln2") for p in "wb"}
    generator = torch.Generator().manual_seed(2)
    return {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def folder_of(path: Path, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    save_file(tensors, path / "model.safetensors")
    return path


# ---------------------------------------------------------------- against transformer-lens


@pytest.mark.parametrize("changes", SHAPES, ids=lambda c: ",".join(map(str, c.values())) or "plain")
def test_logits_are_those_of_transformer_lens(changes: dict[str, Any]) -> None:
    settings = {**SETTINGS, **changes}
    peer = lens(settings)
    ours = reference_model(settings, peer.state_dict())
    ids = tokens(settings, 11)
    with torch.no_grad():
        expected, found = peer(ids), ours(ids).logits
    assert found.dtype is torch.float64 and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_saved_configuration_of_transformer_lens_is_understood() -> None:
    peer = lens(SETTINGS)
    ours = reference_model(peer.cfg.to_dict(), peer.state_dict())
    ids = tokens(SETTINGS, 5)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, peer(ids), rtol=1e-10, atol=1e-10)


def test_a_trained_model_has_the_logits_of_transformer_lens(assets: Path) -> None:
    folder = assets / "models" / "periodic8_shortcut"
    settings = json.loads((folder / "config.json").read_text())
    ours = load_reference(folder, "float64")
    from safetensors.torch import load_file

    described = ("source", "task", "measured")
    peer = lens({k: v for k, v in settings.items() if k not in described}, load_file(folder / "model.safetensors"))
    ids = tokens(settings, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, peer(ids), rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- against known outputs


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_compiled_program_gives_its_known_outputs(assets: Path, program: str) -> None:
    folder = assets / "truth" / program
    settings, rows = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "pairs"))
    model = interp.load(folder)
    for side in ("clean", "corrupt"):
        with torch.no_grad():
            logits = model.run([row[f"{side}_ids"] for row in rows]).logits[:, 1:]
        if settings["output"] == "numeric":
            expected = torch.tensor([row[f"{side}_out"] for row in rows], dtype=logits.dtype)
            assert float((logits[..., 0] - expected).abs().max()) < 1e-4
        else:
            index = settings["output_vocab"]
            expected = torch.tensor([[index[str(value)] for value in row[f"{side}_out"]] for row in rows])
            assert torch.equal(logits.argmax(-1), expected)


def test_modular_addition_is_right_on_all_pairs(assets: Path) -> None:
    model = load_reference(assets / "models" / "modadd59")
    a, b = torch.meshgrid(torch.arange(59), torch.arange(59), indexing="ij")
    with torch.no_grad():
        found = model(torch.stack([a.flatten(), b.flatten()], dim=1)).logits[:, -1].argmax(-1)
    assert len(found) == 3481 and torch.equal(found, ((a + b) % 59).flatten())


# ---------------------------------------------------------------- inside the engine


def random_model(**changes: Any) -> HookedModel:
    settings = {**SETTINGS, "d_vocab_out": SETTINGS["d_vocab"], **changes}
    return HookedModel(reference_model(settings, random_tensors(settings)))


def test_every_site_can_be_read_and_changes_nothing() -> None:
    model = random_model()
    ids = tokens(SETTINGS, 9)
    model.hf.set_attn_implementation("eager")
    with torch.no_grad():
        run, plain = model.run(ids, reads=model.sites()), model.hf(ids).logits
    assert torch.equal(run.logits, plain)
    z, weight, bias = run["z.1"], model.hf.blocks[1].attn.W_O.weight, model.hf.blocks[1].attn.W_O.bias
    torch.testing.assert_close(z.flatten(2) @ weight.T + bias, run["attn_out.1"])


def test_attention_of_both_implementations_agrees_and_looks_where_it_may() -> None:
    for direction in ("causal", "bidirectional"):
        model = random_model(attention_dir=direction)
        ids = tokens(SETTINGS, 6)
        with torch.no_grad():
            fused, pattern = model.run(ids).logits, model.run(ids, reads=["pattern"])["pattern.0"]
            model.hf.set_attn_implementation("eager")
            eager = model.run(ids).logits
        torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
        assert bool((pattern.triu(1) > 0).any()) is (direction == "bidirectional")


def test_logits_of_the_last_positions_and_from_embeddings() -> None:
    model = random_model().hf
    ids = tokens(SETTINGS, 7)
    with torch.no_grad():
        whole = model(ids).logits
        assert torch.equal(model(inputs_embeds=model.embed(ids), use_cache=False).logits, whole)
        torch.testing.assert_close(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    with pytest.raises(LoadError, match="use_cache=False"):
        model(ids, use_cache=True)
    with pytest.raises(LoadError, match="one of them"):
        model()


def test_attention_only_writes_nothing_by_its_mlps() -> None:
    settings = {**SETTINGS, "attn_only": True}
    tensors = {n: t for n, t in random_tensors(settings).items() if ".mlp." not in n and ".ln2." not in n}
    model = HookedModel(reference_model(settings, tensors))
    with torch.no_grad():
        run = model.run(tokens(settings, 6), reads=["mlp_out", "resid_mid", "resid_post"])
    for layer in range(2):
        assert not run[f"mlp_out.{layer}"].any()
        assert torch.equal(run[f"resid_mid.{layer}"], run[f"resid_post.{layer}"])


# ---------------------------------------------------------------- folders


def test_a_folder_is_recognised_by_its_configuration(tmp_path: Path) -> None:
    tensors = random_tensors(SETTINGS)
    folder = folder_of(tmp_path / "m", {**SETTINGS, "doc": "a toy"}, tensors)
    model = interp.load(folder, dtype="float64")
    assert model.name == "m" and model.dtype is torch.float64 and model.tokenizer is None
    ids = tokens(SETTINGS, 4)
    with torch.no_grad():
        assert torch.equal(model.run(ids).logits, reference_model(SETTINGS, tensors, torch.float64)(ids).logits)
    with pytest.raises(TaskError, match="context is 14"):
        model.run([1] * 15)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"act_fn": "solu"}, "act_fn is 'solu'"),
        ({"normalization_type": "RMS"}, "normalization_type is 'RMS'"),
        ({"positional_embedding_type": "rotary"}, "positional_embedding_type is 'rotary'"),
        ({"attention_dir": "sideways"}, "attention_dir is 'sideways'"),
        ({"gated_mlp": True}, "gated_mlp is True"),
        ({"parallel_attn_mlp": True}, "parallel_attn_mlp is True"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"output_logits_soft_cap": 30.0}, "output_logits_soft_cap is 30.0"),
        ({"use_local_attn": True}, "use_local_attn is True"),
        ({"n_key_value_heads": 1}, "n_key_value_heads"),
        ({"attn_scale": 0}, "attn_scale is 0"),
        ({"attn_scale": "sqrt(d_model)"}, r"number above 0 or 'sqrt\(d_head\)'"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"n_layers": 2.0}, "n_layers is 2.0"),
        ({"atn_only": True}, "Did you mean attn_only"),
        ({"attn_only": "yes"}, "attn_only is 'yes'"),
    ],
)
def test_a_key_that_changes_the_computation_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        read_config({**SETTINGS, **changes})


@pytest.mark.parametrize("key", ["n_ctx", "attn_scale", "act_fn", "normalization_type", "d_mlp"])
def test_a_key_that_is_needed_is_missed_by_name(key: str) -> None:
    with pytest.raises(LoadError, match=f"lacks {key}"):
        read_config({k: v for k, v in SETTINGS.items() if k != key})


def test_tensors_that_are_missing_unexpected_or_misshapen_are_named(tmp_path: Path) -> None:
    good = random_tensors(SETTINGS)
    name = "blocks.1.attn.W_K"
    cases = {
        f"lacks tensors {name}": {k: v for k, v in good.items() if k != name},
        "unexpected tensors blocks.0.attn.W_G": {**good, "blocks.0.attn.W_G": good[name].clone()},
        rf"{name} has shape \[3, 5, 24\]": {**good, name: good[name].mT.contiguous()},
        "mixes torch.float32, torch.float64": {**good, name: good[name].double()},
    }
    for i, (says, tensors) in enumerate(cases.items()):
        with pytest.raises(LoadError, match=says):
            interp.load(folder_of(tmp_path / str(i), SETTINGS, tensors))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", SETTINGS, random_tensors(SETTINGS))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match="cannot be loaded"):
        interp.load(folder)
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(LoadError, match="cannot be loaded"):
        interp.load(folder)


def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", SETTINGS, random_tensors(SETTINGS))
    (folder / "config.json").write_text("[1, 2]")
    with pytest.raises(LoadError, match="holds a list"):
        load_reference(folder)
