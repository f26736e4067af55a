"""Attribution against brute force, its own definition, and first-order theory; and the options of the driver."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.methods import METHODS
from interp.attribution.request import attribute, attribute_all
from interp.errors import MethodError, TaskError
from interp.model.edits import Edit
from interp.parts.nodes import VIEWS, Node
from interp.rules.rules import GRADIENT, PRESETS, preset
from interp.scores.scores import Scores
from interp.tasks.ablations import _derange
from tests.interp.attribution.slopes import first_order
from tests.interp.model.test_rules_in_models import ALL, POST_NORM, supported
from tests.interp.model.tiny import OWN_ATTENTION, hooked, parts, tiny
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import measured, pairs_of, toy_task, with_twins

APPROXIMATE = ("atp", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim", "atp-ig", "relp-ig")
NAMES = ("gpt2", "llama", "gemma2", "phi", "opt", "granite", "bloom", "falcon")


def by_name(scores: Scores) -> dict[str, np.ndarray]:
    return {node.name: column for node, column in zip(scores.parts, scores.per_example.T, strict=True)}


# ---------------------------------------------------------------- exact against brute force


def forced(model: Any, module: Any, base: Tensor, part: Any, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits of `model` with `part` of what goes into `module` replaced by `value` of it: the test's own hook."""

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        new = x.reshape(*base.shape, -1).clone()
        new[part] = value(new)[part]
        new = new.reshape(x.shape)
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        return model(input_ids=base, use_cache=False).logits
    finally:
        handle.remove()


def seen(model: Any, module: Any, given: Tensor) -> Tensor:
    """What goes into `module` on other prompts [batch pos width]."""
    found: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        found.append(x.clone())
        return x

    forced(model, module, given, ..., keep)
    return found[0]


@pytest.mark.broad
@torch.no_grad()
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", NAMES)
def test_exact_is_brute_force_patching(name: str, direction: str) -> None:
    model, task = tiny(name), toy_task(3)
    pairs = pairs_of(task)
    ours = hooked(name)
    clean, corrupt = torch.tensor([p.clean for p in pairs]), torch.tensor([p.corrupt for p in pairs])
    base, source = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
    start = measured(model(input_ids=base, use_cache=False).logits, pairs)
    chosen = ["m0.n3", "m1.n40"]
    options: dict[str, Any] = {"method": "exact", "direction": direction}
    found = by_name(attribute(ours, task, level="heads", **options))
    found |= by_name(attribute(ours, task, level="neurons", parts=chosen, **options))
    found |= by_name(attribute(ours, task, level="resid", **options))
    cases: list[tuple[str, Any, Any]] = [
        (n, parts(name, model, int(n[1])).down, np.s_[..., int(n[4:])]) for n in chosen
    ]
    for layer, unit in itertools.product(range(2), range(4)):
        cases.append((f"a{layer}.h{unit}", parts(name, model, layer).o, np.s_[..., 8 * unit : 8 * unit + 8]))
        cases.append((f"resid_pre.{layer}@{unit}", parts(name, model, layer).block, np.s_[:, unit]))
    for node, module, part in cases:
        value = seen(model, module, source)
        expected = measured(forced(model, module, base, part, lambda x, value=value: value), pairs) - start
        assert np.allclose(found[node], expected.numpy(), rtol=0, atol=2e-5 * float(start.abs().max() + 1)), node
    other = measured(model(input_ids=source, use_cache=False).logits, pairs)
    assert np.allclose(found["embed"], (other - start).numpy(), atol=1e-4) and np.abs(found["embed"]).max() > 0.1


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite", "opt"])
def test_patching_a_value_by_itself_scores_nothing(name: str) -> None:
    model = hooked(name)
    task = with_twins(model, toy_task(3))
    for level in ("resid", "blocks", "heads", "qkv", "neurons"):
        methods = ["exact", *APPROXIMATE] if level != "neurons" else list(APPROXIMATE)
        for method, scores in attribute_all(model, task, methods=methods, level=level).items():
            assert not scores.per_example.any(), (level, method)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
def test_ablations_are_brute_force_patching(kind: str) -> None:
    model, task = tiny("llama"), toy_task(2, lengths=(6,))
    pairs = pairs_of(task)
    clean = torch.tensor([p.clean for p in pairs])
    start = measured(model(input_ids=clean).logits, pairs)
    found = by_name(attribute(hooked("llama"), task, method="exact", level="heads", ablation=kind))
    for layer, head in itertools.product(range(2), range(4)):
        o = parts("llama", model, layer).o
        x = seen(model, o, clean)
        value = {"zero": x * 0, "mean": x.mean((0, 1), keepdim=True).expand_as(x), "resample": x.flip(0)}[kind]
        part = np.s_[..., 8 * head : 8 * head + 8]
        expected = measured(forced(model, o, clean, part, lambda _, value=value: value), pairs) - start
        assert np.allclose(found[f"a{layer}.h{head}"], expected.numpy(), rtol=0, atol=1e-4)
    with pytest.raises(MethodError, match=f"{kind} ablation has no such values"):
        attribute(hooked("llama"), task, method="atp", level="heads", ablation=kind, direction="denoise")


