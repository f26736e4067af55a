"""Sets of features run as plain hooks run them: ends, batches, silence, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.running.feature_runner import FeatureRunner
from circuits.evaluation.running.runners import make_runner
from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MetricError
from interp.model.model import HookedModel
from interp.parts.nodes import Node
from interp.tasks.task import Task
from tests.interp.attribution.features.given_dictionaries import given, rotated, stub
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

ABLATIONS = ("counterfactual", "mean", "zero", "resample")


def runner(model: HookedModel, task: Task, dictionaries: Any, **more: Any) -> FeatureRunner:
    found = make_runner(model, task, "features", dictionaries=dictionaries, **more)
    assert isinstance(found, FeatureRunner)
    return found


def plain_metric(model: HookedModel, task: Task, which: str) -> np.ndarray:
    found = []
    for pair in task.tokenize(model.tokenizer, model.layout.d_vocab):
        logits = model.hf(input_ids=torch.tensor([list(getattr(pair, which))]), use_cache=False).logits[0, -1]
        found.append(float(logits[list(pair.answers)].mean() - logits[list(pair.wrong)].mean()))
    return np.array(found)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
def test_the_full_set_is_the_plain_model(name: str, ablation: str) -> None:
    """Bit for bit as the same batch without any dictionary; nothing stays behind."""
    model = hooked(name, dtype=torch.float64)
    task = toy_task()
    found = runner(model, task, given(model), ablation=ablation)
    whole = found.metrics([found.full], False)[found.full]
    plain = make_runner(model, task, "blocks").metrics([frozenset(make_runner(model, task, "blocks").parts)], False)
    assert (whole == next(iter(plain.values()))).all()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_the_empty_set_at_the_last_place_is_the_other_prompt() -> None:
    """Everything that leaves the last block ablated by the paired prompt's: the metric is that of the paired prompt."""
    model, task = stub()
    found = runner(model, task, {"resid_post.1": given(model)["resid_post.1"]})
    empty = found.metrics([frozenset()], False)[frozenset()]
    np.testing.assert_allclose(empty, plain_metric(model, task, "corrupt"), atol=1e-10)


@pytest.mark.parametrize("keep_error", [True, False])
@pytest.mark.parametrize("ablation", ["counterfactual", "mean", "zero"])
def test_a_set_is_what_plain_hooks_make_of_it(ablation: str, keep_error: bool) -> None:
    """Slow second writing: a hook on each block, one prompt at a time, features of the very run that passes through."""
    model, task = stub()
    dictionaries = {f"resid_post.{n}": given(model)[f"resid_post.{n}"] for n in (0, 1)}
    found = runner(model, task, dictionaries, ablation=ablation)
    kept = frozenset(p for p in found.parts if isinstance(p, Node) and (p.unit or 0) % 3 == 0)
    if keep_error:
        kept |= {Node("resid_post.error", 0)}
    got = found.metrics([kept], False)[kept]
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    codes = [_codes(model, dictionaries, pair.clean) for pair in pairs]
    means = {k: torch.cat([c[k][0] for c in codes]).mean(0) for k in codes[0]}
    wanted = []
    for pair in pairs:
        other = _codes(model, dictionaries, pair.corrupt)
        zero = {k: torch.zeros_like(v) for k, v in other.items()}
        source = {"counterfactual": other, "mean": means, "zero": zero}[ablation]
        wanted.append(_hooked_metric(model, dictionaries, pair, kept, source))
    np.testing.assert_allclose(got, np.array(wanted), atol=1e-9)


def _codes(model: HookedModel, dictionaries: dict[str, Dictionary], ids: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        run = model.run(torch.tensor([list(ids)]), reads=list(dictionaries))
    found = {}
    for site, d in dictionaries.items():
        found[f"{site}.features"] = d.encode(run[site])
        found[f"{site}.error"] = run[site] - d.reconstruct(run[site])
    return found


def _hooked_metric(model: HookedModel, dictionaries: Any, pair: Any, kept: Any, source: dict[str, Tensor]) -> float:
    handles = []
    for site, d in dictionaries.items():
        layer = d.target.layer

        def hook(module: Any, args: Any, output: Any, site: str = site, d: Any = d, layer: Any = layer) -> Any:
            x = output if isinstance(output, Tensor) else output[0]
            f, error = d.encode(x), x - d.reconstruct(x)
            inside = torch.tensor([Node("resid_post.feature", layer, u) in kept for u in range(d.n_features)])
            f = torch.where(inside, f, source[f"{site}.features"].expand_as(f))
            error = error if Node("resid_post.error", layer) in kept else source[f"{site}.error"]
            new = d.decode(f) + error
            return new if isinstance(output, Tensor) else (new, *output[1:])

        handles.append(model.hf.transformer.h[layer].register_forward_hook(hook))
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor([list(pair.clean)]), use_cache=False).logits[0, -1]
    for handle in handles:
        handle.remove()
    return float(logits[list(pair.answers)].mean() - logits[list(pair.wrong)].mean())


