"""Classes that ask which attention they have get the answer that eager gets: ours is the eager function of the class itself."""

from __future__ import annotations

import pytest
import torch

from interp.model.model import HookedModel
from interp.model.modules import attention
from tests.interp.model.probes.causal_lms import causal_lm
from tests.interp.model.tiny import ids, tiny

CHOSEN = 2


@pytest.mark.parametrize("name", ["deepseek_v32", "glm_moe_dsa"])
@torch.no_grad()
def test_keys_that_an_indexer_chooses(name: str) -> None:
    """It hides all but some keys of each position, under the names of eager and sdpa alone; reads must not undo that."""
    hf = causal_lm(name, index_topk=CHOSEN, index_n_heads=2, index_head_dim=16)
    assert hf is not None
    hf.set_attn_implementation("eager")  # type: ignore[operator]
    model, tokens = HookedModel(hf), ids(2, 9)
    expected = hf(input_ids=tokens, use_cache=False).logits
    run = model.run(tokens, reads=["q", "k", "v", "pattern", "z"])
    assert torch.equal(run.logits, expected)
    seen = [(run[f"pattern.{layer}"] > 0).sum(-1) for layer in range(model.layout.n_layers)]
    assert all(bool((n <= CHOSEN).all()) and bool((n[..., 2:] == CHOSEN).all()) for n in seen)
    assert hf.config._attn_implementation == "eager" and hf.config._attn_implementation != attention.NAME


def test_the_name_is_eager_and_nothing_else() -> None:
    model = tiny("llama", attn="eager")
    with attention.selected(model, None):
        named = model.config._attn_implementation
        assert (
            named == "eager"
            and named == attention.NAME
            and named in ("sdpa", "eager")
            and hash(named) == hash(attention.NAME)
        )
        assert named != "sdpa" and named not in ("sdpa", "flex_attention") and (named != "eager") is False
    assert type(model.config._attn_implementation) is str and model.config._attn_implementation != attention.NAME