def test_mean_ablation_weighs_tokens_and_not_prompts() -> None:
    model, task = hooked("gpt2"), toy_task(3, lengths=(4, 7))
    rows = [torch.tensor([p.clean]) for p in pairs_of(task)]
    z = torch.cat([model.run(row, reads=["z.1"])["z.1"][0] for row in rows]).mean(0)
    start = [model.run(row).logits for row in rows]
    patched = [model.run(row, edits=[Edit("z.1", lambda x: torch.cat([z[:1].expand_as(x[..., :1, :]), x[..., 1:, :]], 2))])
               for row in rows]  # fmt: skip
    expected = [
        float(measured(p.logits, [pair]) - measured(s, [pair]))
        for p, s, pair in zip(patched, start, pairs_of(task), strict=True)
    ]
    found = by_name(attribute(model, task, method="exact", level="heads", ablation="mean", batch_size=1))
    assert found["a1.h0"] == pytest.approx(expected, abs=1e-4)


def test_resampling_never_pairs_a_prompt_with_itself_or_another_length() -> None:
    lengths = [5, 7, 5, 7, 5, 5]
    for seed in range(20):
        partners = _derange(lengths, seed)
        assert sorted(partners) == list(range(6))
        assert all(i != j and lengths[i] == lengths[j] for i, j in enumerate(partners))
    assert len({tuple(_derange(lengths, seed)) for seed in range(20)}) > 1
    with pytest.raises(TaskError, match="only one has 7 tokens"):
        attribute(hooked("gpt2"), toy_task(3, lengths=(5, 7)), method="exact", level="heads", ablation="resample")


# ---------------------------------------------------------------- first order


@pytest.mark.broad
@pytest.mark.parametrize("level", ["resid", "blocks", "heads", "qkv", "neurons"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "phi", "opt", "falcon"])
def test_atp_is_right_to_first_order(name: str, level: str) -> None:
    """|exact(eps d) - eps score| = O(eps^2): slope between eps = 1e-3 and 1e-4, in float64."""
    if level == "qkv" and name in OWN_ATTENTION:
        pytest.skip("q, k, v cannot be read here")
    with true_float64():
        model, task = hooked(name, dtype=torch.float64), toy_task(1)
        pairs = pairs_of(task)
        clean, corrupt = torch.tensor([pairs[0].clean]), torch.tensor([pairs[0].corrupt])
        scores = attribute(model, task, method="atp", level=level, direction="noise")
        assert METHODS["atp"].first_order
        start, slopes = measured(model.run(clean).logits, pairs), 0
        by_size = sorted(scores.parts, key=lambda n: abs(scores[n.name]))
        for node in {(n.kind, n.layer): n for n in by_size}.values():  # the largest of every kind and layer
            site = VIEWS[node.kind].site + ("" if node.layer is None else f".{node.layer}")
            step = (model.run(corrupt, reads=[site])[site] - model.run(clean, reads=[site])[site]).detach()
            step = step * _chosen(node, step)

            def effect(eps: float, site: str = site, step: Tensor = step) -> float:
                with torch.no_grad():
                    logits = model.run(clean, edits=[Edit(site, lambda x: x + eps * step)]).logits
                return float(measured(logits, pairs) - start)

            slopes += first_order(effect, scores[node.name], float(start), node.name)
        assert slopes >= 2


def _chosen(node: Node, like: Tensor) -> Tensor:
    mask = torch.zeros_like(like)
    positions = slice(None) if node.position is None else node.position
    mask[(slice(None), positions) if node.unit is None else (slice(None), positions, node.unit)] = 1
    return mask


@pytest.mark.broad
@pytest.mark.parametrize("name", [n for n in ALL if n != "mixtral" and n not in POST_NORM])
def test_neuron_scores_sum_to_the_score_of_their_mlp(name: str) -> None:
    chosen = [
        m for m in ("atp", *PRESETS) if m != "gradient" and supported(name, preset(m) if m in PRESETS else GRADIENT)
    ]
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        options: dict[str, Any] = {"methods": chosen, "direction": "noise"}
        neurons = attribute_all(model, toy_task(3), level="neurons", **options)
        blocks = attribute_all(model, toy_task(3), level="blocks", **options)
    for method in chosen:
        table = neurons[method].to_pandas().groupby("layer").score.sum()
        for layer in range(2):
            assert table[layer] == pytest.approx(blocks[method][f"m{layer}"], rel=1e-9)
            assert abs(table[layer]) > 1e-6
