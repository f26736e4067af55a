"""Metrics that read a site and not the logits: against a model that really ends there, against gradients by hand, and what is behind them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import interp
from interp.attribution.request import attribute, attribute_all
from interp.errors import MethodError, MetricError, SiteError
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.tasks.metric import Metric
from tests.interp.model.tiny import hooked, ids, tiny
from tests.interp.tasks.toy import toy_task

TOKEN = 7
LAYERS = 3
PROBE = torch.randn(128, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def probe(site: str, **options: Any) -> Metric:
    """PROBE . what stands at the site, at the last position."""
    return Metric(
        "probe",
        lambda at, _: at[site].flatten(1) @ PROBE.to(at[site])[: at[site][0].numel()],
        "units",
        "a probe",
        reads=(site,),
        **options,
    )


def three(name: str = "llama") -> Any:
    return tiny(name, dtype=torch.float64, num_hidden_layers=LAYERS)


def ending(hf: Any, layers: int) -> HookedModel:
    """A model of the first layers whose logit of TOKEN is the probe of the stream that leaves them: its module is made so."""
    own = copy.deepcopy(hf)
    own.model.layers = own.model.layers[:layers]
    own.config.num_hidden_layers = layers
    own.model.norm = nn.Identity()
    with torch.no_grad():
        own.lm_head.weight.zero_()
        own.lm_head.weight[TOKEN] = PROBE[:32]
    return HookedModel(own)


def same(found: Scores, twin: Scores) -> None:
    assert [p.name for p in found.parts] == [p.name for p in twin.parts]
    np.testing.assert_allclose(found.per_example, twin.per_example, rtol=1e-6, atol=1e-9)
    assert np.abs(twin.per_example).max() > 1e-3


def answered(task: Any) -> Any:
    """The same prompts with TOKEN as their answer."""
    pairs = (replace(p, ids=replace(p.ids, answers=(TOKEN,), wrong=())) for p in task.pairs)
    return replace(task, pairs=tuple(pairs))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("level", ["heads", "neurons", "edges"])
def test_it_is_a_model_that_ends_there(level: str, layers: int) -> None:
    hf = three()
    task, names = answered(toy_task()), ["exact", "relp", "relp-ah", "deeplift"]
    found = attribute_all(HookedModel(hf), task, methods=names, level=level, metric=probe(f"resid_post.{layers - 1}"))
    twins = attribute_all(ending(hf, layers), task, methods=names, level=level, metric="logit")
    for name in names:
        same(found[name], twins[name])


def test_the_search_of_the_top_is_that_of_a_model_that_ends_there() -> None:
    hf, task = three(), answered(toy_task())
    found = attribute(HookedModel(hf), task, method="auto", level="heads", metric=probe("resid_post.1"), n=3)
    twin = attribute(ending(hf, 2), task, method="auto", level="heads", metric="logit", n=3)
    same(found, twin)
    assert found.provenance.metric == "probe of resid_post.1"


SITES = ("resid_mid.1", "resid_pre.1", "z.1", "mlp_post.1", "mlp_out.1", "attn_out.1", "v.1", "resid_final", "embed")


@pytest.mark.broad
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "phi"])
@pytest.mark.parametrize("site", SITES)
def test_gradient_and_patch_are_those_by_hand(name: str, site: str) -> None:
    if site == "resid_mid.1" and name == "phi":
        pytest.skip("attention and MLP run in parallel")
    model, task = hooked(name, dtype=torch.float64), toy_task(2)
    found = attribute_all(model, task, methods=["exact", "atp"], level="heads", metric=probe(site), direction="noise")
    parts = {p.name: i for i, p in enumerate(found["exact"].parts)}
    assert "embed" in parts
    for name in parts.keys() & {"embed", "a0.h1", "a1.h2"}:
        patched, slope = by_hand(model, task, site, name)
        np.testing.assert_allclose(found["exact"].per_example[:, parts[name]], patched, rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(found["atp"].per_example[:, parts[name]], slope, rtol=1e-6, atol=1e-10)


def by_hand(model: HookedModel, task: Any, site: str, name: str) -> tuple[Tensor, Tensor]:
    """What a patch of the embedding or a head does to the probe, and its first order [example]."""
    ids_of = [pair.ids for pair in task.pairs]
    clean, corrupt = (torch.tensor([getattr(p, side) for p in ids_of]) for side in ("clean", "corrupt"))
    head = None if name == "embed" else int(name[-1])
    place = "embed" if head is None else f"z.{name[1]}"

    def value(run: Any) -> Tensor:
        x: Tensor = run[site][:, -1].flatten(1)
        return x @ PROBE[: x.shape[1]]

    with torch.no_grad():
        other = model.run(corrupt, reads=[place])[place]
        edit = interp.patch(place, other) if head is None else interp.patch(place, other[:, :, head], heads=head)
        before, after = model.run(clean, reads=[site, place]), model.run(clean, reads=[site], edits=[edit])
    run = model.run(clean, reads=[site, place])
    (slope,) = torch.autograd.grad(value(run).sum(), run[place], allow_unused=True)
    first = (other - before[place]) * (torch.zeros_like(other) if slope is None else slope)
    first = first if head is None else first[:, :, head]
    return value(after) - value(before), first.flatten(1).sum(1)


def test_logits_that_are_read_are_the_metric_of_the_logits() -> None:
    model, task = hooked("gpt2", dtype=torch.float64), toy_task()
    own = Metric(
        "own", lambda at, t: (at["logits"] * (t.answers - t.wrong)).sum(-1), "logits", "a difference", reads=("logits",)
    )
    names = ["exact", "relp", "deeplift"]
    found = attribute_all(model, task, methods=names, level="heads", metric=own)
    for name, scores in attribute_all(model, task, methods=names, level="heads").items():
        same(found[name], scores)


def test_all_positions_and_several_sites_can_be_read() -> None:
    model, task = hooked("llama", dtype=torch.float64), toy_task(2)
    names = ("z.0", "resid_post.0")

    def scored(*sites: str) -> np.ndarray:
        metric = Metric(
            "sum", lambda at, _: sum(at[s].flatten(1).sum(1) for s in sites), "units", "", reads=sites, positions="all"
        )
        return attribute(model, task, method="exact", level="blocks", metric=metric).per_example

    first, second = (scored(name) for name in names)
    total = second.copy()
    total[:, : first.shape[1]] += first
    np.testing.assert_allclose(scored(*names), total, rtol=1e-9, atol=1e-12)


def test_replays_and_whole_forwards_agree_and_end_early() -> None:
    model, task = HookedModel(three()), toy_task()
    replayed = attribute(model, task, method="exact", level="heads", metric=probe("resid_post.1"))
    assert replayed.provenance.engine == "replay"
    handle = model.hf.model.layers[0].register_forward_hook(lambda *_: None)  # other people's hook: whole forwards
    whole = attribute(model, task, method="exact", level="heads", metric=probe("resid_post.1"))
    handle.remove()
    assert whole.provenance.engine != "replay"
    same(replayed, whole)
    calls: list[int] = []
    last = model.hf.model.layers[-1].register_forward_hook(lambda *_: calls.append(1))
    model.ending_at("resid_post.1").run(ids())
    last.remove()
    assert not calls


def test_what_is_behind_is_no_part_and_what_cannot_be_read_is_refused() -> None:
    model, task = hooked("llama"), toy_task(2)
    found = attribute(model, task, method="exact", level="heads", metric=probe("z.1"))
    assert [p.name for p in found.parts][-1] == "a1.h3"
    with pytest.raises(MethodError, match=r"'m1'.*behind what the metric reads \(z\.1\) are none"):
        attribute(model, task, method="exact", level="heads", metric=probe("z.1"), parts=["m1"])
    with pytest.raises(SiteError, match=r"reads 'resid_mid\.1' of the stream"):
        attribute(model, task, method="relp", level="edges", metric=probe("resid_mid.1"))
    with pytest.raises(SiteError, match="two axes of positions"):
        attribute(model, task, method="exact", level="heads", metric=probe("pattern.0"))
    with pytest.raises(SiteError, match="layer 9 does not exist"):
        attribute(model, task, method="exact", level="heads", metric=probe("resid_post.9"))
    with pytest.raises(MetricError, match="expected names of sites"):
        Metric("odd", lambda at, _: at, "units", "", reads="z.0")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="speak of logits"):
        Metric("odd", lambda at, _: at, "units", "", reads=("z.0",), vocabulary="answers")
    nan = Metric("nan", lambda at, _: at["z.1"].flatten(1).sum(1) * torch.nan, "units", "", reads=("z.1",))
    with pytest.raises(MetricError, match="not finite"):
        attribute(model, task, method="exact", level="heads", metric=nan)
