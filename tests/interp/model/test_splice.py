"""Dictionaries in a run: nothing changes until something is edited, and then exactly what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.errors import EditError, SiteError
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.rules.rules import RELP
from tests.interp.dictionaries.random_dictionaries import ACTIVATIONS, made
from tests.interp.model.tiny import ARCHITECTURES, hooked, ids, parts
from tests.interp.rules.float64 import true_float64

SIX = ("gpt2", "llama", "gemma2", "qwen3", "gpt_neox", "granite")
SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_normed", "z", "mlp_post")


def width(model: HookedModel, kind: str) -> int:
    layout = model.layout
    return {"z": layout.n_heads * layout.d_head, "mlp_post": layout.d_mlp or 0}.get(kind, layout.d_model)


def everywhere(model: HookedModel, **more: Any) -> dict[str, Dictionary]:
    """A dictionary at every site of layer 1 that the model has, a transcoder at layer 0, activations in turn."""
    kinds = [kind for kind in SITES if kind in model.sites()]
    found = {
        f"{kind}.1": made(f"{kind}.1", width(model, kind), kind=ACTIVATIONS[i % 4], seed=i, **more)
        for i, kind in enumerate(kinds)
    }
    if {"mlp_normed", "mlp_out"} <= set(kinds):
        found["mlp_out.0"] = made("mlp_normed.0", model.layout.d_model, target="mlp_out.0", **more)
    return found


def every_part(dictionaries: dict[str, Dictionary]) -> list[str]:
    return [f"{site}.{part}" for site in dictionaries for part in ("features", "error")]


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_unedited_it_is_the_plain_run(name: str, dtype: torch.dtype) -> None:
    model = hooked(name, dtype=dtype)
    given = everywhere(model)
    with torch.no_grad():
        plain = model.hf(input_ids=ids(), use_cache=False).logits
        seen = model.run(ids(), reads=[*every_part(given), *given], dictionaries=given)
    with torch.enable_grad():
        leaves = model.run(ids(), reads=every_part(given), dictionaries=given)
    assert torch.equal(seen.logits, plain) and torch.equal(leaves.logits, plain)
    for site, dictionary in given.items():
        if dictionary.transcoder:
            continue
        x = seen[site].flatten(2).float()
        features = dictionary.encode(x)
        assert torch.equal(seen[f"{site}.features"], features)
        assert torch.equal(seen[f"{site}.error"], x - dictionary.decode(features))


def as_tensor(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


@pytest.mark.broad
@pytest.mark.parametrize("kind", ["resid_post", "z", "mlp_post"])
@pytest.mark.parametrize("name", SIX)
def test_edited_it_is_what_plain_hooks_give(name: str, kind: str) -> None:
    """x + decode(edited) - decode(original), and all error gone, against hooks that ask the engine nothing."""
    model = hooked(name, dtype=torch.float64)
    dictionary = made(f"{kind}.1", width(model, kind), kind="jumprelu", dtype=torch.float64)

    def new(x: Tensor, without_error: bool) -> Tensor:
        flat = x.reshape(2, -1, x.shape[-1])
        features = dictionary.encode(flat)
        edited = features.clone()
        edited[:, 2:, 3] = 1.5
        edited[:, :, 5:9] = 0
        if without_error:
            return dictionary.decode(edited).view_as(x)
        return x + (dictionary.decode(edited) - dictionary.decode(features)).view_as(x)

    site = f"{kind}.1.features"
    edits = [interp.patch(site, 1.5, features=3, positions=slice(2, None)), interp.zero(site, features=slice(5, 9))]
    for without in (False, True):
        own = parts(name, model.hf, 1)

        def after(module: Any, args: Any, output: Any, without: bool = without) -> Any:
            y = new(as_tensor(output), without)
            return y if isinstance(output, Tensor) else (y, *output[1:])

        def before(module: Any, args: Any, without: bool = without) -> Any:
            return (new(args[0], without), *args[1:])

        hooks = {"resid_post": lambda own=own, after=after: own.block.register_forward_hook(after)}
        hooks["z"] = lambda own=own, before=before: own.o.register_forward_pre_hook(before)
        hooks["mlp_post"] = lambda own=own, before=before: own.down.register_forward_pre_hook(before)
        handle = hooks[kind]()
        with torch.no_grad():
            wanted = model.hf(input_ids=ids(), use_cache=False).logits
        handle.remove()
        gone = [interp.zero(f"{kind}.1.error")] if without else []
        with torch.no_grad():
            got = model.run(ids(), edits=[*edits, *gone], dictionaries={f"{kind}.1": dictionary}).logits
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SIX)
def test_a_transcoder_stands_in_for_its_mlp(name: str) -> None:
    """With the error gone the MLP adds what the transcoder makes of the MLP's own input."""
    model = hooked(name, dtype=torch.float64)
    dictionary = made("mlp_normed.1", 32, target="mlp_out.1", kind="topk", dtype=torch.float64)
    given = {"mlp_out.1": dictionary}
    with torch.no_grad():
        entering = model.run(ids(), reads=["mlp_normed.1"])["mlp_normed.1"]
        wanted = model.run(ids(), edits=[interp.patch("mlp_out.1", dictionary.reconstruct(entering))]).logits
        got = model.run(ids(), edits=[interp.zero("mlp_out.1.error")], dictionaries=given).logits
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)


