"""Adapters that peft saved, merged: the sum of the weights in closed form, a live peft model, and what is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import interp
from interp.errors import LoadError
from tests.interp.model.loading.folders import saved, set_key
from tests.interp.model.tiny import ids, tiny

peft = pytest.importorskip("peft", reason="peft is not installed (pip install relevance-circuits[peft])")
LORA = {
    "peft_type": "LORA",
    "r": 3,
    "lora_alpha": 7,
    "target_modules": ["q_proj", "down_proj"],
    "base_model_name_or_path": "org/base",
}
FILE = "adapter_model.safetensors"


def lora(folder: Path, name: str = "llama", **changed: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """A folder written by hand: a pair A [r in], B [out r] for each weight of q and down, by the module's name."""
    folder.mkdir()
    settings = {**LORA, **changed}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    generator, pairs, tensors = torch.Generator().manual_seed(1), {}, {}
    for path, module in tiny(name).named_modules():
        if path.endswith(tuple(LORA["target_modules"])):
            out, width = module.weight.shape
            a, b = (0.2 * torch.randn(shape, generator=generator) for shape in ((3, width), (out, 3)))
            pairs[path] = (a, b)
            tensors |= {f"base_model.model.{path}.lora_A.weight": a, f"base_model.model.{path}.lora_B.weight": b}
    save_file(tensors, folder / FILE)
    return pairs


