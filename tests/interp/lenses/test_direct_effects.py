"""What parts write towards tokens, and attention patterns as values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import MethodError, SiteError, TaskError
from interp.heads.patterns import attention_patterns
from interp.lenses.direct_effects import direct_effects
from interp.parts.nodes import Node
from interp.parts.sites import Site
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import toy_task


def test_patterns_of_a_prompt_are_a_value_that_refuses_what_it_cannot_show() -> None:
    model = hooked("llama")
    found = attention_patterns(model, ids(1)[0].tolist(), layers=[1])
    assert found.layers == (1,) and found.heads == tuple(f"a1.h{i}" for i in range(4))
    assert found.weights.shape == (1, 4, 7, 7) and np.allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert np.array_equal(found["a1.h2"], found.weights[0, 2])
    with pytest.raises(interp.InterpError, match="unknown head"):
        found["a0.h2"]
    with pytest.raises(TaskError, match="2 prompts given; expected one"):
        attention_patterns(model, ids(2))
    with pytest.raises(SiteError, match="expected one or more"):
        attention_patterns(model, ids(1), layers=[])
    with pytest.raises(SiteError, match="pattern"):
        attention_patterns(hooked("gpt_neo"), ids(1))


@pytest.mark.parametrize("name", ("gpt2", "gemma2", "granite"))
def test_tokens_raised_and_lowered_are_those_of_the_sum_token_by_token(name: str) -> None:
    model, task = hooked(name), toy_task(n=3)
    nodes = [Node("head", 0, 1), Node("mlp", 1)]
    found = direct_effects(model, task, nodes, k=4)
    tokens = torch.tensor([p.clean for p in task.tokenize(None, 64)])
    each = [interp.direct_logit_attribution(model, tokens, answers=t) for t in range(64)]
    for i, node in enumerate(nodes):
        logits = np.array([one[node.name] for one in each])
        up, down = np.argsort(-logits)[:4], np.argsort(logits)[:4]
        assert found.up[i].tolist() == up.tolist() and found.down[i].tolist() == down.tolist()
        assert np.allclose(found.up_logits[i], logits[up], atol=1e-5)
        assert np.allclose(found.down_logits[i], logits[down], atol=1e-5)


@pytest.mark.parametrize("name", ("llama", "gemma2", "granite", "olmo2"))
def test_neurons_and_heads_add_up_to_what_their_layer_writes(name: str) -> None:
    model, task = hooked(name), toy_task(n=3)
    n = model.layout.d_mlp or 0
    parts = [*(Node("neuron", 1, i) for i in range(n)), *(Node("head", 1, h) for h in range(4))]
    found = direct_effects(model, task, [*parts, Node("mlp", 1), Node("attn_out", 1)]).per_example
    assert np.allclose(found[:, :n].sum(1), found[:, -2], rtol=1e-4, atol=1e-4)
    assert np.allclose(found[:, n : n + 4].sum(1), found[:, -1], rtol=1e-4, atol=1e-4)
    assert np.abs(found[:, :n]).max() > 1e-3


def test_the_position_embedding_is_apart_where_it_is_asked_for() -> None:
    model, task = hooked("gpt2"), toy_task(n=3)
    nodes = [Node("embed"), Node("pos_embed")]
    apart = direct_effects(model, task, nodes, split_positions=True).per_example
    whole = direct_effects(model, task, nodes[:1]).per_example
    assert np.allclose(apart.sum(1), whole[:, 0], atol=1e-5) and np.abs(apart).min() > 1e-4
    with pytest.raises(MethodError, match="pos_embed adds nothing"):
        direct_effects(model, task, nodes)


@pytest.mark.parametrize("target", ("resid_post.0", "z.1"))
def test_a_feature_writes_its_activation_times_its_decoder_row(target: str) -> None:
    """By removing it from the run's own stream, with the scale of the final norm read off that run."""
    model, task, site = hooked("llama"), toy_task(n=4), Site(*_split(target))
    own = made(target, 32)
    found = direct_effects(model, task, _features(site, own), dictionaries={site: own}).per_example
    pairs = task.tokenize(None, 64)
    run = model.run(torch.tensor([p.clean for p in pairs]), reads=[site, "resid_final"])
    x, final = (run[s][:, -1].detach().flatten(1) for s in (site, "resid_final"))
    rows = own.W_dec if site.kind == "resid_post" else own.W_dec @ model.hf.model.layers[1].self_attn.o_proj.weight.T
    norm = model.hf.model.norm
    scale = norm.weight / (final.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    W_U = model.hf.lm_head.weight
    for i, pair in enumerate(pairs):
        difference = W_U[pair.answers[0]] - W_U[pair.wrong[0]]
        wanted = own.encode(x)[i] * (rows @ (scale[i] * difference))
        assert np.allclose(found[i], wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() > 1e-3
    with pytest.raises(MethodError, match="no dictionary was given"):
        direct_effects(model, task, _features(site, own))


def _split(site: str) -> tuple[str, int]:
    kind, layer = site.split(".")
    return kind, int(layer)


def _features(site: Site, own: Any) -> list[Node]:
    return [Node(f"{site.kind}.feature", site.layer, i) for i in range(own.n_features)]
