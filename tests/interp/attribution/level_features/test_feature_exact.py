"""Exact patching of features: whole forwards with a written edit, one node at a time, against the engine; and by replay."""

from __future__ import annotations

import pytest
import torch

from interp.attribution.request import attribute
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.tasks.task import Task
from tests.interp.attribution.features.feature_twin import (
    Codes,
    added,
    at,
    bare,
    by_name,
    changes,
    dictionaries,
    every_change,
)
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

NAMES = ("gpt2", "llama", "gemma2", "gpt_neox", "opt", "granite", "falcon", "mixtral", "olmo2")


def exact(model: HookedModel, task: Task, found: object, **options: object) -> Scores:
    return attribute(model, task, method="exact", level="features", dictionaries=found, show_progress=False, **options)  # type: ignore[arg-type]


@pytest.mark.broad
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", NAMES)
def test_exact_is_one_whole_forward_for_each_node(name: str, direction: str) -> None:
    """Every node at all positions, and some at single positions, in true float64."""
    with true_float64(), torch.no_grad():
        model, task, found = hooked(name, dtype=torch.float64), toy_task(3, changed=2), dictionaries(name)
        pairs = pairs_of(task)
        base, source = ends(pairs, direction)
        start, steps = measured(model.run(base).logits, pairs), every_change(model, found, base, source)
        whole = exact(model, task, found, direction=direction)
        assert whole.provenance.engine.startswith("replay")
        each = exact(model, task, found, direction=direction, positions="each")
        assert {p.name for p in whole.parts} == {bare(p) for p in each.parts} == set(steps)
        checked = 0
        for scores, nodes in ((whole, whole.parts), (each, each.parts[:: 1 + len(each.parts) // 60])):
            values = by_name(scores)
            for node in nodes:
                d, change = steps[bare(node)]
                effect = measured(model.run(base, edits=[added(d.target, at(change, node))]).logits, pairs) - start
                assert torch.allclose(values[node.name], effect, rtol=0, atol=1e-10 * float(1 + start.abs().max()))
                still = ~at(change, node).flatten(1).any(1)
                assert not values[node.name][still].any(), node.name
                checked += int((effect.abs() > 1e-3).sum())
        assert checked > 100


@pytest.mark.broad
@pytest.mark.parametrize("name", ["llama", "gemma2", "opt", "falcon"])
def test_replays_are_whole_forwards(name: str) -> None:
    """A hook that does nothing makes the engine run whole forwards; the scores are the same to 1e-10."""
    with true_float64():
        model, task, found = (
            hooked(name, dtype=torch.float64),
            toy_task(4, lengths=(6, 5), changed=2),
            dictionaries(name),
        )
        for options in ({}, {"positions": "end"}, {"ablation": "mean"}):
            replayed = exact(model, task, found, **options)
            handle = model.hf.get_submodule(model.layout.ln_final).register_forward_hook(lambda m, a, y: None)
            try:
                whole = exact(model, task, found, **options)
            finally:
                handle.remove()
            assert "whole forwards" in whole.provenance.engine and replayed.provenance.engine.startswith("replay")
            assert replayed.parts == whole.parts
            assert abs(replayed.per_example - whole.per_example).max() < 1e-10
            assert abs(whole.per_example).max() > 0.1


@pytest.mark.broad
@pytest.mark.parametrize("kind", ["mean", "zero"])
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_means_and_zeros_are_put_in(name: str, kind: str) -> None:
    """The mean feature and the mean error over all tokens of the clean prompts, by the slow equations."""
    with true_float64(), torch.no_grad():
        model, task, found = hooked(name, dtype=torch.float64), toy_task(3), dictionaries(name)
        pairs = pairs_of(task)
        base, _ = ends(pairs, "noise")
        start = measured(model.run(base).logits, pairs)
        scores = by_name(exact(model, task, found, ablation=kind, batch_size=2))
        twin = {}
        for d in found.values():
            codes = Codes.of(model, d, base)
            own = changes(d, codes, codes.mean() if kind == "mean" else codes.zero())
            twin |= {name: (d, change) for name, change in own.items()}
        assert set(scores) == set(twin)
        for node, (d, change) in twin.items():
            effect = measured(model.run(base, edits=[added(d.target, change)]).logits, pairs) - start
            assert torch.allclose(scores[node], effect, rtol=0, atol=1e-10 * float(1 + start.abs().max())), node
        assert max(float(s.abs().max()) for s in scores.values()) > 0.1


def test_resampling_takes_another_prompt() -> None:
    """Two prompts of each length are each other's partners."""
    with true_float64(), torch.no_grad():
        model, task, found = hooked("llama", dtype=torch.float64), toy_task(2), dictionaries("llama")
        pairs = pairs_of(task)
        base, _ = ends(pairs, "noise")
        start, steps = measured(model.run(base).logits, pairs), every_change(model, found, base, base.flip(0))
        scores = by_name(exact(model, task, found, ablation="resample"))
        assert set(scores) == set(steps)
        for node, (d, change) in steps.items():
            effect = measured(model.run(base, edits=[added(d.target, change)]).logits, pairs) - start
            assert torch.allclose(scores[node], effect, rtol=0, atol=1e-10 * float(1 + start.abs().max())), node


def test_parts_patches_those_only() -> None:
    model, task, found = hooked("llama"), toy_task(4, changed=2), dictionaries("llama", dtype=torch.float32)
    whole = exact(model, task, found)
    wanted = [p.name for p in whole.parts[::9]] + ["mlp_out.1.error"]
    some = exact(model, task, found, parts=wanted)
    assert {p.name for p in some.parts} == set(wanted) and some.provenance.forwards < whole.provenance.forwards / 2
    for name in wanted:
        assert some[name] == pytest.approx(whole[name], abs=1e-5)


def test_several_features_share_a_run() -> None:
    """Prompts of a batch do not meet: the runs are as many as one prompt's active features, not all prompts' together."""
    model, task = hooked("gpt2"), toy_task(8, changed=1)
    found = {"resid_pre.0": dictionaries("gpt2", dtype=torch.float32, n=400)["resid_pre.0"]}
    scores = exact(model, task, found, positions="all")
    touched = (scores.per_example != 0).sum(1)
    assert len(scores.parts) > 1.2 * touched.max()
    assert scores.provenance.forwards <= 5 + touched.max()
