"""The peers of the benchmark: what they are charged for, that they do the same work, and that they leave the model alone."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import pytest
import torch

from circuits.bench import exact_cost, peers
from circuits.bench.workload import Measurement, Size, Skipped, random_task
from interp.attribution.request import prepare
from interp.errors import InterpError
from interp.model.model import HookedModel
from tests.circuits.bench.clock import fixed_clock
from tests.interp.model.tiny import hooked

SMALL = Size(batch=2, length=6, repeats=1)


def _state(model: HookedModel) -> dict[str, Any]:
    """Everything that a peer could have changed."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.hf.modules()]
    return {
        "modules": [(name, id(m), type(m), type(m).forward) for name, m in model.hf.named_modules()],
        "parameters": [(name, id(p), p.requires_grad, p.grad) for name, p in model.hf.named_parameters()],
        "training": [m.training for m in model.hf.modules()],
        "hooks": hooks,
        "attention": model.hf.config._attn_implementation,
        "config": model.hf.config.to_dict(),
        "logging": logging.root.manager.disable,
        "grad": torch.is_grad_enabled(),
        "random": torch.get_rng_state().tolist(),
    }


@pytest.mark.broad
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_peers_leave_the_model_alone(name: str, attn: str) -> None:
    model = hooked(name, attn=attn)
    ids = torch.arange(3, 15).view(2, 6)
    with torch.no_grad():
        logits, weights = model.hf(ids).logits, [p.clone() for p in model.hf.parameters()]
    before = _state(model)
    found = list(peers.bench_peers(model, SMALL))
    assert _state(model) == before
    assert all(torch.equal(a, b) for a, b in zip(weights, model.hf.parameters(), strict=True))
    with torch.no_grad():
        assert torch.equal(model.hf(ids).logits, logits)
    titles = [one.name for one in found if isinstance(one, Measurement)]
    assert sum("TransformerBridge" in title for title in titles) == 2
    assert all(0 < one.ratio < math.inf for one in found if isinstance(one, Measurement))


def test_a_peer_patches_as_often_as_it_is_charged_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked("gpt2")
    bridge, patched = peers.build_bridge(model), []
    own = bridge.run_with_hooks

    def counted(*args: Any, fwd_hooks: Any, **options: Any) -> Any:
        patched.append([name for name, _ in fwd_hooks])
        return own(*args, fwd_hooks=fwd_hooks, **options)

    monkeypatch.setattr(peers, "build_bridge", lambda model: bridge)
    monkeypatch.setattr(bridge, "run_with_hooks", counted)
    monkeypatch.setattr(peers, "seconds_of", fixed_clock(24.0))
    found = peers._bridge(model, SMALL)
    assert [one.ratio for one in found] == [24.0 / 2.0 / peers.PATCHES] * 2
    assert all(one.patches == peers.PATCHES and one.unit == exact_cost.UNIT for one in found)
    rounds = 2  # one that does not count, one that does
    assert len(patched) == rounds * 2 * peers.PATCHES and all(len(names) == 1 for names in patched)
    assert {names[0] for names in patched} == {
        f"blocks.{layer}.{site}" for layer in range(2) for site in ("hook_resid_pre", "attn.hook_z")
    }


def test_a_patch_of_the_peer_is_the_patch_of_the_engine() -> None:
    """The peer is charged for the work that we do: the same hook, the same value, the same effect."""
    model = hooked("gpt2")
    bridge, (source, base) = peers.build_bridge(model), peers._tokens(model, SMALL)
    from transformer_lens import patching

    index = peers._sample(2, 4, "head")
    with torch.no_grad(), peers._quiet():
        _, cache = bridge.run_with_cache(source)
        theirs = patching.generic_activation_patch(
            bridge, base, cache, peers._metric, patching.layer_head_vector_patch_setter, "z", index_df=index
        )
        start = peers._metric(bridge(base))
    request = prepare(model, random_task(model, 2, 6), methods=["exact"], level="heads", batch_size=2)
    scores = request.score(show_progress=False)["exact"]
    ours = {part.name: float(value) for part, value in zip(scores.parts, scores.mean, strict=True)}
    wanted_ = [ours[f"a{layer}.h{head}"] for layer, head in index.itertuples(index=False)]
    assert torch.allclose(theirs - start, torch.tensor(wanted_), atol=1e-4) and (theirs - start).abs().max() > 0.1


def test_a_failing_peer_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: HookedModel) -> Any:
        raise RuntimeError("no such\n  block " + "x" * 1000)

    monkeypatch.setattr(peers, "build_bridge", broken)
    first = next(iter(peers.bench_peers(hooked("gpt2"), SMALL)))
    assert isinstance(first, Skipped) and first.group == "peers" and "TransformerBridge" in first.name
    assert first.reason.startswith("RuntimeError: no such block xxx") and len(first.reason) < 300


def test_a_bridge_that_computes_something_else_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer_lens.model_bridge import sources

    for answer in (torch.zeros(1, 8, 64), torch.full((1, 8, 64), math.nan)):
        monkeypatch.setattr(sources, "build_bridge_from_module", lambda *_, x=answer, **__: lambda ids: x)
        with pytest.raises(InterpError, match="logits differ"):
            peers.build_bridge(hooked("gpt2"))


def test_a_hooked_transformer_has_the_shape_of_the_model() -> None:
    pytest.importorskip("transformer_lens.HookedTransformer")
    config = peers.hooked_transformer(hooked("llama"), 6).cfg
    found = (config.n_layers, config.n_heads, config.n_key_value_heads, config.d_head, config.d_mlp, config.act_fn)
    assert found == (2, 4, 2, 8, 48, "silu") and config.gated_mlp and config.normalization_type.startswith("RMS")
    assert config.positional_embedding_type == "rotary"
    config = peers.hooked_transformer(hooked("gpt2"), 6).cfg
    assert config.n_key_value_heads is None and not config.gated_mlp and config.normalization_type.startswith("LN")
    assert config.positional_embedding_type == "standard" and config.act_fn == "gelu_new"


@pytest.mark.parametrize(("name", "reason"), [("mixtral", "one MLP"), ("gemma2", "one MLP"), ("falcon", "weights")])
def test_a_shape_that_a_hooked_transformer_lacks_is_skipped(name: str, reason: str) -> None:
    pytest.importorskip("transformer_lens.HookedTransformer")
    found = [one for one in peers.bench_peers(hooked(name), SMALL) if "HookedTransformer" in one.name]
    assert len(found) == 1 and isinstance(found[0], Skipped) and reason in found[0].reason


def test_peers_that_are_not_installed_are_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked("gpt2")
    for name in [n for n in sys.modules if n.split(".")[0] == "transformer_lens"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformer_lens", None)  # type: ignore[arg-type]
    found = list(peers.bench_peers(model, SMALL))
    assert len(found) == 4 and all(isinstance(one, Skipped) and "Error" in one.reason for one in found)


def test_nothing_that_a_peer_prints_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = peers.build_bridge

    def loud(model: HookedModel) -> Any:
        sys.stdout.write("Moving model to device\n")
        logging.getLogger().warning("deprecated")
        return own(model)

    monkeypatch.setattr(peers, "build_bridge", loud)
    found = list(peers.bench_peers(hooked("gpt2"), SMALL))
    seen = capsys.readouterr()
    assert isinstance(found[0], Measurement) and seen.out == seen.err == ""
