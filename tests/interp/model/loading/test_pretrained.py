"""Every weight of a model loaded by name is the file's, and a damaged folder is a LoadError with the file in it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import interp
from interp.errors import LayoutError, LoadError
from interp.model.loading.pretrained import failing
from interp.model.model import HookedModel
from tests.interp.model.loading.folders import change_weights, copy_of_demo, saved, set_key
from tests.interp.model.tiny import ids, tiny


def test_a_folder_without_its_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny("llama").model.save_pretrained(tmp_path / "m")
    set_key(tmp_path / "m", "config.json", "architectures", ["LlamaForCausalLM"])
    with (
        caplog.at_level(logging.WARNING, "transformers"),
        pytest.raises(LoadError, match=r"lack 1 of the weights of a LlamaForCausalLM: lm_head\.weight"),
    ):
        interp.load(tmp_path / "m")
    assert "LOAD REPORT" not in caplog.text  # said once, in a sentence


@pytest.mark.parametrize("part", ["layers.1.", "q_proj", "model.norm.weight", "embed_tokens"])
def test_a_folder_without_some_weights(part: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    change_weights(folder, drop=(part,))
    with pytest.raises(LoadError, match=rf"lack \d+ of the weights.*{part}"):
        interp.load(folder)


def test_tied_weights_may_be_absent(tmp_path: Path) -> None:
    hf = tiny("llama-tied")
    hf.save_pretrained(tmp_path / "m")
    model = interp.load(tmp_path / "m")
    assert model.hf.lm_head.weight is model.hf.model.embed_tokens.weight
    own = HookedModel(hf)
    assert torch.allclose(model.run(ids()).logits, own.run(ids()).logits, atol=1e-5)


def test_tied_weights_absent_on_both_sides(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "llama-tied")
    change_weights(folder, drop=("embed_tokens",))
    with pytest.raises(LoadError, match="lack"):
        interp.load(folder)


@pytest.mark.parametrize(("key", "value"), [("intermediate_size", 40), ("vocab_size", 32), ("hidden_size", 16)])
def test_other_shapes_are_named(key: str, value: int, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    set_key(folder, "config.json", key, value)
    with pytest.raises(LoadError, match=r"disagree about shapes \(\d+\).*weight is \[.*\], by the configuration \["):
        interp.load(folder)


def test_more_layers_in_the_file_than_in_the_configuration(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    set_key(folder, "config.json", "num_hidden_layers", 1)
    with pytest.raises(LoadError, match=r"hold weights \(9\).*no place.*layers\.1\."):
        interp.load(folder)


@pytest.mark.parametrize(
    "name", ["score.weight", "model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.extra.weight"]
)
def test_a_weight_that_the_class_has_no_place_for(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    change_weights(folder, **{name: torch.ones(3, 32)})
    with pytest.raises(LoadError, match=name):
        interp.load(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)  # the way that the message names
    assert interp.load(model.eval()).layout.n_layers == 2


def test_another_architecture_in_the_configuration(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "qwen2")
    (folder / "config.json").write_text((saved(tmp_path / "l", "llama") / "config.json").read_text())
    with pytest.raises(LoadError, match="bias"):
        interp.load(folder)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gpt2", "transformer.h.0.attn.bias"),
        ("gpt2", "transformer.h.0.attn.masked_bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"),
        ("gptj", "transformer.h.0.attn.bias"),
        ("gpt_neo", "transformer.h.0.attn.attention.masked_bias"),
        ("opt", "model.decoder.position_ids"),
        ("llama", "model.layers.0.self_attn._extra_state"),
    ],
)
def test_buffers_of_older_checkpoints_are_left_out(name: str, extra: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", name)
    change_weights(folder, **{extra: torch.ones(1, 1, 4, 4)})
    plain = interp.load(saved(tmp_path / "plain", name))
    assert torch.equal(interp.load(folder).run(ids()).logits, plain.run(ids()).logits)


def test_quantised_weights_as_if_they_were_plain(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    name = "model.layers.0.mlp.up_proj"
    scale: dict[str, Any] = {f"{name}.weight_scale": torch.ones(1)}
    change_weights(folder, **scale)
    with pytest.raises(LoadError, match="weight_scale"):
        interp.load(folder)


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_cache", None),
        ("n_positions", 10**30),
        ("n_head", 0),
        ("n_head", -1),
        ("n_embd", "x"),
        ("vocab_size", -1),
        ("pad_token_id", 10**30),
        ("resid_pdrop", float("nan")),
        ("model_type", "nothing"),
        ("model_type", 3),
        ("architectures", 3),
        ("dtype", "float7"),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("quantization_config", 3),
        ("transformers_weights", 3),
    ],
)
def test_a_damaged_configuration(key: str, value: Any, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m")
    set_key(folder, "config.json", key, value)
    try:
        model = interp.load(folder)
    except (LoadError, LayoutError) as error:
        assert "\n" not in str(error) and len(str(error)) > 40
    else:
        assert torch.equal(model.run([1, 2, 3]).logits, interp.load("demo").run([1, 2, 3]).logits)


def test_a_setting_of_another_kind_is_told_in_one_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    set_key(folder, "config.json", "num_hidden_layers", "two")
    with pytest.raises(
        LoadError, match=r"config\.json: Field 'num_hidden_layers' expected int, got str \(value: 'two'\)$"
    ):
        interp.load(folder)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe\x00", b"[" * 100_000], ids=repr)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_damaged_file_is_named(name: str, damage: bytes, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m")
    (folder / name).write_bytes(damage)
    with pytest.raises(LoadError, match=name):
        interp.load(folder)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("tokenizer.json", "version", [[]]),
        ("tokenizer.json", "model", None),
        ("tokenizer.json", "added_tokens", 0),
        ("tokenizer_config.json", "tokenizer_class", 0),
        ("tokenizer_config.json", "bos_token", 0),
    ],
)
def test_a_damaged_tokeniser(file: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m")
    own = AutoTokenizer.from_pretrained(folder)
    set_key(folder, file, key, value)
    with pytest.raises(LoadError, match=rf"tokeniser of model.*{file}.*tokenizer="):
        interp.load(folder)
    assert interp.load(folder, tokenizer=own).tokenizer is own


def test_without_tokeniser_files_there_is_none(tmp_path: Path) -> None:
    assert interp.load(saved(tmp_path / "m")).tokenizer is None
    folder = copy_of_demo(tmp_path / "d")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert interp.load(folder).tokenizer is None  # transformers makes one that knows no words


def test_what_is_no_fault_of_the_files_passes_through() -> None:
    class PanicException(BaseException):
        """As a library in Rust raises it."""

    for error in (KeyboardInterrupt(), SystemExit(1), MemoryError(), LoadError("said")):
        with pytest.raises(type(error)) as caught, failing("what"):
            raise error
        assert caught.value is error
    for error in (TypeError("x"), KeyError("k"), PanicException("p"), RecursionError(), ImportError("needs a package")):
        with pytest.raises(LoadError, match=r"^what: where: ."), failing("what", lambda: "where: "):
            raise error
