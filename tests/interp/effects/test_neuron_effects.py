"""Neurons ranked by what they write to the answer: against the sum written out, zeroing by hand, and reference numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import EditError, InterpError, LayoutError, MetricError, SiteError, TaskError
from interp.parts.nodes import Node
from interp.tasks.task import Task
from tests.interp.effects.stories import reference, task_of
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import pairs_of, toy_task

TASK = toy_task(n=3, lengths=(6, 5))


def log_probs(model: Any, task: Task, **options: Any) -> np.ndarray:
    found = []
    for pair in pairs_of(task):
        logits = model.run(torch.tensor([pair.clean]), **options).logits[0, -1].double()
        found.append(float(torch.log_softmax(logits, -1)[list(pair.answers)].exp().sum().log()))
    return np.array(found)


@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2", "granite", "olmo2", "phi"))
def test_neurons_add_up_to_their_mlp_in_logits_and_alone_in_log_probability(name: str) -> None:
    """LayerNorm and biases, RMSNorm, post-norm with a soft cap, a residual multiplier, a parallel block."""
    model = hooked(name)
    found = interp.neuron_effects(model, TASK, layers=[1], measure="logit_diff", check=0)
    n = model.layout.d_mlp or 0
    nodes = [Node("neuron", 1, i) for i in range(n)]
    direct = {m: interp.direct_effects(model, TASK, nodes, measure=m) for m in ("logit", "log_prob_increase")}
    order = [node.unit for node in found.nodes]
    assert np.allclose(found.logits, direct["logit"].per_example[:, order], atol=1e-6)
    assert np.allclose(found.log_probs, direct["log_prob_increase"].per_example[:, order], atol=1e-5)
    assert (np.diff(found.mean) <= 0).all() and found.proved == found.n_neurons == n and np.abs(found.mean).max() > 1e-3
    plain = interp.direct_effects(model, TASK, nodes)
    assert np.allclose(found.per_example, plain.per_example[:, order], atol=1e-6)


@pytest.mark.parametrize("name", ("llama", "gemma2", "falcon"))
def test_the_last_mlp_does_to_the_log_probability_what_is_written_out(name: str) -> None:
    """Of a last block that is not parallel, the stream with the MLP is the run's own: its log p is that of the model."""
    model = hooked(name)
    found = interp.direct_effects(model, TASK, [Node("mlp", 1)], measure="log_prob_increase").per_example[:, 0]
    own, before = log_probs(model, TASK), "resid_pre.1" if name == "falcon" else "mlp_in.1"
    layout, W = model.layout, model.hf.get_output_embeddings().weight.detach().double()
    for i, pair in enumerate(pairs_of(TASK)):
        run = model.run(torch.tensor([pair.clean]), reads=[before, "resid_final", "mlp_out.1"])
        x, final = (run[site][0, -1].detach().double() for site in (before, "resid_final"))
        norm = model.hf.get_submodule(layout.ln_final)

        def logits(
            v: torch.Tensor, final: torch.Tensor = final, norm: Any = norm
        ) -> torch.Tensor:  # the norm at the scale that it has at the end
            weight = norm.weight.double() + (1 if name == "gemma2" else 0)
            if name == "falcon":
                made = weight * (v - v.mean()) / (final.var(unbiased=False) + norm.eps).sqrt() + norm.bias.double()
            else:
                made = weight * v / (final.square().mean() + 1e-6).sqrt()
            out = made @ W.T * layout.logits_scale
            return (
                out
                if layout.logits_softcap is None
                else layout.logits_softcap * torch.tanh(out / layout.logits_softcap)
            )

        behind = x + run["mlp_out.1"][0, -1].detach().double()
        both = [float(torch.log_softmax(logits(v), -1)[pair.answers[0]]) for v in (x, behind)]
        assert found[i] == pytest.approx(both[1] - both[0], abs=2e-5)
        assert name == "falcon" or both[1] == pytest.approx(own[i], abs=2e-5)


def test_the_check_is_what_zeroing_by_hand_does() -> None:
    model = hooked("llama")
    found = interp.neuron_effects(model, TASK, check=5, draws=2, seed=3)
    assert [(row.which, len(row.neurons)) for row in found.checks] == [("top", 5), ("random", 5), ("random", 5)]
    assert found.checks[0].neurons == tuple(node.name for node in found.nodes[:5])
    for row in found.checks:
        layers: dict[int, list[int]] = {}
        for name in row.neurons:
            layer, unit = name[1:].split(".n")
            layers.setdefault(int(layer), []).append(int(unit))
        edits = [interp.zero(f"mlp_post.{layer}", neurons=units) for layer, units in layers.items()]
        change = log_probs(model, TASK, edits=edits) - log_probs(model, TASK)
        assert row.log_prob == pytest.approx(change.mean(), abs=1e-5) and row.share_lowered == (change < 0).mean()
    assert not set(found.checks[0].neurons) & set(found.checks[1].neurons)
    assert found.believed == (found.checks[0].log_prob < min(0, *(row.log_prob for row in found.checks[1:])))
    assert "zeroing 5 top" in str(found) and interp.neuron_effects(model, TASK, check=0).believed is None


def test_what_screening_proves_is_the_order_of_all() -> None:
    model = hooked("llama")
    every = interp.neuron_effects(model, TASK, check=0)
    some = interp.neuron_effects(model, TASK, check=0, screen=20)
    assert len(some.nodes) == 20 < len(every.nodes) and 0 < some.proved <= 20
    assert some.nodes[: some.proved] == every.nodes[: some.proved]
    assert np.allclose(some.mean[: some.proved], every.mean[: some.proved], atol=1e-7)
    linear = interp.neuron_effects(model, TASK, check=0, screen=20, measure="logit")
    assert (
        linear.proved == 20 and linear.nodes == interp.neuron_effects(model, TASK, check=0, measure="logit").nodes[:20]
    )
    capped = interp.neuron_effects(hooked("gemma2"), TASK, check=0, screen=20)
    assert capped.proved == 0 and "first 0 places are proved" in str(capped)


