"""GGUF files and adapters on the command line: in the manifest, in the report, and the same again when the run is judged."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch

import interp
from interp.model.loading.load import DEMO
from tests.circuits.cli.called import Run, run
from tests.interp.model.loading.in_gguf.gguf_writing import write

__all__ = ["run"]

DISCOVER = (
    "discover",
    "--task",
    "gender",
    "--limit",
    "6",
    "--method",
    "relp",
    "--n",
    "3",
    "--random",
    "1",
    "--out",
    "r",
)
TRAIN = ("sae", "train", "--data", "demo", "--site", "resid_post.1", "--d-sae", "64")


def gguf_of_demo(path: Path, packed: str) -> Path:
    """The embedded model with its tokeniser, as a GGUF file."""
    own = json.loads((DEMO / "tokenizer.json").read_text())["model"]
    special = {token["content"] for token in json.loads((DEMO / "tokenizer.json").read_text())["added_tokens"]}
    tokens = sorted(own["vocab"], key=own["vocab"].get)
    keys = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "merges": [m if isinstance(m, str) else " ".join(m) for m in own["merges"]],
        "token_type": [3 if token in special else 1 for token in tokens],
        "bos_token_id": 0,
        "eos_token_id": 1,
        "padding_token_id": 2,
        "add_bos_token": True,
    }
    model = interp.load("demo").hf
    write(
        path,
        "gpt2",
        model,
        packed,
        **{f"tokenizer__ggml__{key}": value for key, value in keys.items()},
        general__file_type=7,
    )
    return path


def test_a_gguf_file_is_named_with_every_number(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    path = gguf_of_demo(tmp_path / "m.gguf", "Q8_0")
    code, _, err = run(*DISCOVER, "--model", "m.gguf")
    assert code == 0, err
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    found = manifest["model"]
    digest = sha256(path.read_bytes()).hexdigest()
    assert found["files"] == {"m.gguf": digest}
    seen = found["dequantised"]
    assert (seen["file"], seen["sha256"], seen["file_type"]) == ("m.gguf", digest, "Q8_0")
    assert seen["tensors"] == {"F32": 34, "Q8_0": 18} and seen["packed"] == 18
    line = f"dequantised from the GGUF file m.gguf (Q8_0, tensors: 34 F32, 18 Q8_0; sha256 {digest}), so they are not the published ones"
    assert found["weights"] == line and f"NOTE: weights {line}" in " ".join(err.split())
    assert line in (tmp_path / "r" / "report.html").read_text()
    gguf_of_demo(path, "Q4_0")
    code, _, err = run("evaluate", "r", "--quiet")
    assert code == 2 and "not those of the run any more" in err


def adapters_of_demo(folder: Path) -> None:
    """Adapters for the embedded model, of random weights."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    config = peft.LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False, r=2)
    live = peft.get_peft_model(interp.load("demo").hf, config)
    live.peft_config["default"].base_model_name_or_path = "org/<base>"
    live.save_pretrained(folder)


def test_adapters_from_discover_to_evaluate(run: Run, tmp_path: Path) -> None:
    adapters_of_demo(tmp_path / "a")
    code, _, err = run(*DISCOVER, "--adapter", "a")
    assert code == 0, err
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["model"]["name"] == "demo+a"
    assert manifest["model"]["merged"]["kind"] == "LORA" and manifest["options"]["adapter"] == str(tmp_path / "a")
    digest = manifest["model"]["files"]["adapter/adapter_model.safetensors"]
    assert (
        manifest["model"]["weights"]
        == f"with adapters merged into them (LORA of a, trained on org/<base>; sha256 {digest})"
    )
    page = (tmp_path / "r" / "report.html").read_text()
    assert digest in page and "org/&lt;base&gt;" in page and "on org/<base>" not in page
    assert run("evaluate", "r", "--tests", "1", "--random", "1", "--quiet")[0] == 0
    assert f'adapter = "{tmp_path / "a"}"' in (tmp_path / "r" / "config.toml").read_text()
    settings = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 30}))
    code, _, err = run("evaluate", "r", "--quiet")
    assert code == 2 and "not those of the run any more" in err


def test_dictionaries_are_trained_on_the_merged_model(run: Run, tmp_path: Path) -> None:
    """On the activations of that model, in the folder and in memory; a run goes on with the same adapters only."""
    adapters_of_demo(tmp_path / "a")
    small = ["--site", "resid_post.1", "--d-sae", "16", "--k", "2", "--tokens", "600", "--batch-tokens", "200"]
    train = ("sae", "train", *small, "--seed", "3", "--out")
    assert run(*train, "plain", "--quiet")[0] == 0
    code, _, err = run(*train, "merged", "--adapter", "a")
    assert code == 0 and "NOTE: weights with adapters merged into them (LORA of a" in " ".join(err.split())
    records = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("plain", "merged")]
    plain, merged = (record["identity"]["model"] for record in records)
    assert (plain["name"], merged["name"]) == ("demo", "demo+a") and plain["sha256"] != merged["sha256"]
    assert f'adapter = "{tmp_path / "a"}"' in (tmp_path / "merged" / "config.toml").read_text()
    [expected] = interp.train_dictionaries(
        interp.load("demo", adapter=tmp_path / "a"),
        "demo",
        [{"site": "resid_post.1", "d_sae": 16, "k": 2}],
        tokens=600,
        batch_tokens=200,
        seed=3,
    )
    found, other = (interp.load_dictionary(tmp_path / name) for name in ("merged", "plain"))
    assert torch.equal(found.W_dec, expected.W_dec) and not torch.equal(found.W_dec, other.W_dec)
    code, _, err = run("sae", "train", "merged/config.toml", "--out", "again", "--json", "--quiet")
    assert code == 0 and torch.equal(interp.load_dictionary(tmp_path / "again").W_dec, found.W_dec)
    code, _, err = run(*train, "merged", "--resume")
    assert code == 2 and "model" in err


@pytest.mark.parametrize("command", [("sites",), ("verify",), DISCOVER, TRAIN])
def test_bad_sources_are_one_line(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.gguf").write_bytes(b"nothing")
    (tmp_path / "a").mkdir()
    for given, said in (
        (("--model", "odd.gguf"), "no GGUF file"),
        (("--adapter", "a"), "no folder with adapter_config.json"),
    ):
        code, out, err = run(*command, *given)
        assert code == 2 and out == "" and err.splitlines()[-1].startswith("circuits: ") and said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "odd.gguf"]