@pytest.mark.broad
@pytest.mark.parametrize("name", SIX)
def test_features_and_error_are_leaves(name: str) -> None:
    """Their gradients are those of x through the decoder, and what came before has the model's own gradient."""
    model = hooked(name, dtype=torch.float64)
    given = everywhere(model, dtype=torch.float64)
    plain = model.run(ids(), reads=["embed", *given])
    names = ["embed", *every_part(given)]
    run = model.run(ids(), reads=names, dictionaries=given)
    wanted = dict(
        zip(plain, torch.autograd.grad(plain.logits[:, -1, 3].sum(), list(plain.reads.values())), strict=True)
    )
    got = dict(zip(run, torch.autograd.grad(run.logits[:, -1, 3].sum(), list(run.reads.values())), strict=True))
    torch.testing.assert_close(got[Site("embed")], wanted[Site("embed")], rtol=0, atol=1e-12)
    for dictionary in given.values():
        at = dictionary.target
        g = wanted[at].flatten(2)
        torch.testing.assert_close(got[Site(at.kind, at.layer, "error")], g, rtol=0, atol=1e-12)
        torch.testing.assert_close(got[Site(at.kind, at.layer, "features")], g @ dictionary.W_dec.T, rtol=0, atol=1e-12)
    assert all(run[name].is_leaf for name in every_part(given))


