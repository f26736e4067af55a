"""Every architecture against plain transformers: reads are inert, their values and gradients are the model's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from interp.errors import EditError, InterpError, LoadError, SiteError
from interp.model.edits import Edit, patch
from interp.model.model import HookedModel
from interp.parts.sites import ATTENTION_KINDS, CROSS, FURTHER, GLOBAL, LAYERED, SUMS
from interp.parts.tokens import pad
from interp.rules.rules import RELP, RELP_AH
from tests.interp.model.plain import ALL, ROUTED, close, padded, plain, state, unpadded, watched
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, PARALLEL, architecture, hooked, ids, parts, tiny

# ---------------------------------------------------------------- logits


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_logits_with_every_site_read_are_those_of_eager(name: str, dtype: torch.dtype) -> None:
    model = tiny(name, dtype=dtype)
    plain_logits = [plain(model, tokens).logits for tokens in (unpadded(), padded("left"), padded("right"))]
    ours = HookedModel(model)
    for tokens, expected in zip((unpadded(), padded("left"), padded("right")), plain_logits, strict=True):
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                run = ours.run(tokens, reads=ours.sites())
            assert torch.equal(run.logits, expected)
            assert all(torch.isfinite(x).all() and x.shape[0] == len(expected) for x in run.reads.values())


@pytest.mark.broad
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if tiny(n)._supports_sdpa])
def test_runs_without_attention_sites_keep_the_users_attention(name: str) -> None:
    model = tiny(name, attn="sdpa")
    sdpa, eager = plain(model, padded()).logits, plain(tiny(name), padded()).logits
    ours = HookedModel(model)
    outside = [kind for kind in ours.sites() if kind not in ATTENTION_KINDS]
    assert torch.equal(ours.run(padded(), reads=outside).logits, sdpa)
    if name in ROUTED:
        assert torch.equal(ours.run(padded(), reads=["pattern"]).logits, eager)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(plain(model, padded()).logits, sdpa)


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_padding_side_does_not_matter(name: str) -> None:
    model = hooked(name)
    rows = ids(3).tolist()
    prompts = [rows[0], rows[1][:4], rows[2][:1]]
    alone = torch.cat([model.run(torch.tensor([p])).logits[:, -1] for p in prompts])
    for side in ("left", "right"):
        tokens = pad(prompts, 5, side)  # type: ignore[arg-type]
        logits = model.run(tokens).logits
        close(logits[torch.arange(3), tokens.last()], alone)


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_only_the_last_logits(name: str) -> None:
    model = hooked(name)
    whole, last = model.run(ids()).logits, model.run(ids(), logits_to_keep=1).logits
    assert last.shape[1] == 1
    close(last[:, 0], whole[:, -1])


# ---------------------------------------------------------------- nothing is left behind


class Stop(Exception):
    """Raised by an edit."""


def _raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def edit(x: Tensor) -> Tensor:
        raise error

    return edit


@pytest.mark.broad
@pytest.mark.parametrize("error", [None, Stop(), KeyboardInterrupt()], ids=["success", "exception", "ctrl-c"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_model_after_a_run_is_the_model_before_it(name: str, error: BaseException | None) -> None:
    model = tiny(name, attn="sdpa" if tiny(name)._supports_sdpa else "eager")
    calls: list[str] = []
    model.get_output_embeddings().register_forward_hook(lambda m, a, y: calls.append("theirs"))
    parts(name, model, 0).block.register_forward_pre_hook(lambda m, a, k: calls.append("block"), with_kwargs=True)
    next(model.parameters()).requires_grad_(False)
    before = state(model)
    ours = HookedModel(model)
    assert state(model) == before
    rules = RELP_AH if name in ROUTED else RELP
    for site in ("resid_pre.1", "z.1", "mlp_out.1", *(("pattern.1", "q.0") if name in ROUTED else ())):
        calls.clear()
        edit = Edit(site, _raising(error) if error else lambda x: x)
        try:
            ours.run(ids(), reads=ours.sites(), edits=[edit], rules=rules, allow_unsupported=True)
        except (Stop, KeyboardInterrupt) as raised:
            assert raised is error
        else:
            assert error is None and "theirs" in calls
        assert "block" in calls
        assert state(model) == before


def test_a_failed_start_leaves_nothing_either() -> None:
    model = tiny("llama", attn="sdpa")
    before, ours = state(model), HookedModel(model)
    with pytest.raises(EditError, match=r"resid_pre\.1"):
        ours.run(ids(), edits=[Edit("resid_pre.1", lambda x: x[:, 1:])])
    with pytest.raises(InterpError, match="63"):
        ours.run(torch.tensor([[1, 64]]))
    with pytest.raises(SiteError, match="layers 0 to 1"):
        ours.run(ids(), reads=["z.2"])
    assert state(model) == before
    assert all(p.requires_grad for p in model.parameters())


def test_training_mode_is_refused_before_and_after_loading() -> None:
    model = tiny("gpt2")
    ours = HookedModel(model)
    model.train()
    for attempt in (lambda: HookedModel(model), lambda: ours.run(ids())):
        with pytest.raises(LoadError, match="training mode"):
            attempt()


# ---------------------------------------------------------------- values


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_reads_are_what_the_model_computes(name: str) -> None:
    model = tiny(name)
    ours, tokens = HookedModel(model), padded()
    with torch.no_grad():
        run = ours.run(tokens, reads=ours.sites())
        z: list[Tensor] = []
        post: list[Tensor] = []
        blocks = [parts(name, model, layer) for layer in range(2)]
        with watched(blocks[1].o, z), watched(blocks[1].down or blocks[1].o, post):
            out = plain(model, tokens, output_hidden_states=True, output_attentions=True)
    for layer in range(2):
        assert torch.equal(run[f"resid_pre.{layer}"], out.hidden_states[layer])
        if name in ROUTED:
            assert torch.equal(run[f"pattern.{layer}"], out.attentions[layer])
    assert torch.equal(run["embed"], out.hidden_states[0]) and torch.equal(run["resid_post.0"], out.hidden_states[1])
    assert torch.equal(run["resid_final"], run["resid_post.1"])
    assert torch.equal(run["z.1"].reshape(-1), z[0].reshape(-1)) and run["z.1"].shape[2:] == (4, 8)
    if blocks[1].down is not None:
        assert torch.equal(run["mlp_post.1"].reshape(-1), post[0].reshape(-1))
    assert torch.equal(run["logits"], out.logits)


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_block_outputs_add_up(name: str) -> None:
    run = hooked(name).run(ids(), reads=["resid_pre", "attn_out", "mlp_out", "resid_post"])
    for layer in range(2):
        attn, mlp = run[f"attn_out.{layer}"], run[f"mlp_out.{layer}"]
        step = run[f"resid_post.{layer}"] - run[f"resid_pre.{layer}"]
        close(attn + mlp, step)
        assert attn.abs().max() > 0.01 * step.abs().max() and mlp.abs().max() > 0.01 * step.abs().max()


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_what_a_model_lacks_is_refused_by_name(name: str) -> None:
    model = hooked(name)
    missing = model.missing_sites()
    kinds = [
        kind
        for kind in LAYERED
        if not kind.startswith(CROSS) and kind not in ("resid_cross", "layer_input", "mlp_up", *FURTHER, *SUMS)
    ]
    if any(block.mlp is not None and block.mlp.gated for block in model.layout.blocks):
        kinds.append("mlp_up")
    assert sorted({*missing, *model.sites()}) == sorted((*kinds, *GLOBAL)) and not {*missing} & {*model.sites()}
    assert ("pattern" in missing) == (architecture(name) in OWN_ATTENTION)
    assert ("mlp_post" in missing) == (name == "mixtral")
    if name in ARCHITECTURES:
        assert ("resid_mid" in missing) == (name in PARALLEL)
    for site in missing:
        with pytest.raises(SiteError, match=f"{site}.0.*not available"):
            model.run(ids(), reads=[site])


@torch.no_grad()
def test_a_stream_whose_norms_are_passed_on() -> None:
    """BLOOM's other form: what goes on beside attention and the MLP is what their norms make of the stream."""
    model = hooked("bloom", apply_residual_connection_post_layernorm=True)
    own = model.layout.blocks[1]
    assert (own.first, own.attn and own.attn.around) == (
        "transformer.h.1.input_layernorm",
        "transformer.h.1.post_attention_layernorm",
    )
    other = model.run(ids(seed=2), reads=["resid_pre.1", "resid_mid.1"])
    for site in ("resid_pre.1", "resid_mid.1"):
        assert torch.equal(model.run(ids(), edits=[patch(site, other[site])]).logits, other.logits)


# ---------------------------------------------------------------- edits


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_identity_edits_change_nothing(name: str) -> None:
    model = hooked(name)
    expected = model.run(ids()).logits
    for site in model.sites():
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                assert torch.equal(model.run(ids(), edits=[Edit(site, lambda x: x)]).logits, expected), site
                close(model.run(ids(), edits=[Edit(site, torch.clone)]).logits, expected, 1e-6)  # other strides


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_patching_the_whole_stream_gives_the_other_run(name: str) -> None:
    model = hooked(name)
    cuts = [k for k in ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final") if k in model.sites()]
    other, base = model.run(ids(seed=2), reads=cuts), model.run(ids())
    assert not torch.allclose(other.logits, base.logits, atol=0.1)
    for site, value in other.reads.items():
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                found = model.run(ids(), edits=[patch(site, value.detach())]).logits
            assert torch.equal(found, other.logits), site
