"""Encoders against live peers: what transformers itself gives of its streams and patterns, and transformer-lens' own BERT."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from tests.interp.model.encoders.models import NAMES, OWN_ATTENTION, known, plainly, tiny
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids

#: The last stream of these is given behind a final norm.
_NORMED = ("modernbert-mlm", "modernbert-classes", "gpt2-classes", "llama-classes")
_IN_LIBRARY = [name for name in NAMES if not name.startswith("by-hand")]


@pytest.mark.parametrize("name", _IN_LIBRARY)
@torch.no_grad()
def test_streams_and_patterns_are_those_of_transformers(name: str) -> None:
    model, tokens = known(name), ids(2, 9)
    run = model.run(tokens, reads=model.sites())
    theirs = model.hf(input_ids=tokens, output_hidden_states=True, output_attentions=True, **plainly(model.hf))
    streams = [run["embed"], *(run[f"resid_post.{layer}"] for layer in range(2))]
    if name in _NORMED:
        streams[-1] = model.hf.get_submodule(model.layout.ln_final)(run["resid_final"])
    assert len(theirs.hidden_states) == 3
    for ours, own in zip(streams, theirs.hidden_states, strict=True):
        assert torch.equal(ours, own)
    if name not in OWN_ATTENTION:
        for layer, own in enumerate(theirs.attentions):
            assert torch.equal(run[f"pattern.{layer}"], own)


@torch.no_grad()
def test_bert_against_its_bridge() -> None:
    """Names that mean the same place: theirs of the stream between attention and MLP does not (it is the sum before the norm)."""
    model, tokens = tiny("bert-mlm"), ids(2, 9)
    run = known("bert-mlm").run(
        tokens, reads=["q", "k", "v", "z", "pattern", "mlp_post", "resid_pre", "resid_mid", "resid_post"]
    )
    logits, cache = _bridge(model).run_with_cache(tokens)
    close(run.logits, logits)
    hooks = {
        "q": "attn.hook_q",
        "k": "attn.hook_k",
        "v": "attn.hook_v",
        "z": "attn.hook_z",
        "mlp_post": "mlp.hook_post",
    }
    hooks |= {"pattern": "attn.hook_pattern", "resid_pre": "hook_resid_pre", "resid_post": "hook_resid_post"}
    for layer in range(2):
        for kind, hook in hooks.items():
            ours = run[f"{kind}.{layer}"]
            close(ours, cache[f"blocks.{layer}.{hook}"].reshape(ours.shape))


def _bridge(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        return build_bridge_from_module(model, "BertForMaskedLM", hf_config=model.config, model_name="bert")
