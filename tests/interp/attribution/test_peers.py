"""Other implementations of the same thing, both sides computed here; and integrated gradients against slow quadrature."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.batching.quadrature import QUADRATURES, quadrature
from interp.attribution.request import attribute, attribute_all
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.attribution.test_attribution import by_name
from tests.interp.model.hooked_transformer import _transformer_lens
from tests.interp.model.tiny import hooked, parts
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

# ---------------------------------------------------------------- quadrature


def _ends(direction: str = "denoise", n: int = 2) -> tuple[list[TokenPair], Tensor, Tensor]:
    """Pairs, base ids, source ids."""
    pairs = pairs_of(toy_task(n))
    return (pairs, *ends(pairs, direction))


@pytest.mark.broad
@pytest.mark.parametrize("rule", QUADRATURES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_integrated_gradients_are_a_slow_sum(name: str, rule: str) -> None:
    """Embeddings between the two prompts, handed to the model itself; gradients taken by the test's own hooks."""
    with true_float64():
        ours = hooked(name, dtype=torch.float64)
        model, (pairs, base, source) = ours.hf, _ends()
        start, end = (model.get_input_embeddings()(x).detach() for x in (base, source))
        o, found, total = parts(name, model, 1).o, [], torch.zeros(2, 6, 32, dtype=torch.float64)
        handle = o.register_forward_pre_hook(lambda m, args: found.append(args[0]))
        for alpha, weight in quadrature(rule, 5):
            found.clear()
            at = (start + alpha * (end - start)).requires_grad_()
            m = measured(model(inputs_embeds=at, use_cache=False).logits, pairs)
            total += weight * torch.autograd.grad(m.sum(), found[0])[0].reshape(2, 6, 32)
        ends = []
        for given in (base, source):
            found.clear()
            model(input_ids=given, use_cache=False)
            ends.append(found[0].detach().reshape(2, 6, 32))
        handle.remove()
        expected = (total * (ends[1] - ends[0])).unflatten(-1, (4, 8)).sum((1, 3))
        scores = by_name(attribute(ours, toy_task(2), method="atp-ig", level="heads", steps=5, quadrature=rule))
        for head in range(4):
            assert np.allclose(scores[f"a1.h{head}"], expected[:, head].numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.broad
@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "gemma"])
def test_integrated_gradients_are_complete_at_the_embedding(name: str, ablation: str) -> None:
    """Not along the way to zero: norms do not see the length of their input, so all change is in the last instant."""
    with true_float64():
        model, gaps = hooked(name, dtype=torch.float64), []
        options: dict[str, Any] = {"level": "blocks", "ablation": ablation, "direction": "noise"}
        exact = attribute(model, toy_task(2), method="exact", **options)["embed"]
        for steps in (4, 16, 64, 256):
            scores = attribute(model, toy_task(2), method="atp-ig", steps=steps, **options)
            gaps.append(abs(scores["embed"] - exact) / abs(exact))
        assert gaps[-1] < 0.02 and gaps[-1] < gaps[0]


# ---------------------------------------------------------------- captum


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_captum_integrated_gradients(name: str) -> None:
    from captum.attr import LayerIntegratedGradients

    with true_float64():
        ours = hooked(name, dtype=torch.float64)
        pairs, base, source = _ends()

        def forward(given: Tensor) -> Tensor:
            """The metric; captum repeats the batch once per step."""
            logits = ours.hf(input_ids=given, use_cache=False).logits
            return measured(logits, pairs * (len(given) // len(pairs)))

        peer = LayerIntegratedGradients(forward, ours.hf.get_input_embeddings())
        theirs = peer.attribute(source, base, method="gausslegendre", n_steps=8).sum(-1).detach()
        scores = attribute(
            ours, toy_task(2), method="atp-ig", level="blocks", steps=8, quadrature="gauss-legendre", positions="each"
        )
        mine = np.stack([column for name, column in by_name(scores).items() if name.startswith("embed")], 1)
        assert np.allclose(mine, theirs.numpy(), rtol=1e-6, atol=1e-9) and np.abs(mine).max() > 0.1


# ---------------------------------------------------------------- TransformerLens


@torch.no_grad()
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_transformer_lens_activation_patching(direction: str) -> None:
    ours = hooked("gpt2")
    peer = _transformer_lens(ours.hf)
    pairs, base, source = _ends(direction)
    assert torch.allclose(peer(base), ours.run(base).logits, atol=1e-4)
    start, (_, cache) = measured(peer(base), pairs), peer.run_with_cache(source)

    def patched(hook: str, part: Any) -> np.ndarray:
        def put(x: Tensor, hook: Any) -> Tensor:
            x[part] = cache[hook.name][part]
            return x

        return (measured(peer.run_with_hooks(base, fwd_hooks=[(hook, put)]), pairs) - start).numpy()

    options: dict[str, Any] = {"methods": ["exact"], "direction": direction}
    heads = by_name(attribute_all(ours, toy_task(2), level="heads", **options)["exact"])
    stream = by_name(attribute_all(ours, toy_task(2), level="resid", **options)["exact"])
    for layer, head in itertools.product(range(2), range(4)):
        theirs = patched(f"blocks.{layer}.attn.hook_z", np.s_[:, :, head])
        assert np.allclose(heads[f"a{layer}.h{head}"], theirs, atol=1e-4)
    for layer, at in itertools.product(range(2), range(6)):
        assert np.allclose(
            stream[f"resid_pre.{layer}@{at}"], patched(f"blocks.{layer}.hook_resid_pre", np.s_[:, at]), atol=1e-4
        )
        assert np.allclose(
            stream[f"resid_mid.{layer}@{at}"], patched(f"blocks.{layer}.hook_resid_mid", np.s_[:, at]), atol=1e-4
        )
    for layer in range(2):
        assert np.allclose(heads[f"m{layer}"], patched(f"blocks.{layer}.hook_mlp_out", ...), atol=1e-4)
    assert max(np.abs(x).max() for x in heads.values()) > 0.1