@pytest.mark.broad
@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gradients_of_an_edited_run_are_those_of_what_it_computes(kind: str, normalize: str) -> None:
    """By central differences along a random direction of the embedding."""
    model = hooked("gpt2", dtype=torch.float64)
    dictionary = made("resid_post.0", 32, kind=kind, dtype=torch.float64, normalize=normalize)
    edits = [
        interp.zero("resid_post.0.features", features=slice(0, 12)),
        interp.add("resid_post.0.error", 0.1 * torch.ones(32, dtype=torch.float64)),
        interp.Edit("resid_post.0.error", lambda e: 0.5 * e),
    ]

    def metric(shift: Tensor | float) -> tuple[Tensor, Tensor]:
        own = interp.Edit("embed", lambda x: x + shift)
        run = model.run(ids(), edits=[own, *edits], reads=["embed"], dictionaries={"resid_post.0": dictionary})
        return run.logits[:, -1, 3].sum(), run["embed"]

    with true_float64():
        value, embed = metric(0.0)
        gradient = torch.autograd.grad(value, embed)[0]
        way = torch.randn(embed.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        eps = 1e-6
        with torch.no_grad():
            slope = (metric(eps * way)[0] - metric(-eps * way)[0]) / (2 * eps)
    assert float(slope.abs()) > 1e-3
    torch.testing.assert_close((gradient * way).sum(), slope, rtol=1e-5, atol=1e-7)


def test_a_frozen_norm_holds_the_scale_of_a_normalised_dictionary() -> None:
    """relp: the gradient through the encoder is that of a dictionary whose scale is a constant of the run."""
    model = hooked("gpt2", dtype=torch.float64)
    scaled = made("resid_post.0", 32, dtype=torch.float64, normalize="constant_norm_rescale")
    edits = [interp.zero("resid_post.0.features", features=slice(0, 12))]
    run = model.run(
        ids(), edits=edits, reads=["resid_pre.1", "embed"], dictionaries={"resid_post.0": scaled}, rules=RELP
    )
    x = model.run(ids(), reads=["resid_post.0"])["resid_post.0"].detach()
    factor = 32**0.5 / x.norm(dim=-1, keepdim=True)

    def held(leaf: Tensor) -> Tensor:
        features = scaled.activation((leaf * factor - scaled.b_in) @ scaled.W_enc + scaled.b_enc)  # type: ignore[operator]
        kept = features.clone()
        kept[..., :12] = 0
        return leaf + ((kept - features) @ scaled.W_dec) / factor

    leaf = x.clone().requires_grad_()
    g = torch.autograd.grad(run.logits[:, -1, 3].sum(), [run["resid_pre.1"], run["embed"]])
    through = torch.autograd.grad(held(leaf), leaf, g[0])[0]
    plain = model.run(ids(), reads=["embed", "resid_post.0"], rules=RELP)
    wanted = torch.autograd.grad(plain["resid_post.0"], plain["embed"], through)[0]
    torch.testing.assert_close(g[1], wanted, rtol=0, atol=1e-10)


def test_a_no_op_edit_and_repeated_runs_leave_nothing() -> None:
    model = hooked("llama")
    given = everywhere(model)
    plain = model.run(ids()).logits
    same = [interp.Edit(name, lambda x: x) for name in every_part(given)]
    assert torch.equal(model.run(ids(), edits=same, dictionaries=given).logits, plain)
    with pytest.raises(EditError):
        model.run(ids(), edits=[interp.Edit("z.1.features", lambda x: x[:, :, :2])], dictionaries=given)
    assert torch.equal(model.run(ids()).logits, plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_what_does_not_fit_is_refused_by_name() -> None:
    model = hooked("gpt2")
    own = made("resid_post.1", 32)
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (SiteError, "no dictionary makes up 'resid_post.0'", {"reads": ["resid_post.0.features"]}),
        (DictionaryError, "give it under that name", {"dictionaries": {"resid_post.0": own}}),
        (DictionaryError, "width 16; this model has 32", {"dictionaries": {"z.1": made("z.1", 16)}}),
        (DictionaryError, "no vector per token", {"dictionaries": {"pattern.1": made("pattern.1", 7)}}),
        (DictionaryError, "expected a Dictionary", {"dictionaries": {"resid_post.1": "own"}}),
        (SiteError, "not one place", {"dictionaries": {"resid_post": own}}),
        (
            DictionaryError,
            "two of them make up resid_post.1",
            {"dictionaries": {"resid_post.1": own, own.target: own}},
        ),
        (EditError, "features 0 to 23", {"edits": [interp.zero("resid_post.1.features", features=24)]}),
    ]
    cases += [
        (
            SiteError,
            "unknown part of site 'resid_post.1' 'feature'. Did you mean features",
            {"reads": ["resid_post.1.feature"]},
        ),
        (DictionaryError, "given list; expected {site: Dictionary}", {"dictionaries": [own]}),
        (DictionaryError, "given str; expected {site: Dictionary}", {"dictionaries": "folder"}),
    ]
    late = made("mlp_out.1", 32, target="mlp_normed.1")
    cases.append((DictionaryError, "comes after", {"dictionaries": {"mlp_normed.1": late}}))
    for error, message, options in cases:
        with pytest.raises(error, match=message):
            model.run(ids(), **{"dictionaries": {"resid_post.1": own}, **options})
    with pytest.raises(EditError, match="only the features of a dictionary"):
        interp.zero("resid_post.1", features=3)
    with pytest.raises(EditError, match="heads"):
        interp.zero("z.1.features", heads=0)
