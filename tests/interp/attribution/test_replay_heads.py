"""Exact patching of encoders and classifiers: a replay through norms around sums, and through heads, against whole forwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import interp
from interp.model.model import HookedModel
from interp.parts.outputs import AtMask
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.model.tiny import randomise, tiny

MASK = 5
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


class Least:
    """The least of a tokeniser with a mask."""

    mask_token_id = MASK
    unk_token = unk_token_id = None

    def convert_ids_to_tokens(self, i: int) -> str:
        return f"t{i}"

    def decode(self, ids: list[int]) -> str:
        return " ".join(f"t{i}" for i in ids)


def _bert(cls: str, **more: Any) -> Any:
    torch.manual_seed(0)
    hf = getattr(transformers, cls)(transformers.BertConfig(**SIZES, **more))
    randomise(hf)
    return hf.eval()


MODELS = {
    "mask": lambda: _bert("BertForMaskedLM"),
    "class": lambda: _bert("BertForSequenceClassification", num_labels=3),
    "post-norm decoder": lambda: tiny("opt", do_layer_norm_before=False),
}


def _task(model: HookedModel) -> Task:
    """Four pairs that differ at one token; the mask stands elsewhere in each."""
    generator, pairs = torch.Generator().manual_seed(3), []
    for i in range(4):
        clean = torch.randint(6, 64, (7,), generator=generator).tolist()
        corrupt = list(clean)
        corrupt[2 if i != 1 else 4] = 6 + (clean[2] + 7) % 58
        if isinstance(model.outputs, AtMask):
            clean[1 + i] = corrupt[1 + i] = MASK
            corrupt[6] = 9
        answers = ((0,), (1,)) if model.layout.d_vocab < 10 else ((11,), (13,))
        pairs.append(Pair("", "", (), (), ids=TokenPair(tuple(clean), tuple(corrupt), *answers)))
    return Task("pairs", tuple(pairs))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("level", "positions"), [("heads", "all"), ("neurons", "all"), ("resid", "each")])
def test_a_replay_is_whole_forwards(name: str, level: str, positions: str) -> None:
    model = HookedModel(MODELS[name]().double(), Least())
    task = _task(model)
    asked: dict[str, Any] = {"method": "exact", "level": level, "positions": positions}
    found = interp.attribute(model, task, **asked)
    assert found.provenance.engine == "replay"
    norm = next(m for m in model.hf.modules() if isinstance(m, nn.LayerNorm))
    with norm.register_forward_hook(lambda *_: None):  # a hook of somebody's, so that nothing is replayed
        whole = interp.attribute(model, task, **asked)
    assert whole.provenance.engine.startswith("whole forwards")
    assert found.provenance.forwards < 0.6 * whole.provenance.forwards
    assert np.abs(whole.mean).max() > 0.01
    assert np.allclose(found.per_example, whole.per_example, rtol=0, atol=1e-10)


def test_a_mask_is_read_where_it_stands() -> None:
    model = HookedModel(MODELS["mask"](), Least())
    ids = torch.tensor([list(pair.ids.clean) for pair in _task(model).pairs if pair.ids])
    with torch.no_grad():
        expected = model.hf(input_ids=ids).logits[torch.arange(4), torch.arange(1, 5)]
        assert torch.equal(model.run(ids, logits_to_keep=1).logits[:, 0], expected)
