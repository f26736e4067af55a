"""GGUF files: what transformers makes of llama.cpp's names and orders, bit for bit; what a file says and a model would not follow."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import interp
from interp.errors import LayoutError, LoadError
from interp.model.loading.gguf_files import CHECKED
from interp.model.loading.gguf_header import read_header
from tests.interp.model.loading.in_gguf.gguf_writing import write
from tests.interp.model.tiny import VOCAB, ids, randomise, tiny

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (pip install relevance-circuits[gguf])")
_ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
#: What a file cannot say stands as llama.cpp has it.
CHANGES: dict[str, dict[str, Any]] = {
    "gemma2": {"query_pre_attn_scalar": 8},
    "gemma3": {"query_pre_attn_scalar": 8, "num_hidden_layers": 6, "layer_types": None, "tie_word_embeddings": True},
    "gpt2": {"tie_word_embeddings": False},
    "llama": {"tie_word_embeddings": True},
    "smollm3": {"num_hidden_layers": 5, "tie_word_embeddings": True, "no_rope_layers": None, "layer_types": None},
}


def model_of(kind: str) -> Any:
    if kind == "starcoder2":
        sizes = {
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
        }
        config = transformers.Starcoder2Config(
            vocab_size=VOCAB, hidden_size=32, intermediate_size=48, **sizes, rope_theta=123.0
        )
        model = transformers.AutoModelForCausalLM.from_config(config)
        randomise(model)
        return model.eval()
    return tiny("gemma3_text" if kind == "gemma3" else kind, **CHANGES.get(kind, {}))


@pytest.mark.parametrize("kind", CHECKED)
def test_an_architecture_there_and_back(kind: str, tmp_path: Path) -> None:
    hf = model_of(kind)
    write(tmp_path / "m.gguf", kind, hf, tokenizer__ggml__padding_token_id=0)
    model = interp.load(tmp_path / "m.gguf")
    assert type(model.hf) is type(hf)
    # Norms that llama.cpp keeps with 1 added lose a digit.
    for name, weight in hf.state_dict().items():
        assert torch.allclose(model.hf.state_dict()[name], weight, rtol=0, atol=1e-6), name
    with torch.no_grad():
        assert torch.allclose(model.hf(ids()).logits, hf(ids()).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("packed", ["Q8_0", "Q4_1", "F16", "F32"])
def test_blocks_are_unpacked_bit_for_bit(packed: str, tmp_path: Path) -> None:
    expected = write(tmp_path / "m.gguf", "llama", tiny("llama", intermediate_size=64), packed)
    model = interp.load(tmp_path / "m.gguf")
    assert model.dtype == torch.float32
    assert all(torch.equal(model.hf.state_dict()[name], weight) for name, weight in expected.items())
    seen = model.origin.dequantised
    assert seen is not None and seen.file == "m.gguf" and seen.packed == (16 if packed.startswith("Q") else 0)
    assert seen.tensors[packed] == (21 if packed == "F32" else 16)
    half = interp.load(tmp_path / "m.gguf", dtype="float16")
    assert all(torch.equal(half.hf.state_dict()[name], weight.half()) for name, weight in expected.items())
    assert not hasattr(model.hf.config, "quantization_config")


def test_as_transformers_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    write(tmp_path / "m.gguf", "llama", tiny("llama", intermediate_size=64), "Q4_0", llama__vocab_size=VOCAB)
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=str(tmp_path / "m.gguf"), dtype="float32"
    )
    model = interp.load(tmp_path / "m.gguf")
    assert torch.equal(interp.load(peer).run(ids()).logits, model.run(ids()).logits)


def test_the_rotation_of_llama_3(tmp_path: Path) -> None:
    def made(**rope: Any) -> Any:
        return tiny(
            "llama", rope_parameters={**_ROPE, "original_max_position_embeddings": 8192, **rope}, hidden_size=256
        )

    hf = made()
    inv = hf.model.rotary_emb.inv_freq
    plain = 5e5 ** -(torch.arange(32) / 32)
    write(tmp_path / "m.gguf", "llama", hf, extra={"rope_freqs.weight": plain / inv})
    model = interp.load(tmp_path / "m.gguf")
    assert torch.allclose(model.hf.model.rotary_emb.inv_freq, inv, rtol=1e-5)
    assert float((plain / inv).max()) == pytest.approx(32)
    other = made(high_freq_factor=8.0).model.rotary_emb.inv_freq
    write(tmp_path / "o.gguf", "llama", hf, extra={"rope_freqs.weight": plain / other})
    with pytest.raises(LoadError, match=r"rope_freqs\.weight.*Llama 3"):
        interp.load(tmp_path / "o.gguf")


# ---------------------------------------------------------------- what a file says, and the model would not follow


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"llama__rope__scaling__type": "yarn"}, "rope.scaling.type = 'yarn'"),
        ({"llama__rope__scaling__factor": 8.0}, r"rope.scaling.factor = 8 \(converted: 1"),
        ({"llama__attention__key_length": 16}, r"attention.key_length = 16 \(converted: 8\)"),
        ({"llama__attention__value_length": 16}, r"attention.value_length = 16 \(converted: 8\)"),
        ({"llama__rope__dimension_count": 4}, "rope.dimension_count = 4|shapes"),
        ({"llama__attention__clamp_kqv": 8.0}, "attention.clamp_kqv = 8"),
        ({"llama__logit_scale": 0.5}, "logit_scale = 0.5"),
        ({"llama__attention__sliding_window": 4}, r"attention.sliding_window = 4 \(converted: None\)"),
        ({"llama__attn_logit_softcapping": 30.0}, r"attn_logit_softcapping = 30 \(converted: None\)"),
        ({"llama__final_logit_softcapping": 30.0}, r"final_logit_softcapping = 30 \(converted: None\)"),
        ({"llama__block_count": 3}, r"lack 9 of the weights.*layers\.2\."),
        ({"llama__block_count": 1}, r"tensors \(9\).*no place.*blk\.1\."),
        ({"llama__attention__head_count_kv": 4}, "shapes"),
        ({"general__alignment": 0}, "general.alignment 0"),
        ({"split__count": 3}, "one part of 3"),
    ],
)
def test_keys_that_are_left_out(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", tiny("llama"), **changed)
    with pytest.raises(LoadError, match=said):
        interp.load(tmp_path / "m.gguf")


@pytest.mark.parametrize("changed", [{}, {"olmo2__attention__sliding_window_pattern": [True, False]}])
def test_olmo_3_which_has_the_name_of_olmo_2(changed: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "olmo2", tiny("olmo2"), olmo2__attention__sliding_window=4, **changed)
    with pytest.raises(LoadError, match=r"attention.sliding_window = 4 \(converted: None\)"):
        interp.load(tmp_path / "m.gguf")


def test_layers_without_rotation_that_no_key_says(tmp_path: Path) -> None:
    """Every fourth of SmolLM3, by llama.cpp; another model is not what its file is taken for."""
    for rotated, same in ((None, True), ([1, 1, 0, 1, 1], False)):
        hf = tiny("smollm3", **{**CHANGES["smollm3"], "no_rope_layers": rotated})
        write(tmp_path / "m.gguf", "smollm3", hf, tokenizer__ggml__padding_token_id=0)
        model = interp.load(tmp_path / "m.gguf")
        assert model.hf.config.no_rope_layers == [1, 1, 1, 0, 1]
        with torch.no_grad():
            assert torch.allclose(model.hf(ids()).logits, hf(ids()).logits, rtol=1e-4, atol=1e-4) == same


def test_what_a_rotation_is_where_a_file_does_not_say_it(tmp_path: Path) -> None:
    """By llama.cpp: of base 10000, and scaled by any factor that is there unless the type is none."""
    for name, changed in (
        ("base", {"llama__rope__freq_base": None}),
        ("one", {"llama__rope__scaling__factor": 1.0}),
        ("none", {"llama__rope__scaling__type": "none", "llama__rope__scaling__factor": 8.0}),
    ):
        write(tmp_path / f"{name}.gguf", "llama", tiny("llama"), **changed)
        used = interp.load(tmp_path / f"{name}.gguf").hf.config.rope_parameters
        assert used["rope_theta"] == 10000 and used["rope_type"] == "default"
    write(tmp_path / "gemma.gguf", "gemma3", tiny("gemma3_text"), gemma3__rope__freq_base=None)
    with pytest.raises(
        LoadError, match=r"rope.freq_base = 10000 \(converted: 1e\+06|rope.freq_base = 10000 \(converted: 1000000"
    ):
        interp.load(tmp_path / "gemma.gguf")


def test_tensors_too_few_and_too_many(tmp_path: Path) -> None:
    write(tmp_path / "few.gguf", "llama", tiny("llama"), drop=("blk.1.attn_k.weight",))
    with pytest.raises(LoadError, match=r"lack 1 of the weights.*layers\.1\.self_attn\.k_proj"):
        interp.load(tmp_path / "few.gguf")
    write(tmp_path / "many.gguf", "llama", tiny("llama"), extra={"blk.0.attn_q.bias2": torch.ones(3)})
    with pytest.raises(LoadError, match=r"tensors \(1\).*attn_q\.bias2"):
        interp.load(tmp_path / "many.gguf")


def test_an_architecture_that_is_not_converted(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", tiny("llama"))
    data = (tmp_path / "m.gguf").read_bytes().replace(b"llama", b"deci9")
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(LoadError, match=r"architecture 'deci9'.*gemma2, gemma3"):
        interp.load(tmp_path / "m.gguf")


# ---------------------------------------------------------------- files that are none, or not whole


def test_a_file_cut_off_anywhere(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", tiny("llama", intermediate_size=64), "Q8_0")
    data = (tmp_path / "m.gguf").read_bytes()
    for length in [4, 8, 20, 24, 40, *range(60, len(data), 997), len(data) - 1]:
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        with pytest.raises(LoadError, match="cut off"):
            read_header(tmp_path / "cut.gguf")


def test_damaged_headers_load_or_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", tiny("llama"), general__file_type=[1, 2])
    data, draw = (tmp_path / "m.gguf").read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(draw.choice([1, 1, 4])):
            damaged[draw.randrange(1800)] = draw.choice([0, 1, 8, 9, 255, draw.randrange(256)])
        (tmp_path / "d.gguf").write_bytes(damaged)
        with suppress(LoadError, LayoutError):
            interp.load(tmp_path / "d.gguf")


def test_headers_that_promise_too_much(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for n_tensors, n_keys in ((2**62, 0), (0, 2**62), (1, 1)):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_keys))
        with pytest.raises(LoadError, match="cut off or damaged"):
            read_header(path)
    for version, said in ((1, "version 1"), (9, "version 9"), (3 << 24, "big-endian")):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, 0))
        with pytest.raises(LoadError, match=said):
            read_header(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    with pytest.raises(LoadError, match=r"general\.architecture"):
        read_header(path)


def test_what_is_no_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(LoadError, match="no GGUF file"):
        interp.load(tmp_path / "m.gguf")
    with pytest.raises(LoadError, match="no folder and no file"):
        interp.load(tmp_path / "none.gguf")
    (tmp_path / "n.gguf").write_bytes(b"GGUF")
    with pytest.raises(LoadError, match=r"GGUF files: m\.gguf, n\.gguf\. Give one file"):
        interp.load(tmp_path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "m.gguf", "llama", tiny("llama"))
    monkeypatch.setattr("interp.model.loading.gguf_header.find_spec", lambda name: None)
    with pytest.raises(LoadError, match=r"pip install 'relevance-circuits\[gguf\]'"):
        interp.load(tmp_path / "m.gguf")


def test_a_file_of_the_same_name_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    write(tmp_path / "there" / "m.gguf", "llama", tiny("llama"))
    write(tmp_path / "m.gguf", "llama", tiny("llama", seed=5))
    monkeypatch.chdir(tmp_path)
    found = interp.load("there/m.gguf").hf.lm_head.weight
    assert torch.equal(found, tiny("llama").lm_head.weight)
