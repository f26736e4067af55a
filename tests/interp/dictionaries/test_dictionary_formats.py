"""Dictionaries on disk: what we write sae-lens reads the same, where they belong, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError, JumpRelu, TopK
from interp.dictionaries.dictionary import NORMALIZE, Dictionary
from interp.dictionaries.storage import load_dictionaries, load_dictionary, save_dictionary
from interp.parts.sites import Site
from tests.interp.dictionaries.random_dictionaries import ACTIVATIONS, made
from tests.interp.dictionaries.stored_dictionaries import CLOSE, D, N, inputs, same, written


@pytest.fixture(scope="module")
def sae_lens() -> Any:
    return pytest.importorskip("sae_lens")


def transcoder(kind: str, skip: bool, **more: Any) -> Dictionary:
    if skip:
        more["W_skip"] = torch.randn(D, 6, generator=torch.Generator().manual_seed(9))
    return made("mlp_normed.1", D, target="mlp_out.1", d_out=6, n=N, kind=kind, **more)


# ---------------------------------------------------------------- ours, read by sae-lens and by us


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_sae_lens_reads_what_we_write(sae_lens: Any, tmp_path: Path, kind: str, normalize: str) -> None:
    d, x = made("resid_post.1", D, n=N, kind=kind, normalize=normalize), inputs()
    save_dictionary(d, tmp_path / "d")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "d")
    same(d, theirs.encode(x), theirs(x), x)
    assert theirs.cfg.metadata.hook_name == "blocks.1.hook_resid_post"
    same(load_dictionary(tmp_path / "d"), theirs.encode(x), theirs(x), x)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["relu", "jumprelu"])
def test_sae_lens_reads_our_transcoders(sae_lens: Any, tmp_path: Path, kind: str, skip: bool) -> None:
    d, x = transcoder(kind, skip), inputs()
    save_dictionary(d, tmp_path / "d")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "d")
    same(d, theirs.encode(x), theirs(x), x)
    assert theirs.cfg.metadata.hook_name_out == "blocks.1.hook_mlp_out"
    found = load_dictionary(tmp_path / "d")
    same(found, theirs.encode(x), theirs(x), x)
    assert (found.site, found.target) == (d.site, d.target)


def test_sae_lens_refuses_what_only_we_have(sae_lens: Any, tmp_path: Path) -> None:
    """A TopK transcoder has no name of its own there: it is refused, not read as something else."""
    d, x = transcoder("topk", True), inputs()
    save_dictionary(d, tmp_path / "d")
    same(load_dictionary(tmp_path / "d"), d.encode(x), d.reconstruct(x), x)
    with pytest.raises(KeyError, match="topk_skip_transcoder"):
        sae_lens.SAE.load_from_disk(tmp_path / "d")


@pytest.mark.parametrize("bias", ["none", "shared"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_dictionary_comes_back_bit_for_bit(tmp_path: Path, kind: str, bias: str) -> None:
    d = made("z.1", D, n=N, kind=kind, name="first", details={"tokens": 100, "lr": 3e-4, "architecture": "x"})
    d = replace(d, b_in=None if bias == "none" else d.b_dec.clone(), b_enc=torch.zeros(N))
    save_dictionary(d, tmp_path / "a" / "d")
    found, x = load_dictionary(tmp_path / "a" / "d"), inputs()
    assert torch.equal(found.encode(x), d.encode(x)) and torch.equal(found.reconstruct(x), d.reconstruct(x))
    assert (found.site, found.target, found.name, found.details) == (d.site, d.target, d.name, d.details)
    assert sorted(p.name for p in (tmp_path / "a" / "d").iterdir()) == ["cfg.json", "sae_weights.safetensors"]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_dtypes(sae_lens: Any, tmp_path: Path, dtype: str) -> None:
    d = made("resid_post.1", D, n=N).to(dtype=getattr(torch, dtype))
    save_dictionary(d, tmp_path / "d")
    assert load_dictionary(tmp_path / "d").dtype == d.dtype == sae_lens.SAE.load_from_disk(tmp_path / "d").dtype
    assert load_dictionary(tmp_path / "d", dtype="float32").dtype == torch.float32
    with pytest.raises(DictionaryError, match="unknown dtype 'int8'"):
        load_dictionary(tmp_path / "d", dtype="int8")


def test_heads_are_one_vector(sae_lens: Any, tmp_path: Path) -> None:
    d = made("z.1", D, n=N)
    save_dictionary(d, tmp_path / "d")
    theirs, x = sae_lens.SAE.load_from_disk(tmp_path / "d"), inputs()
    torch.testing.assert_close(theirs(x.view(-1, 2, 4)), d.reconstruct(x).view(-1, 2, 4), **CLOSE)


# ---------------------------------------------------------------- where it belongs


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("blocks.3.hook_resid_pre", "resid_pre.3"),
        ("blocks.0.attn.hook_z", "z.0"),
        ("blocks.2.ln2.hook_normalized", "mlp_normed.2"),
        ("blocks.2.mlp.hook_in", "mlp_normed.2"),
        ("blocks.2.hook_mlp_out", "mlp_out.2"),
    ],
)
def test_sites_by_transformer_lens_names(tmp_path: Path, hook: str, site: str) -> None:
    folder = written(tmp_path, lambda c, t: c["metadata"].update(site=None, target=None, hook_name=hook))
    found = load_dictionary(folder)
    assert str(found.site) == str(found.target) == site


def test_a_site_that_is_not_said_is_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path, lambda c, t: [c["metadata"].pop(k) for k in ("site", "target", "hook_name")])
    with pytest.raises(DictionaryError, match="does not say its site: give site="):
        load_dictionary(folder)
    found = load_dictionary(folder, site="resid_mid.0")
    assert found.site == found.target == Site("resid_mid", 0) and not found.transcoder
    for wrong, message in (
        ("resid_post", "expected one place"),
        ("resid_post.1.features", "expected one place"),
        ("residual.1", "unknown site 'residual.1'"),
        ("blocks.1.attn.hook_q", "before rotary"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load_dictionary(folder, site=wrong)
    with pytest.raises(DictionaryError, match="of head 3 alone"):
        load_dictionary(written(tmp_path, lambda c, t: c["metadata"].update(hook_head_index=3)))
    with pytest.raises(DictionaryError, match="Say where it belongs: site="):
        load_dictionary(written(tmp_path, lambda c, t: c["metadata"].update(site=None, hook_name="blocks.1.hook_x")))


def test_dictionaries_of_a_folder(tmp_path: Path) -> None:
    save_dictionary(made("resid_post.0", D, n=N), tmp_path / "a")
    save_dictionary(transcoder("relu", False), tmp_path / "b")
    (tmp_path / "figures").mkdir()
    found = load_dictionaries(tmp_path)
    assert list(found) == [Site("resid_post", 0), Site("mlp_out", 1)]
    assert list(load_dictionaries(tmp_path / "a")) == [Site("resid_post", 0)]
    save_dictionary(made("resid_post.0", D, n=N, seed=1), tmp_path / "c")
    with pytest.raises(DictionaryError, match=r"two dictionaries of resid_post.0; keep one \('c' is one\)"):
        load_dictionaries(tmp_path)
    with pytest.raises(DictionaryError, match="holds no dictionary"):
        load_dictionaries(tmp_path / "figures")
    with pytest.raises(DictionaryError, match="no such folder"):
        load_dictionaries(tmp_path / "nowhere")
    (tmp_path / "c" / "cfg.json").unlink()
    with pytest.raises(DictionaryError, match="cannot be read"):
        load_dictionaries(tmp_path)


# ---------------------------------------------------------------- what is refused


BAD: list[tuple[str, str, Callable[[dict[str, Any], dict[str, Tensor]], Any]]] = [
    ("relu", "no tensor 'b_dec'", lambda c, t: t.pop("b_dec")),
    ("relu", "does not speak of: threshold", lambda c, t: t.update(threshold=torch.ones(N))),
    ("relu", r"W_enc of shape \(24, 8\); expected \(8, 24\)", lambda c, t: t.update(W_enc=t["W_enc"].T)),
    ("relu", "b_enc has .*|numbers that are not finite", lambda c, t: t["b_enc"].__setitem__(0, float("nan"))),
    ("relu", "W_dec is torch.int64; expected floating point", lambda c, t: t.update(W_dec=t["W_dec"].long())),
    ("relu", "d_sae=0", lambda c, t: c.update(d_sae=0)),
    ("relu", "d_in=None", lambda c, t: c.pop("d_in")),
    ("relu", "keys that are not known here .*: slope", lambda c, t: c.update(slope=2)),
    ("relu", "unknown architecture 'temporal'", lambda c, t: c.update(architecture="temporal")),
    ("relu", "unknown architecture 'matching_pursuit'", lambda c, t: c.update(architecture="matching_pursuit")),
    ("topk", "unknown architecture 'abstopk'", lambda c, t: c.update(architecture="abstopk")),
    ("topk", "k=0; expected a whole number", lambda c, t: c.update(k=0)),
    ("topk", "k=None", lambda c, t: c.pop("k")),
    ("relu", "unknown dtype 'int8'", lambda c, t: c.update(dtype="int8")),
    ("relu", "normalised by 'covariance_whitening'", lambda c, t: c.update(normalize_activations="covariance_whitening")),
    ("relu", "apply_b_dec_to_input='no'", lambda c, t: c.update(apply_b_dec_to_input="no")),
    ("relu", "normalised by {}", lambda c, t: c.update(normalize_activations={})),
    ("relu", "reshapes its inputs", lambda c, t: c.update(reshape_activations="hook_z")),
    ("relu", "reshapes its inputs", lambda c, t: c.update(reshape_activations="flat")),
    ("relu", "d_sae=nan", lambda c, t: c.update(d_sae=float("nan"))),
    ("relu", "sae_lens_version 'new'", lambda c, t: c["metadata"].update(sae_lens_version="new")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "change"), BAD, ids=[message for _, message, _ in BAD])
def test_damaged_files_are_refused(tmp_path: Path, kind: str, message: str, change: Any) -> None:
    with pytest.raises(DictionaryError, match=message):
        load_dictionary(written(tmp_path, change, kind))


def test_truncated_and_missing_files_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, lambda c, t: None)
    weights = folder / "sae_weights.safetensors"
    content = weights.read_bytes()
    for size in (0, 7, 100, len(content) - 1):
        weights.write_bytes(content[:size])
        with pytest.raises(DictionaryError, match=r"sae_weights\.safetensors' cannot be read"):
            load_dictionary(folder)
    weights.unlink()
    with pytest.raises(DictionaryError, match=r"sae_weights\.safetensors' cannot be read"):
        load_dictionary(folder)
    for text in ("", "[1]", "{", "\x00", "[" * 100_000):
        (folder / "cfg.json").write_text(text)
        with pytest.raises(
            DictionaryError, match=r"cfg\.json' (cannot be read|holds a list; expected an object with keys)"
        ):
            load_dictionary(folder)
    with pytest.raises(DictionaryError, match="is no folder"):
        load_dictionary(tmp_path / "nowhere")


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path: Path) -> None:
    gated = transcoder("gated", False)
    for d, message in (
        (gated, "no gated transcoder"),
        (made("resid_post.1", D, details={"x": object()}), "not plain data"),
        (made("resid_post.1", D, details={"x": float("nan")}), "not plain data"),
    ):
        with pytest.raises(DictionaryError, match=message):
            save_dictionary(d, tmp_path / "d")
        assert not (tmp_path / "d").exists()
    save_dictionary(made("resid_post.1", D), tmp_path / "d")
    with pytest.raises(DictionaryError, match="holds a dictionary already"):
        save_dictionary(made("resid_post.1", D, seed=1), tmp_path / "d")
    (tmp_path / "file").write_text("")
    with pytest.raises(DictionaryError, match="cannot write to"):
        save_dictionary(made("resid_post.1", D), tmp_path / "file" / "d")


def test_a_thresholds_meaning_is_kept(tmp_path: Path) -> None:
    """k beyond the features keeps them all; a threshold below zero still lets only what is positive through."""
    x = inputs()
    many = made("resid_post.1", D, n=N, kind="topk")
    many = replace(many, activation=TopK(100))
    save_dictionary(many, tmp_path / "a")
    low = replace(many, activation=JumpRelu(torch.full((N,), -0.5)))
    save_dictionary(low, tmp_path / "b")
    for d, name in ((many, "a"), (low, "b")):
        torch.testing.assert_close(load_dictionary(tmp_path / name).encode(x), d.encoder_output(x).relu(), **CLOSE)


def test_a_folder_of_several_is_not_one(tmp_path: Path) -> None:
    for site in ("resid_post.0", "z.1"):
        save_dictionary(made(site, 32), tmp_path / site)
    with pytest.raises(DictionaryError, match=r"holds 2 dictionaries, the first in 'resid_post\.0'.*load_dictionaries"):
        load_dictionary(tmp_path)