@pytest.mark.parametrize(("rslora", "scale"), [(False, 7 / 3), (True, 7 / 3**0.5)])
def test_weights_are_the_sum_in_closed_form(rslora: bool, scale: float, tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    pairs = lora(tmp_path / "a", use_rslora=rslora)
    model = interp.load(base, adapter=tmp_path / "a")
    assert len(pairs) == 4
    for name, weight in tiny("llama").state_dict().items():
        a, b = pairs.get(name.removesuffix(".weight"), (None, None))
        wanted = weight if a is None else weight + scale * b @ a
        assert torch.allclose(model.hf.state_dict()[name], wanted, rtol=1e-6, atol=1e-6), name
    assert type(model.hf) is type(tiny("llama")) and model.name == "base+a"
    merged = model.origin.merged
    assert merged is not None and (merged.kind, merged.base, merged.folder) == ("LORA", "org/base", str(tmp_path / "a"))


KINDS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(target_modules=["q_proj", "up_proj"], init_lora_weights=False),
    "dora": lambda: peft.LoraConfig(target_modules=["v_proj", "up_proj"], use_dora=True, init_lora_weights=False),
    "loha": lambda: peft.LoHaConfig(target_modules=["q_proj", "up_proj"], init_weights=False),
    "lokr": lambda: peft.LoKrConfig(target_modules=["q_proj", "up_proj"], init_weights=False),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False
    ),
    "oft": lambda: peft.OFTConfig(target_modules=["q_proj"], oft_block_size=4, init_weights=False),
    "saved": lambda: peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"], init_lora_weights=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_live_adapters(kind: str, tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    torch.manual_seed(0)
    live = peft.get_peft_model(tiny("llama"), KINDS[kind]()).eval()
    with torch.no_grad():
        for name, p in live.named_parameters():
            if "modules_to_save" in name:
                p.add_(0.1 * torch.randn_like(p))
        wanted, plain = live(input_ids=ids()).logits, tiny("llama")(input_ids=ids()).logits
    live.save_pretrained(tmp_path / "a")
    model = interp.load(base, adapter=str(tmp_path / "a"))
    assert not torch.allclose(wanted, plain, atol=1e-2)
    assert torch.allclose(model.run(ids()).logits, wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(model.run(ids(), reads=["z"]).logits, model.hf(input_ids=ids()).logits)


def test_sums_are_rounded_once(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny("llama").bfloat16().save_pretrained(base)
    pairs = lora(tmp_path / "a")
    model = interp.load(base, adapter=tmp_path / "a")
    assert model.dtype == torch.bfloat16
    for path, (a, b) in pairs.items():
        weight = tiny("llama").get_submodule(path).weight.bfloat16().double()
        wanted = (weight + 7 / 3 * b.double() @ a.double()).bfloat16()
        off = (model.hf.get_submodule(path).weight != wanted).float().mean()
        assert off < 0.01  # float32 in between moves a few that lie on the edge
    assert interp.load(base, adapter=tmp_path / "a", dtype="float64").dtype == torch.float64


# ---------------------------------------------------------------- what is refused


def test_adapters_alone_say_how_to_merge_them(tmp_path: Path) -> None:
    lora(tmp_path / "a")
    with pytest.raises(LoadError, match=r"adapter.*trained on 'org/base'.*adapter='.*/a' \(--adapter"):
        interp.load(tmp_path / "a")


def test_a_model_with_adapters_beside_it(tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    (base / "adapter_config.json").write_text(json.dumps(LORA))
    with pytest.raises(LoadError, match="adapter_config"):
        interp.load(base)


def _other_model(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    save_file({name: t[:, :-1].contiguous() if "lora_A" in name else t for name, t in tensors.items()}, folder / FILE)


def _renamed(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    save_file({name.replace("layers.1", "layers.7"): t for name, t in tensors.items()}, folder / FILE)


def _fewer(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    save_file({name: t for name, t in tensors.items() if "layers.0" in name}, folder / FILE)


def _infinite(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    save_file({name: t / 0 for name, t in tensors.items()}, folder / FILE)


def _pickled(folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"x": print}))


def _set(key: str, value: Any) -> Any:
    return lambda folder: set_key(folder, "adapter_config.json", key, value)


REFUSED: dict[str, tuple[Any, str]] = {
    "shapes": (
        _other_model,
        r"shapes differ \(4\).*lora_A\.weight is \[3, \d+\], here \[3, \d+\].*trained on 'org/base'",
    ),
    "another layer": (_renamed, r"tensors \(4\) that belong to no weight of it: .*layers\.7\."),
    "missing": (_fewer, r"lacks tensors \(4\).*layers\.1\."),
    "not finite": (_infinite, "not finite"),
    "pickles": (_pickled, "lacks adapter_model.safetensors.*pickles"),
    "damaged": (lambda folder: (folder / FILE).write_bytes(b"x" * 20), "cannot be read"),
    "no settings": (lambda folder: (folder / "adapter_config.json").unlink(), "no folder with adapter_config.json"),
    "damaged settings": (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read"),
    "no kind": (_set("peft_type", None), "names no kind"),
    "prompts": (_set("peft_type", "PROMPT_TUNING"), "kind PROMPT_TUNING, which is not merged.*LORA"),
    "nothing": (_set("peft_type", "NOTHING"), "kind NOTHING"),
    "no such module": (_set("target_modules", ["c_attn"]), "c_attn"),
    "newer settings": (_set("use_magic", True), "use_magic, which peft .* does not know"),
    "odd rank": (_set("r", -1), "cannot be merged"),
    "other rank": (_set("r", 5), r"shapes differ"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(what: str, tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    lora(tmp_path / "a")
    change, said = REFUSED[what]
    change(tmp_path / "a")
    with pytest.raises(LoadError, match=said):
        interp.load(base, adapter=tmp_path / "a")


def test_a_head_that_is_tied_is_not_changed_alone(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", "llama-tied")
    live = peft.get_peft_model(tiny("llama-tied"), peft.LoraConfig(target_modules=["lm_head"], init_lora_weights=False))
    live.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    with pytest.raises(LoadError, match="from those with live adapters"):
        interp.load(base, adapter=tmp_path / "a")


def test_only_models_by_name(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="adapter belongs to models loaded by name"):
        interp.load(tiny("llama"), adapter=tmp_path)


def test_without_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora(tmp_path / "a")
    monkeypatch.setattr("interp.model.loading.adapters.find_spec", lambda name: None)
    with pytest.raises(LoadError, match=r"pip install 'relevance-circuits\[peft\]'"):
        interp.load("demo", adapter=tmp_path / "a")
