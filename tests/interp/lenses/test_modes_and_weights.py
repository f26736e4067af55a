"""Scores do not depend on the caller's mode of torch, nor on whether an adapter is merged; modules without gradients are refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import interp
from interp.errors import LayoutError, MethodError
from interp.model.model import HookedModel
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.model import adapters
from tests.interp.model.loading.test_modes import MODES
from tests.interp.model.tiny import VOCAB, tiny


def task(n: int = 2, length: int = 5) -> interp.Task:
    """Pairs of random ids that differ in one place."""
    generator, pairs = torch.Generator().manual_seed(0), []
    for _ in range(n):
        clean = torch.randint(3, VOCAB, (length,), generator=generator).tolist()
        corrupt = [*clean[:2], (clean[2] + 5) % VOCAB, *clean[3:]]
        answer, wrong = torch.randperm(VOCAB, generator=generator)[:2].tolist()
        pairs.append(interp.Pair("", "", (), (), {}, TokenPair(tuple(clean), tuple(corrupt), (answer,), (wrong,))))
    return interp.Task("ids", tuple(pairs))


TASK = task()


def scored(level: str, method: str, **options: Any) -> Callable[[Any], np.ndarray]:
    def call(model: Any) -> np.ndarray:
        found = interp.attribute(model, TASK, method=method, level=level, show_progress=False, **options)
        return np.asarray(found.per_example)

    return call


def tokens(method: str) -> Callable[[Any], np.ndarray]:
    return lambda model: np.array(interp.attribute_tokens(model, TASK, method=method, show_progress=False).values)


JOBS: dict[str, Callable[[Any], np.ndarray]] = {
    **{f"heads {m}": scored("heads", m) for m in ("relp", "atp", "exact", "atp-star", "atp-ig")},
    **{f"edges {m}": scored("edges", m) for m in ("relp", "exact", "clean-corrupted", "ifr")},
    "neurons gim": scored("neurons", "gim"),
    "qkv attnlrp": scored("qkv", "attnlrp"),
    "mean": scored("heads", "relp", ablation="mean"),
    "auto": scored("heads", "auto", n=2, budget=30),
    **{f"tokens {m}": tokens(m) for m in ("integrated-gradients", "feature-ablation", "gradient-x-input", "relp")},
    "logits": lambda model: np.asarray(interp.direct_logit_attribution(model, TASK).mean),
    "patterns": lambda model: interp.attention_patterns(model, [3, 4, 5]).weights,
}


@pytest.mark.broad
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("job", JOBS)
def test_the_caller_may_be_in_any_mode(job: str, mode: str) -> None:
    model = interp.load(tiny("llama"))
    expected = JOBS[job](model)
    with MODES[mode]():
        found = JOBS[job](model)
        inside = JOBS[job](interp.load(model.hf))
    assert np.array_equal(found, expected) and np.array_equal(inside, expected)
    assert np.abs(expected).max() > 0


KINDS: dict[str, Any] = {
    "lora": adapters.Linear,
    "dropout": lambda base: adapters.Linear(base, dropout=0.5),
    "dora": lambda base: adapters.Linear(base, scaled=True),
    "matrices": adapters.Matrices,
    "subclass": adapters.Subclass.around,
}
#: Names of projections, per architecture: each alone, and all.
PROJECTIONS = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"),
    "gpt2": ("c_attn", "c_proj", "c_fc", "lm_head"),
    "gemma2": ("q_proj", "o_proj", "down_proj"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj"),
}


@pytest.mark.broad
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("job", [job for job in JOBS if job != "auto"])
@pytest.mark.parametrize("name", PROJECTIONS)
def test_adapters_score_as_their_merged_weights(name: str, job: str, kind: str) -> None:
    if kind == "subclass" and name == "gpt2":
        pytest.skip("GPT-2's projections are no nn.Linear")
    hf = adapters.adapted(tiny(name), KINDS[kind], *PROJECTIONS[name])
    merged = adapters.merge(copy.deepcopy(hf))
    found, expected = (JOBS[job](interp.load(model)) for model in (hf, merged))
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("projection", PROJECTIONS["llama"])
@pytest.mark.parametrize("level", ["edges", "neurons"])
def test_each_projection_alone(level: str, projection: str) -> None:
    hf = adapters.adapted(tiny("llama"), adapters.Linear, projection)
    merged = adapters.merge(copy.deepcopy(hf))
    for method in ("relp", "exact"):
        found, expected = (scored(level, method)(interp.load(model)) for model in (hf, merged))
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_an_adapter_changes_scores_as_it_changes() -> None:
    """Edge maps are kept from call to call; weights are not."""
    hf = adapters.adapted(tiny("llama"), adapters.Linear, "q_proj", "o_proj")
    model = interp.load(hf)
    scored("edges", "relp")(model)
    with torch.no_grad():
        for layer in hf.model.layers:
            layer.self_attn.o_proj.lora_B["default"].weight.mul_(-3)
    found = scored("edges", "relp")(model)
    expected = scored("edges", "relp")(interp.load(adapters.merge(copy.deepcopy(hf))))
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


# ---------------------------------------------------------------- no gradient


def quantised() -> HookedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hf = torch.ao.quantization.quantize_dynamic(tiny("llama"), {nn.Linear}, dtype=torch.qint8)
    return interp.load(hf)


@pytest.mark.parametrize(
    "job",
    [
        j
        for j in JOBS
        if any(m in j for m in ("relp", "atp", "gim", "lrp", "mean", "gradient", "auto")) and "edges" not in j
    ],
)
def test_methods_of_gradients_refuse_what_has_none(job: str) -> None:
    with pytest.raises(MethodError, match=r"no gradient.*q_proj.*exact"):
        JOBS[job](quantised())


def test_not_even_where_unsupported_modules_are_allowed() -> None:
    with pytest.raises(MethodError, match="no gradient"):
        scored("heads", "relp", allow_unsupported=True)(quantised())


def test_exact_patching_needs_none() -> None:
    """Whole forwards of the quantised model: the metric with a head's values from the other run, by hand, one prompt at a
    time, as a scale of the whole batch rounds the activations."""
    model, pair = quantised(), TASK.pairs[0].ids
    scores = interp.attribute(model, TASK, method="exact", level="heads", batch_size=1, show_progress=False)
    assert pair is not None
    (answer,), (wrong,) = pair.answers, pair.wrong

    def metric(edits: list[interp.Edit]) -> float:
        logits = model.run(torch.tensor([pair.corrupt]), edits=edits, logits_to_keep=1).logits[0, -1]
        return float(logits[answer] - logits[wrong])

    with torch.no_grad():
        z = model.run(torch.tensor([pair.clean]), reads=["z.1"])["z.1"]
        for head in range(4):
            edit = interp.patch("z.1", z[:, :, head : head + 1], heads=slice(head, head + 1))
            place = [node.name for node in scores.parts].index(f"a1.h{head}")
            assert scores.per_example[0, place] == pytest.approx(metric([edit]) - metric([]), abs=1e-4)


def test_weights_that_cannot_be_read_are_refused_where_they_are_read() -> None:
    with pytest.raises((LayoutError, MethodError), match=r"no linear map|no gradient"):
        scored("edges", "exact")(quantised())
    with pytest.raises(LayoutError, match="quantised"):
        interp.direct_logit_attribution(quantised(), TASK)
