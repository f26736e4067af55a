"""Circuits of features: sets of them run as plain hooks run them, ends that are the plain and the ablated model, errors kept and
removed, and what a circuit says of its dictionaries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from circuits.circuit.algebra import intersection
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import discover, ranked
from circuits.evaluation.areas import ranking_areas
from circuits.evaluation.assessment import assess
from circuits.evaluation.faithfulness import evaluate, find_smallest
from circuits.evaluation.hypotheses import sufficiency
from circuits.evaluation.minimality import leave_one_out
from circuits.evaluation.ratio import measure
from circuits.evaluation.running.feature_runner import FeatureRunner, with_silent
from circuits.evaluation.running.runner import make_runner
from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.errors import InterpError, MetricError
from interp.model.model import HookedModel
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.tasks.task import Task
from tests.circuits.evaluation.running.hand import answered
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

ABLATIONS = ("counterfactual", "mean", "zero", "resample")


def given(model: HookedModel, **more: Any) -> dict[str, Dictionary]:
    """Two autoencoders of the stream, one of z, and a transcoder."""
    more = {"dtype": torch.float64} | more
    return {
        "resid_post.0": made("resid_post.0", 32, kind="relu", seed=1, **more),
        "z.1": made("z.1", 32, kind="jumprelu", seed=2, **more),
        "mlp_out.1": made("mlp_normed.1", 32, target="mlp_out.1", kind="topk", seed=3, dtype=torch.float64),
        "resid_post.1": made("resid_post.1", 32, kind="gated", seed=4, **more),
    }


def rotated(site: str, seed: int = 0) -> Dictionary:
    """Features that are a complete basis: both signs of an orthonormal rotation. x = decode(encode(x)), no error."""
    q = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    W = torch.cat([q, -q], 1)
    kind, layer = site.split(".")
    zero = torch.zeros(64, dtype=torch.float64)
    return Dictionary(Site(kind, int(layer)), Site(kind, int(layer)), Relu(), W, zero, W.T.contiguous(), zero[:32])


def runner(model: HookedModel, task: Task, dictionaries: Any, **more: Any) -> FeatureRunner:
    found = make_runner(model, task, "features", dictionaries=dictionaries, **more)
    assert isinstance(found, FeatureRunner)
    return found


def stub() -> tuple[HookedModel, Task]:
    model = hooked("gpt2", dtype=torch.float64)
    return model, answered(model, toy_task())


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


def test_a_complete_basis_needs_no_errors() -> None:
    """Closed form: with features that make up the stream, all of them are the model, errors kept or removed alike."""
    model, task = stub()
    dictionaries = {"resid_post.0": rotated("resid_post.0"), "resid_post.1": rotated("resid_post.1", 1)}
    scores = interp.attribute(model, task, method="atp", level="features", dictionaries=dictionaries)
    assert abs(scores["resid_post.0.error"]) < 1e-12
    everything = discover(scores, n=len(ranked(scores)))
    found = {
        e: evaluate(model, task, everything, dictionaries=dictionaries, errors=e, n_random=2)
        for e in ("kept", "removed")
    }
    for errors, one in found.items():
        assert one.errors == errors and one.counts == "features"
        assert one.faithfulness.value == pytest.approx(1, abs=1e-9)
        assert one.completeness.value == pytest.approx(0, abs=1e-9)
    some = discover(scores, n=5)
    kept, removed = (evaluate(model, task, some, dictionaries=dictionaries, errors=e, n_random=2) for e in found)
    assert kept.faithfulness.value == pytest.approx(removed.faithfulness.value, abs=1e-9)
    assert kept.curve[-1].faithfulness.value != 1


def test_errors_alone_tell_kept_from_removed() -> None:
    """f of all features: 1 with errors kept, not so without; the whole and the empty model are the same for both."""
    model, task = stub()
    dictionaries = given(model)
    kept = runner(model, task, dictionaries)
    removed = kept.with_errors("removed")
    everything = frozenset(kept.parts)
    a, b = (measure(r, [everything, frozenset()]) for r in (kept, removed))
    assert a.ends == b.ends
    assert a.value(everything) == 1 and b.value(everything) != pytest.approx(1, abs=1e-3)
    assert b.value(frozenset()) == 0 and a.value(frozenset()) != pytest.approx(0, abs=1e-3)
    assert kept.errors == "kept" and len(kept.held) == 4 and not removed.held


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


def test_selections_take_features_only() -> None:
    model, task = stub()
    scores = interp.attribute(model, task, method="relp", level="features", dictionaries=given(model))
    assert sum(p.kind.endswith(".error") for p in scores.parts) == 4
    chosen = discover(scores, n=len(scores.parts) - 4)
    assert not any(p.kind.endswith(".error") for p in chosen.parts)
    with pytest.raises(CircuitError, match="expected 1 to"):
        discover(scores, n=len(scores.parts) - 3)
    sizes = {p.name: abs(m) for p, m in zip(scores.parts, scores.mean, strict=True) if not p.kind.endswith(".error")}
    threshold = sorted(sizes.values())[-3]
    reached = discover(scores, threshold=threshold)
    assert len(reached) == 3 and {p.name for p in reached.parts} == {n for n, m in sizes.items() if m >= threshold}


def test_a_circuit_says_whose_features_it_holds(tmp_path: Path) -> None:
    model, task = stub()
    dictionaries = given(model)
    scores = interp.attribute(model, task, method="relp", level="features", dictionaries=dictionaries)
    circuit = discover(scores, n=4)
    assert circuit.dictionaries == scores.provenance.dictionaries and len(circuit.dictionaries) == 4
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == circuit
    other = dictionaries | {"resid_post.0": made("resid_post.0", 32, seed=9, dtype=torch.float64)}
    with pytest.raises(CircuitError, match=r"belong to other dictionaries: given resid_post.0"):
        evaluate(model, task, circuit, dictionaries=other)
    with pytest.raises(CircuitError, match=r"expected z.1"):
        evaluate(model, task, circuit, dictionaries={k: v for k, v in dictionaries.items() if k != "z.1"})
    with pytest.raises(InterpError, match="needs dictionaries"):
        evaluate(model, task, circuit)
    theirs = interp.attribute(model, task, method="relp", level="features", dictionaries=other)
    with pytest.raises(CircuitError, match="other dictionaries"):
        evaluate(model, task, circuit, scores=theirs, dictionaries=dictionaries)


def test_circuits_of_features_are_combined_within_their_dictionaries() -> None:
    line = ("resid_post.0: 24 features, sha256 0",)
    parts = [Node("resid_post.feature", 0, u) for u in range(4)]
    a, b = (Circuit(tuple(p), "features", "m", "t", "x", "", dictionaries=line) for p in (parts[:3], parts[1:]))
    assert intersection(a, b).parts == tuple(parts[1:3]) and intersection(a, b).dictionaries == line
    with pytest.raises(CircuitError, match="circuits of the same dictionaries"):
        intersection(a, replace(b, dictionaries=("resid_post.0: 24 features, sha256 1",)))


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


def test_everything_that_judges_circuits_judges_features(tmp_path: Path) -> None:
    """assess: both evaluations, tests, minimality, areas to the whole model; random circuits keep the numbers per kind."""
    model, task = stub()
    dictionaries = given(model)
    half, rest = task.split(0)
    scores = interp.attribute(model, half, method="relp", level="features", dictionaries=dictionaries)
    circuit = discover(scores, n=3)
    found = assess(model, rest, circuit, scores, n_random=2, n_tests=3, dictionaries=dictionaries)
    found.save(tmp_path / "assessment.json")
    assert type(found).load(tmp_path / "assessment.json") == found and found.without_errors is not None
    assert found.evaluation.errors == "kept" and found.without_errors.errors == "removed"
    assert found.evaluation.full == found.without_errors.full and found.evaluation.empty == found.without_errors.empty
    assert found.minimality is not None and len(found.minimality.removals) == 3
    assert found.areas is not None and found.areas.absolute.points[-1].size == found.areas.n_parts
    if not found.areas.reason:
        assert found.areas.absolute.points[-1].faithfulness.value == pytest.approx(1, abs=1e-9)
    own: Any = {"dictionaries": dictionaries, "errors": "removed"}
    least = leave_one_out(model, rest, circuit, **own)
    assert least.faithfulness.value == pytest.approx(found.without_errors.faithfulness.value, abs=1e-12)
    assert sufficiency(model, rest, circuit, n_random=2, **own).statistic == pytest.approx(
        abs(1 - (found.without_errors.faithfulness.value or 0)), abs=1e-12
    )
    areas = ranking_areas(model, rest, scores, n_random=1, **own)
    assert areas.absolute.points[-1].faithfulness.value != pytest.approx(1, abs=1e-3)
    silent = with_silent(scores, (*scores.parts, Node("z.feature", 1, 23), Node("z.feature", 1, 22)))
    assert silent.per_example[:, len(scores.parts) :].sum() == 0
    assert silent.provenance == scores.provenance


def test_the_smallest_faithful_top_is_faithful() -> None:
    model, task = stub()
    dictionaries = {"resid_post.1": rotated("resid_post.1")}
    scores = interp.attribute(model, task, method="atp", level="features", dictionaries=dictionaries)
    found = find_smallest(model, task, scores, dictionaries=dictionaries, errors="removed")
    assert found.size is not None and found.counts == "features"
    own = evaluate(model, task, discover(scores, n=found.size), dictionaries=dictionaries, errors="removed", n_random=1)
    assert own.faithfulness.value is not None and own.faithfulness.value >= 0.9