def test_a_comparison_is_the_difference_of_two_runs_under_the_norm_of_the_first() -> None:
    """An edit of what is read too late to matter changes nothing; one head zeroed changes what later neurons write."""
    model, last = hooked("llama"), [interp.zero("z.1", heads=2)]
    found = interp.neuron_effects(model, TASK, compare=last, check=0, layers=[0])
    assert found.compared and np.abs(found.per_example).max() < 1e-9
    later = interp.neuron_effects(model, TASK, compare=last, check=0, layers=[1])
    plain = interp.neuron_effects(model, TASK, check=0, layers=[1])
    assert np.abs(later.per_example).max() > 1e-4
    # Of the logit it is the change of the activations times what a unit of one writes.
    for i, pair in enumerate(pairs_of(TASK)):
        with_, without = (
            model.run(torch.tensor([pair.clean]), reads=["mlp_post.1"], edits=edits)["mlp_post.1"][0, -1].double()
            for edits in ([], last)
        )
        a, b = (np.zeros(len(found.nodes)) for _ in range(2))
        for value, table in ((later, a), (plain, b)):
            for j, node in enumerate(value.nodes):
                table[node.unit or 0] = value.logits[i, j]
        assert np.allclose(a, b * (1 - without / with_).detach().numpy(), rtol=1e-3, atol=1e-4)


def test_bad_input_is_refused_in_one_sentence() -> None:
    model = hooked("llama")
    for options, error, words in (
        ({"measure": "loudness"}, MetricError, "unknown measure"),
        ({"layers": [7]}, SiteError, "expected layers among"),
        ({"layers": []}, LayoutError, "no MLP"),
        ({"screen": 0}, InterpError, "screen"),
        ({"check": -1}, InterpError, "check"),
        ({"draws": 0}, InterpError, "draws"),
        ({"k": True}, InterpError, "k"),
        ({"compare": ["z.0"]}, EditError, "expected edits"),
        ({"prompts": "dirty"}, InterpError, "prompts"),
    ):
        with pytest.raises(error, match=words):
            interp.neuron_effects(model, TASK, **{"check": 0, **options})
    pairs = tuple(dataclasses.replace(p, ids=dataclasses.replace(p.ids, wrong=())) for p in TASK.pairs if p.ids)
    with pytest.raises(MetricError, match="needs wrong answers"):
        interp.neuron_effects(model, Task("t", pairs), measure="logit_diff")
    with pytest.raises(MetricError, match="needs wrong answers"):
        interp.direct_effects(model, Task("t", pairs), [Node("mlp", 1)], measure="logit_diff")
    with pytest.raises(interp.errors.MethodError, match="the stream that is there without it"):
        interp.direct_effects(model, TASK, [Node("pos_embed")], measure="log_prob_increase", split_positions=True)
    with pytest.raises((LayoutError, SiteError), match="neuron"):
        interp.neuron_effects(hooked("mixtral"), TASK)
    several = tuple(
        dataclasses.replace(p, ids=dataclasses.replace(p.ids, wrong=(), forced=1, corrupt=p.ids.clean))
        for p in TASK.pairs
        if p.ids
    )
    with pytest.raises(TaskError, match="expected one"):
        interp.neuron_effects(model, Task("t", several))


def test_reference_numbers_of_comparative_neurons(assets: Path) -> None:
    found, model = (
        reference(assets, "s12_comparative_neurons_stories260K"),
        interp.load(assets / "models" / "stories260K"),
    )
    task = task_of(found["prompts"], found["answers"])
    head = interp.zero("z.4", heads=2)
    for key, field, zeroed, options in (
        ("top10_by_increase", "increase", "increase", {}),
        ("top10_linear_direct_effect", "logit_difference", "linear", {"measure": "logit_diff"}),
        ("top10_by_difference", "difference", "difference", {"compare": [head]}),
    ):
        ours: Any = interp.neuron_effects(model, task, **options)
        assert [n.name for n in ours.nodes[:10]] == [row["neuron"] for row in found[key]]
        assert np.allclose(ours.mean[:10], [row[field] for row in found[key]], atol=1e-5)
        assert ours.checks[0].log_prob == pytest.approx(found["log_prob_change_when_zeroed"][zeroed], abs=1e-5)
    nodes = [Node(kind, layer) for layer in range(5) for kind in ("attn_out", "mlp")]
    wanted = [row[kind] for row in found["layer_log_increase"] for kind in ("attn", "mlp")]
    assert np.allclose(interp.direct_effects(model, task, nodes, measure="log_prob_increase").mean, wanted, atol=1e-5)
    drop = log_probs_of(model, task, [head]) - log_probs_of(model, task, [])
    assert drop == pytest.approx(found["head_drop_log_prob"][4][2], abs=1e-5)


def log_probs_of(model: Any, task: Task, edits: list[Any]) -> float:
    """Mean log-probability of the answers."""
    pairs = task.tokenize(model.tokenizer, model.outputs)
    logits = [model.run(torch.tensor([p.clean]), edits=edits).logits[0, -1].double() for p in pairs]
    each = [float(torch.log_softmax(x, -1)[p.answers[0]]) for x, p in zip(logits, pairs, strict=True)]
    return float(np.mean(each))
