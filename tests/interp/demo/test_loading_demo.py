"""Loading the folder of the embedded model: the same numbers each way, and nothing unpickled or run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import interp
from interp.demo import path as demo_path
from interp.errors import LoadError
from tests.interp.model.tiny import tiny


def test_demo_folder_and_memory_give_the_same_numbers() -> None:
    live = AutoModelForCausalLM.from_pretrained(demo_path()).eval()
    tokenizer = AutoTokenizer.from_pretrained(demo_path())
    models = [interp.load("demo"), interp.load(demo_path()), interp.load(live, tokenizer=tokenizer)]
    logits = [m.run("When Mary and John went to the").logits.detach() for m in models]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])
    assert interp.load(models[0]) is models[0]
    assert models[2].hf is live


def test_loading_shows_no_bars_and_leaves_them_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    logging.enable_progress_bar()
    AutoModelForCausalLM.from_pretrained(demo_path())
    assert "Loading weights" in capfd.readouterr().err
    interp.load("demo")
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled() and not are_progress_bars_disabled()


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    shutil.copytree(demo_path(), tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save(tiny("gpt2").state_dict(), tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(LoadError, match=r"lacks its weights, model\.safetensors; it has pickles"):
        interp.load(tmp_path / "m")


def test_remote_code_is_refused(tmp_path: Path) -> None:
    shutil.copytree(demo_path(), tmp_path / "m")
    config = (tmp_path / "m" / "config.json").read_text()
    evil = config.replace(
        '"model_type": "gpt2"', '"model_type": "odd", "auto_map": {"AutoConfig": "x.C", "AutoModelForCausalLM": "x.M"}'
    )
    assert evil != config
    (tmp_path / "m" / "config.json").write_text(evil)
    (tmp_path / "m" / "x.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(LoadError, match=r"model_type 'odd' is none of transformers.*auto_map"):
        interp.load(tmp_path / "m")