def test_what_wakes_in_an_ablated_run_is_silenced() -> None:
    """A feature that no pair wakes is active once another one is gone: outside every set, its value is 0."""
    model, task = stub()
    d = rotated("resid_post.1")
    x = torch.cat(
        [_codes(model, {"resid_post.1": d}, ids)["resid_post.1.features"][0] for pair in task.tokenize(model.tokenizer, 64) for ids in (pair.clean, pair.corrupt)]
    )  # fmt: skip
    # Reads what the first dictionary leaves when it is ablated to zero, and is silent while anything comes in.
    awake = Dictionary(
        d.site, d.target, Relu(), torch.cat([d.W_enc, 0 * d.W_enc[:, :1]], 1),
        torch.cat([d.b_enc, torch.tensor([-1.0], dtype=torch.float64)]),
        torch.cat([d.W_dec, torch.ones(1, 32, dtype=torch.float64)]), d.b_dec,
    )  # fmt: skip
    assert float(x.max()) > 0
    first = rotated("resid_post.0", 3)
    with_it, without = (
        runner(model, task, {"resid_post.0": first, "resid_post.1": e}, ablation="zero") for e in (awake, d)
    )
    kept = frozenset(p for p in without.parts if p.layer == 1)
    assert Node("resid_post.feature", 1, 64) not in with_it.parts
    np.testing.assert_allclose(with_it.metrics([kept], False)[kept], without.metrics([kept], False)[kept], atol=1e-10)


def test_batches_and_listed_parts_do_not_matter() -> None:
    model, task = stub()
    dictionaries = given(model)
    one = runner(model, task, dictionaries, batch_size=1)
    silent = next(n for n in (Node("z.feature", 1, u) for u in range(24)) if n not in one.full)
    all_at_once = runner(model, task, dictionaries, listed=[silent])
    some = frozenset(one.parts[::2])
    np.testing.assert_allclose(one.metrics([some], False)[some], all_at_once.metrics([some], False)[some], atol=1e-10)
    assert silent in all_at_once.parts


def test_a_failed_run_leaves_no_hook() -> None:
    model, task = stub()
    found = runner(model, task, given(model))

    def fails(logits: Tensor, targets: Any) -> Tensor:
        raise KeyboardInterrupt

    found.metric = replace(found.metric, function=fails)
    with pytest.raises(KeyboardInterrupt):
        found.metrics([frozenset(), found.full], False)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())
    found.metric = replace(found.metric, function=lambda logits, targets: logits[:, 0] * float("nan"))
    with pytest.raises(MetricError, match="not finite"):
        found.metrics([frozenset()], False)


def test_what_makes_no_circuit_of_features_is_refused() -> None:
    model, task = stub()
    own: dict[str, Any] = {"model": "m", "task": "t", "method": "x", "selection": ""}
    feature, line = Node("resid_post.feature", 0, 3), ("resid_post.0: 24 features, sha256 0",)
    with pytest.raises(CircuitError, match="one or more at level 'features'"):
        Circuit((feature,), "features", **own)
    with pytest.raises(CircuitError, match="none elsewhere"):
        Circuit((Node("head", 0, 1),), "heads", **own, dictionaries=line)
    with pytest.raises(CircuitError, match="no part of a circuit of level 'heads'"):
        Circuit((feature,), "heads", **own)
    with pytest.raises(CircuitError, match="no part of a circuit of level 'features'"):
        Circuit((Node("head", 0, 1),), "features", **own, dictionaries=line)
    with pytest.raises(CircuitError, match="errors are kept or removed all together"):
        Circuit((Node("resid_post.error", 0),), "features", **own, dictionaries=line)
    with pytest.raises(CircuitError, match="errors"):
        runner(model, task, given(model), errors="dropped")
    for odd in (Node("resid_post.feature", 0, 24), Node("attn_out.feature", 0, 1)):
        with pytest.raises(
            CircuitError, match=r"is not a feature of these dictionaries, which are resid_post.0 with 24"
        ):
            runner(model, task, given(model), listed=[odd])
