"""AtP* against the paper's formulas written again slowly, against real runs with one key patched, and where it is exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.request import attribute, attribute_all
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.nodes import VIEWS, groups
from interp.parts.sites import Site
from interp.scores.scores import Scores
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked, parts, tiny
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

STREAM = ("embed", "resid_pre", "resid_mid", "resid_post")


@contextmanager
def without(name: str, model: Any, layer: int) -> Iterator[None]:
    """The model with what one layer adds detached, by the test's own hooks on its two output projections."""
    found = parts(name, model, layer)
    last = [m for m in (found.o, found.down) if m is not None]
    handles = [m.register_forward_hook(lambda _m, _a, out: out.detach()) for m in last]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def table(scores: Scores) -> dict[str, np.ndarray]:
    return {part.name: column for part, column in zip(scores.parts, scores.per_example.T, strict=True)}


# ---------------------------------------------------------------- the QK fix, slowly


def row(query: Tensor, keys: Tensor, t: int) -> Tensor:
    """One row of a causal softmax attention: query [d], keys [pos d]; zero behind position t."""
    weights = torch.zeros(len(keys))
    scores = torch.stack([query @ keys[j] / len(query) ** 0.5 for j in range(t + 1)])
    exps = torch.exp(scores - scores.max())
    weights[: t + 1] = exps / exps.sum()
    return weights


def slow_effects(q: Tensor, k: Tensor, other_q: Tensor, other_k: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Effects of queries [batch pos head] and keys [batch pos kv_head]; q, k [batch pos head d]; slope: dm/dpattern."""
    batch, length, heads, _ = q.shape
    group = heads // k.shape[2]
    of_q, of_k = torch.zeros(batch, length, heads), torch.zeros(batch, length, k.shape[2])
    for b in range(batch):
        for h in range(heads):
            keys = k[b, :, h // group]
            base = [row(q[b, t, h], keys, t) for t in range(length)]
            for t in range(length):
                of_q[b, t, h] = (row(other_q[b, t, h], keys, t) - base[t]) @ slope[b, h, t]
            for j in range(length):
                patched = keys.clone()
                patched[j] = other_k[b, j, h // group]
                for t in range(length):
                    of_k[b, j, h // group] += (row(q[b, t, h], patched, t) - base[t]) @ slope[b, h, t]
    return of_q, of_k


@pytest.mark.broad
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_queries_keys_and_values_are_the_papers_formula(name: str, direction: str) -> None:
    """gpt2: a K head for each head; llama: heads share. Gradients of the patterns come from plain transformers."""
    with true_float64():
        sizes = {"n_layer": 3} if name == "gpt2" else {"num_hidden_layers": 3}
        ours, task = hooked(name, dtype=torch.float64, **sizes), toy_task(2)
        base, source = ends(pairs_of(task), direction)
        expected = slow_scores(name, ours, task, base, source)
        options: dict[str, Any] = {"method": "atp-star", "level": "qkv", "direction": direction}
        for positions in ("all", "each"):
            found = table(attribute(ours, task, positions=positions, **options))
            for group in groups("qkv", ours.layout):
                effects = torch.stack(expected[str(group.site)])  # [drop batch pos unit]
                assert len(effects) == 2
                labelled = {None: effects.sum(2)} if positions == "all" else dict(enumerate(effects.unbind(2)))
                for label, total in labelled.items():
                    for unit in range(group.n_units):
                        close(found[group.node(unit, label).name], total[..., unit].abs().sum(0) / (3 - 1))


def slow_scores(name: str, ours: HookedModel, task: Task, base: Tensor, source: Tensor) -> dict[str, list[Tensor]]:
    """Effects [batch pos unit] by site, one for each dropped layer but the site's own."""
    sites = [f"{kind}.{layer}" for kind in "qkv" for layer in range(3)]
    with torch.no_grad():
        now, other = (ours.run(ids, reads=sites) for ids in (base, source))
    expected: dict[str, list[Tensor]] = {site: [] for site in sites}
    for dropped in range(3):
        with without(name, ours.hf, dropped):
            out = ours.hf(input_ids=base, output_attentions=True, use_cache=False)
        slopes = torch.autograd.grad(measured(out.logits, pairs_of(task)).sum(), out.attentions, allow_unused=True)
        for layer in set(range(3)) - {dropped}:
            q, k, v = (f"{kind}.{layer}" for kind in "qkv")
            of_q, of_k = slow_effects(now[q], now[k], other[q], other[k], slopes[layer])
            expected[q].append(of_q)
            expected[k].append(of_k)
            expected[v].append(first_order(ours, name, task, base, dropped, v, other[v] - now[v]))
    return expected


def first_order(ours: HookedModel, name: str, task: Task, base: Tensor, dropped: int, site: str, d: Tensor) -> Tensor:
    """d . gradient [batch pos unit] at a site, with one layer detached."""
    with without(name, ours.hf, dropped):
        run = ours.run(base, reads=[site])
    (gradient,) = torch.autograd.grad(measured(run.logits, pairs_of(task)).sum(), run[site])
    return (d * gradient).sum(-1)


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "qwen3", "olmo2", "granite", "mistral", "phi", "opt"])
def test_a_patched_key_is_a_real_run_with_that_key(name: str) -> None:
    """Soft caps, windows, q/k norms, multipliers: the pattern after each patch is read from a run of the whole model."""
    with true_float64():
        ours, task = hooked(name, dtype=torch.float64), toy_task(2, changed=2)
        base, source = ends(pairs_of(task), "denoise")
        found = table(attribute(ours, task, method="atp-star", level="qkv", positions="each"))
        for layer in range(2):
            q, k, at = f"q.{layer}", f"k.{layer}", f"pattern.{layer}"
            with torch.no_grad():
                before, other = (ours.run(ids, reads=[q, k, at]) for ids in (base, source))
            with without(name, ours.hf, 1 - layer):
                run = ours.run(base, reads=[at])
            (slope,) = torch.autograd.grad(measured(run.logits, pairs_of(task)).sum(), run[at])
            for position in range(base.shape[1]):
                for site, kind in ((q, "q"), (k, "k")):
                    with torch.no_grad():
                        after = ours.run(base, reads=[at], edits=[put(site, other[site], position)])[at]
                    per_head = ((after - before[at]) * slope).sum((2, 3))
                    units = before[site].shape[2]
                    right = per_head.view(len(base), units, -1).sum(2).abs().detach().numpy()
                    shared = "kv" if kind == "k" and units < per_head.shape[1] else "h"
                    for unit in range(units):
                        got = found[f"a{layer}.{shared}{unit}<{kind}>@{position}"]
                        assert np.allclose(got, right[:, unit], rtol=1e-8, atol=1e-11)


