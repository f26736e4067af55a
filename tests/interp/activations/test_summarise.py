"""Statistics of a corpus in one pass: against the activations themselves, batches, merges, files, passes that were killed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.activations.summarise import summarise
from interp.activations.summary import Summary
from interp.errors import SiteError, TaskError
from interp.statistics.accumulator import STATISTICS, StatisticError
from tests.interp.model.tiny import hooked, ids

SITES = ["resid_post.1", "z.0", "mlp_post"]


def corpus(n: int = 9, length: int = 8) -> list[list[int]]:
    return [row[: length - i % 3].tolist() for i, row in enumerate(ids(n, length, seed=3))]


def values(model: Any, prompts: list[list[int]], site: str, keep_bos: bool = False) -> Tensor:
    """The vectors by runs of one prompt each [token d]."""
    with torch.no_grad():
        own = [model.run(torch.tensor([p]), reads=[site])[site][0].flatten(1)[not keep_bos :] for p in prompts]
    return torch.cat(own).double()


def same(found: Summary, other: Summary, rtol: float = 1e-10) -> None:
    assert list(found) == list(other) and found.n_tokens == other.n_tokens
    for site in found:
        for name, result in found[site].items():
            for key, x in result.items():
                torch.testing.assert_close(x, other[site][name][key], rtol=rtol, atol=1e-12, msg=f"{site} {name} {key}")


@pytest.mark.parametrize("keep_bos", [False, True])
def test_it_says_what_is_true_of_the_activations(keep_bos: bool) -> None:
    model, prompts = hooked("llama", dtype=torch.float64), ids(9, 8).tolist()
    found = summarise(model, prompts, SITES, ["moments", "covariance"], keep_bos=keep_bos, batch_size=4)
    assert list(found) == ["resid_post.1", "z.0", "mlp_post.0", "mlp_post.1"]
    for site in found:
        x = values(model, prompts, site, keep_bos).numpy()
        np.testing.assert_allclose(found[site]["moments"]["mean"], x.mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[site]["moments"]["variance"], x.var(0), rtol=1e-9)
        np.testing.assert_allclose(
            found[site]["covariance"]["covariance"], np.cov(x.T, bias=True), rtol=1e-8, atol=1e-12
        )
    assert found.n_tokens == len(values(model, prompts, "z.0", keep_bos)) and found.n_prompts == len(prompts)
    table = found.to_pandas()
    assert len(table) == 32 + 32 + 48 + 48 and {"mean", "variance", "kurtosis"} <= {*table.columns}


def test_batches_and_merges_change_nothing() -> None:
    model, prompts = hooked("gpt2", dtype=torch.float64), corpus()
    what = ["moments", "covariance", "sparsity", "quantiles", "pairs"]
    whole = summarise(model, prompts, SITES, what, batch_size=9)
    same(summarise(model, iter(prompts), SITES, what, batch_size=2), whole)
    parts = [summarise(model, part, SITES, what) for part in (prompts[:4], prompts[4:])]
    same(parts[0].merge(parts[1]), whole)
    assert parts[0].n_prompts == 4
    for odd in (summarise(model, prompts, SITES, what, keep_bos=True), summarise(model, prompts, "z.0", what)):
        with pytest.raises(StatisticError, match="expected the same"):
            whole.merge(odd)


def test_windows_have_one_length_and_what_fills_none_is_counted() -> None:
    model = hooked("llama", dtype=torch.float64)
    documents = [row.tolist() for row in (ids(1, 11, 1)[0], ids(1, 4, 2)[0], ids(1, 8, 3)[0])]
    found = summarise(model, documents, "resid_post.1", ["positions", "moments"], window=4)
    windows = [documents[0][:4], documents[0][4:8], documents[1], documents[2][:4], documents[2][4:]]
    assert (found.n_prompts, found.n_tokens, found.n_dropped) == (5, 15, 3)
    x = values(model, windows, "resid_post.1").view(5, 3, -1)
    torch.testing.assert_close(found["resid_post.1"]["positions"]["pos"], x.mean(0) - x.mean((0, 1)))
    assert "3 in no window" in str(found)


def test_a_file_gives_an_equal_summary(tmp_path: Path) -> None:
    model = hooked("llama")
    found = summarise(model, corpus(6, 6), SITES, list(STATISTICS), window=3, k=2)
    found.save(tmp_path / "a.safetensors")
    again = Summary.load(tmp_path / "a.safetensors")
    same(again, found, 0)
    assert str(again) == str(found)
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-9])
    for path in (tmp_path / "b.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(StatisticError, match="holds no whole summary"):
            Summary.load(path)


def test_a_pass_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.activations import summarise as module

    monkeypatch.setattr(module, "_OFTEN", 1)
    model, prompts, path = hooked("llama"), corpus(), tmp_path / "pass.safetensors"
    options: dict[str, Any] = {"what": ["moments", "examples"], "batch_size": 2}
    whole = summarise(model, prompts, SITES, out=tmp_path / "whole.safetensors", **options)

    def dies() -> Any:
        for i, prompt in enumerate(prompts):
            if i == 5:
                raise KeyboardInterrupt
            yield prompt

    with pytest.raises(KeyboardInterrupt):
        summarise(model, dies(), SITES, out=path, **options)
    assert Summary.load(path).n_prompts == 4
    same(summarise(model, prompts, SITES, out=path, **options), whole, 0)
    assert path.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    same(summarise(model, prompts, SITES, out=path, **options), whole, 0)
    with pytest.raises(TaskError, match="not those of the pass"):
        summarise(model, prompts[::-1], SITES, out=path, **options)
    with pytest.raises(TaskError, match="not those of the pass"):
        summarise(model, prompts[:3], SITES, out=path, **options)
    with pytest.raises(StatisticError, match="pass with other settings"):
        summarise(model, prompts, SITES, out=path, **options | {"what": "moments"})
    whole.save(tmp_path / "plain.safetensors")
    with pytest.raises(StatisticError, match="no pass that can go on"):
        summarise(model, prompts, SITES, out=tmp_path / "plain.safetensors", **options)


@pytest.mark.parametrize(
    ("error", "said", "options"),
    [
        (StatisticError, "Did you mean moments", {"what": "momentz"}),
        (StatisticError, "none given", {"what": []}),
        (StatisticError, "give window=", {"what": "positions"}),
        (StatisticError, "window=2", {"window": 2}),
        (StatisticError, "k=0", {"what": "examples", "k": 0}),
        (StatisticError, "more than", {"what": "covariance", "max_memory": "1KB"}),
        (SiteError, "two position axes", {"sites": "pattern.0"}),
        (SiteError, "layer 7 does not exist", {"sites": "z.7"}),
        (TaskError, "data is empty", {"data": []}),
        (TaskError, r"data\[1\] is", {"data": [[3, 4], 2.5]}),
        (StatisticError, "no token of the data counts", {"data": [[3], [4]]}),
    ],
)
def test_what_cannot_be_summarised_is_refused(error: type[Exception], said: str, options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"data": corpus(), "sites": "z.0"} | options
    with pytest.raises(error, match=said):
        summarise(hooked("llama"), given.pop("data"), given.pop("sites"), **given)


def test_numbers_that_are_not_finite_are_named() -> None:
    model = hooked("llama")
    model.hf.model.layers[1].mlp.down_proj.weight.data[3] = torch.inf
    with pytest.raises(StatisticError, match=r"mlp_out\.1 is not finite at unit 3, prompt 0, position 1"):
        summarise(model, corpus(), "mlp_out.1")


def test_position_context_and_sparsity_in_a_real_stream(assets: Path) -> None:
    known = json.loads((assets / "ref/language-models/s25_geometry_stories260K.json").read_text())["places"]
    model, stories = (
        interp.load(assets / "models/stories260K"),
        json.loads((assets / "data/text/tinystories_1000.json").read_text()),
    )
    tokens = [model.tokenize(text).ids[0].tolist() for text in stories[:300]]
    windows = [row[:128] for row in tokens if len(row) >= 128][:200]
    sites = ["embed", *(f"resid_post.{layer}" for layer in range(5))]
    kept = summarise(model, windows, [*sites, "mlp_pre", "mlp_post"], ["positions", "sparsity"], window=128)
    for site, own in zip(sites, known, strict=True):
        found = kept[site]["positions"]
        for name, key in (
            ("share_pos", "share_pos"), ("share_ctx", "share_ctx"), ("share_rest", "share_resid"), ("stable_rank_pos", "stable_rank_pos"),
            ("mean_abs_cos", "mean_abs_cos_pos_ctx"), ("relative_norm_pos", "relative_norm_pos"),
        ):  # fmt: skip
            assert float(found[name]) == pytest.approx(own[key], rel=1e-5), (site, name)
    published = json.loads((assets / "ref/language-models/s24_activation_sparsity_stories260K.json").read_text())[
        "layers"
    ]
    for layer, own in enumerate(published):
        gate, neurons = kept[f"mlp_pre.{layer}"]["sparsity"], kept[f"mlp_post.{layer}"]["sparsity"]
        for found, name, key in (
            (gate, "positive", "share_gate_positive"), (neurons, "above_1pct", "share_above_1pct_of_largest"),
            (neurons, "above_10pct", "share_above_10pct_of_largest"), (neurons, "hoyer", "hoyer"),
            (neurons, "units_for_90pct", "units_for_90pct_energy"), (gate, "never_positive", "never_positive_gate"),
        ):  # fmt: skip
            assert float(found[name]) == pytest.approx(own[key], rel=1e-5), (layer, name)