def put(site: str, value: Tensor, position: int) -> Edit:
    """The source's value at one position."""

    def apply(x: Tensor) -> Tensor:
        new = x.clone()
        new[:, position] = value[:, position]
        return new

    return Edit(site, apply)


# ---------------------------------------------------------------- where it is exact, and where AtP is blind


def last_attention(name: str, *, out: float, query: float = 1.0) -> HookedModel:
    """A model of two layers whose last attention writes `out` times as much, with queries `query` times as large."""
    model = tiny(name, dtype=torch.float64)
    with torch.no_grad():
        attn = model.model.layers[1].self_attn
        attn.o_proj.weight.mul_(out)
        attn.q_proj.weight.mul_(query)
    return HookedModel(model, name=name)


@pytest.mark.broad
@pytest.mark.parametrize("name", ["llama", "qwen3"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_error_is_of_second_order_in_what_follows_the_pattern(name: str, direction: str) -> None:
    """However large the change of a query or key: only what follows the pattern is taken as linear.

    In two layers a node of the last one has a single gradient, so its score is the size of one estimate.
    """
    with true_float64():
        task, errors, missed = toy_task(2), [], []
        sizes = (1e-2, 1e-3, 1e-4)
        for size in sizes:
            options: dict[str, Any] = {"level": "qkv", "positions": "each", "direction": direction}
            found = attribute_all(last_attention(name, out=size), task, methods=["exact", "atp", "atp-star"], **options)
            columns = [i for i, p in enumerate(found["exact"].parts) if p.layer == 1 and p.kind in ("q", "k")]
            exact, atp, star = (found[m].per_example[:, columns] for m in ("exact", "atp", "atp-star"))
            errors.append(np.abs(np.abs(exact) - star).max())
            missed.append(np.abs(exact - atp).max())
        assert np.log(errors[0] / errors[2]) / np.log(sizes[0] / sizes[2]) >= 1.9
        assert np.log(missed[0] / missed[2]) / np.log(sizes[0] / sizes[2]) < 1.1


def test_a_saturated_softmax_hides_nothing() -> None:
    """Scores 300 times as large leave the softmax without a gradient; patched queries and keys still move it."""
    with true_float64():
        ours, task = last_attention("llama", out=1e-4, query=300.0), toy_task(3, changed=3)
        found = attribute_all(ours, task, methods=["exact", "atp", "atp-star"], level="qkv", positions="each")
        columns = [i for i, p in enumerate(found["exact"].parts) if p.layer == 1 and p.kind in ("q", "k")]
        exact, atp, star = (np.abs(found[m].per_example[:, columns]) for m in ("exact", "atp", "atp-star"))
        moved = exact > 0.1 * exact.max()
        assert moved.sum() >= 3
        assert np.median(atp[moved] / exact[moved]) < 1e-3
        assert np.allclose(star[moved], exact[moved], rtol=1e-2)


# ---------------------------------------------------------------- GradDrop


@pytest.mark.broad
@pytest.mark.parametrize("level", ["resid", "blocks", "heads", "neurons"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "gemma2", "granite", "opt", "bloom", "falcon"])
def test_dropping_is_a_loop_over_detached_layers(name: str, level: str) -> None:
    with true_float64():
        ours, task = hooked(name, dtype=torch.float64), toy_task(2)
        base, source = ends(pairs_of(task), "denoise")
        positions = "each" if level == "resid" else "all"
        found = table(attribute(ours, task, method="atp-star", level=level, positions=positions))
        for group in groups(level, ours.layout):
            site, inside = group.site, group.kind not in STREAM
            with torch.no_grad():
                difference = ours.run(source, reads=[site])[site] - ours.run(base, reads=[site])[site]
            effects = []
            for dropped in range(2):
                if inside and dropped == site.layer:
                    continue  # its gradient is zero by construction: see the next test
                with without(name, ours.hf, dropped):
                    run = ours.run(base, reads=[site])
                    (gradient,) = torch.autograd.grad(measured(run.logits, pairs_of(task)).sum(), run[site])
                effects.append(contracted(group.kind, difference * gradient))
            total = torch.stack(effects)  # [drop batch pos unit]
            labelled = dict(enumerate(total.unbind(2))) if level == "resid" else {None: total.sum(2)}
            for label, one in labelled.items():
                for unit in range(group.n_units):
                    close(found[group.node(unit, label).name], one[..., unit].abs().mean(0))


def contracted(kind: str, product: Tensor) -> Tensor:
    """[batch pos unit] of a product in the shape of the site."""
    if kind == "neuron":
        return product
    return product.sum(-1) if VIEWS[kind].units else product.sum(-1, keepdim=True)


def close(got: np.ndarray, right: Tensor) -> None:
    assert np.allclose(got, right.detach().numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "phi", "mixtral"])
def test_a_dropped_layer_gives_its_own_parts_no_gradient(name: str) -> None:
    """The term that the paper's 1 / (L - 1) leaves out is zero; the residual stream keeps its skip connection."""
    ours, task = hooked(name), toy_task(2)
    base, _ = ends(pairs_of(task), "denoise")
    for dropped in range(2):
        detach = [Edit(Site(kind, dropped), lambda x: x.detach()) for kind in ("attn_out", "mlp_out")]
        inside, stream = [f"{kind}.{dropped}" for kind in ("q", "k", "v", "z")], f"resid_pre.{dropped}"
        run = ours.run(base, reads=[*inside, stream], edits=detach)
        assert torch.equal(run.logits, ours.run(base).logits)
        values = [run[s] for s in (*inside, stream)]
        *own, through = torch.autograd.grad(measured(run.logits, pairs_of(task)).sum(), values, allow_unused=True)
        assert all(g is None or not g.any() for g in own)
        assert through.any()


def test_cancelling_paths_are_seen() -> None:
    """Layer 1 takes away what a head of layer 0 adds: AtP gives the head nothing, AtP* the size of its direct path."""
    with true_float64():
        task, name = toy_task(1), "llama"

        def built(factor: float) -> HookedModel:
            """A model with nearly linear norms, whose last MLP writes `factor` times as much."""
            model = tiny(name, dtype=torch.float64, rms_norm_eps=1e3)
            with torch.no_grad():
                model.model.layers[1].mlp.down_proj.weight.mul_(factor)
            return HookedModel(model, name=name)

        factors = [0.0, 1.0]
        atp = [attribute(built(f), task, method="atp", level="heads")["a0.h1"] for f in factors]
        direct = abs(atp[0])
        while abs(atp[-1]) > 1e-9 * direct and len(atp) < 30:  # the root, by secants
            factors.append(factors[-1] - atp[-1] * (factors[-1] - factors[-2]) / (atp[-1] - atp[-2]))
            atp.append(attribute(built(factors[-1]), task, method="atp", level="heads")["a0.h1"])
        assert abs(atp[-1]) <= 1e-9 * direct
        ours = built(factors[-1])
        assert attribute(ours, task, method="atp-star", level="heads")["a0.h1"] > 0.5 * direct
