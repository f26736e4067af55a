"""What the ledger says of work against torch's own count of multiply-adds.

Torch's formulas are asked operation by operation: its `FlopCounterMode` hooks all modules, and then nothing is replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import circuits
import interp
from circuits.evaluation.smallest import find_smallest
from interp.dictionaries.dictionary import Dictionary
from interp.ledger import counting
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.model.result import Run
from tests.interp.attribution.features.given_dictionaries import given
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task

NAMES = ["llama", "gpt2", "gemma2", "phi"]


class _Counter(TorchDispatchMode):
    """The multiply-adds of every operation by torch's formulas, which know no attention of its own kernels: eager models only."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out) // 2
        return out


def _both(work: Callable[[], object]) -> tuple[int, int]:
    """What the ledger says, and what torch counts."""
    counter = _Counter()
    with counting() as ledger, counter:
        work()
    return ledger.total, counter.total


def _eager(name: str) -> HookedModel:
    model = hooked(name)
    model.hf.set_attn_implementation("eager")
    _ = interp.attribute(model, toy_task(), method="exact", level="heads")  # what is found out about a model once
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_run_costs_what_torch_counts(name: str) -> None:
    model = _eager(name)
    ids = torch.tensor([pair.ids.clean for pair in toy_task().pairs if pair.ids])
    with torch.no_grad():
        found, counted = _both(lambda: model.run(ids))
        few, counted_few = _both(lambda: model.run(ids, logits_to_keep=1, vocabulary=torch.tensor([3, 4])))
    assert found == counted == model.prices.forward(*ids.shape)
    assert few == counted_few < found


@pytest.mark.parametrize("level", ["blocks", "heads", "qkv", "neurons", "resid"])
@pytest.mark.parametrize("name", NAMES)
def test_replays_of_nodes_cost_what_torch_counts(name: str, level: str) -> None:
    model, engines = _eager(name), []

    def work() -> None:
        engines.append(interp.attribute(model, toy_task(), method="exact", level=level).provenance.engine)

    found, counted = _both(work)
    assert engines == ["replay"] and found == counted


@pytest.mark.parametrize("kv", ["shared", "split"])
@pytest.mark.parametrize("name", NAMES)
def test_replays_of_edges_cost_what_torch_counts(name: str, kv: Any) -> None:
    """Of all beside one, as a few tokens are looked at before either; and once more before the first of all."""
    model, engines, few = _eager(name), [], ["a0.h0->logits"]

    def work(parts: list[str] | None) -> None:
        found = interp.attribute(model, toy_task(), method="exact", level="edges", kv=kv, parts=parts)
        engines.append(found.provenance.engine)

    work(few)
    (found, counted), (one, counted_one) = _both(lambda: work(None)), _both(lambda: work(few))
    assert set(engines) == {"replay"} and found - one == counted - counted_one > 0


@pytest.mark.parametrize("name", NAMES)
def test_circuits_cost_what_torch_counts(name: str) -> None:
    model = _eager(name)
    task = answered(model, toy_task())
    scores = interp.attribute(model, task, method="exact", level="heads")
    circuit = circuits.discover(scores, n=3)
    for work in (
        lambda: circuits.evaluate(model, task, circuit, n_random=3),
        lambda: find_smallest(model, task, scores),
    ):
        found, counted = _both(work)
        assert found == counted


@pytest.mark.parametrize("name", ["llama", "gemma2", "olmo2"])
def test_circuits_of_edges_cost_what_torch_counts(name: str) -> None:
    """What readers and heads cost beside the forward, too; where a norm mixes the columns of heads (OLMo 2) once for each. The few
    tokens on which it is found out how a model is made are torch's alone."""
    model = _eager(name)
    task = answered(model, toy_task())
    circuit = circuits.discover(interp.attribute(model, task, method="relp", level="edges"), n=60)
    found, counted = _both(lambda: circuits.evaluate(model, task, circuit, n_random=1, sizes=[]))
    assert 0.95 * counted < found <= counted


def test_a_backward_is_two_forwards() -> None:
    model = _eager("llama")
    task = toy_task()
    plain, _ = _both(lambda: interp.attribute(model, task, method="random", level="blocks"))
    relp, _ = _both(lambda: interp.attribute(model, task, method="relp", level="blocks"))
    path, _ = _both(lambda: interp.attribute(model, task, method="atp-ig", level="blocks", steps=4))
    one = plain / 2
    assert relp == plain + 2 * one
    assert path == plain + 4 * 3 * one


def test_nothing_is_counted_outside() -> None:
    model = _eager("llama")
    with counting() as ledger:
        pass
    model.run(torch.tensor([[3, 4]]))
    assert ledger.total == 0


def test_phases_add_up_to_the_whole_and_circuits_are_counted() -> None:
    model = _eager("llama")
    task = answered(model, toy_task())
    scores = interp.attribute(model, task, method="exact", level="heads")
    with counting() as ledger:
        ledger.phase = "first"
        found = find_smallest(model, task, scores, every=True)
        first = ledger.circuits
        ledger.phase = "second"
        circuits.evaluate(model, task, circuits.discover(scores, n=1), sizes=[], n_random=1, other_ablation="none")
    assert ledger.total == ledger.spent["first"] + ledger.spent["second"] and min(ledger.spent.values()) > 0
    # Every size, of which the last is the whole model, and none.
    assert first == len(found.tried) + 1 == found.n_parts + 1
    # The whole model and none, the circuit and its complement, and a random one.
    assert ledger.circuits - first == 5


# ---------------------------------------------------------------- dictionaries

DICTIONARIES: dict[str, Callable[[], Dictionary]] = {
    "relu": lambda: made("resid_post.0", 32, kind="relu"),
    "jumprelu, of all heads": lambda: made("z.1", 32, kind="jumprelu"),
    "topk, normalised": lambda: made("resid_post.0", 32, kind="topk", normalize="layer_norm"),
    "gated": lambda: made("mlp_out.1", 32, kind="gated"),
    "transcoder": lambda: made("mlp_normed.1", 32, target="mlp_out.1", kind="topk"),
    "transcoder that skips": lambda: made("mlp_normed.1", 32, target="mlp_out.1", W_skip=torch.randn(32, 32)),
}


@pytest.mark.parametrize("name", DICTIONARIES)
@pytest.mark.parametrize("how", ["read", "edited"])
def test_a_dictionary_in_a_run_costs_what_torch_counts(name: str, how: str) -> None:
    """Forward exactly, and what it adds to a backward: nothing where it is read, but for what reaches the features."""
    model, d = _eager("llama"), DICTIONARIES[name]()
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]])
    parts = [f"{d.target}.features", f"{d.target}.error"]
    options = {"reads": parts} if how == "read" else {"edits": [Edit(part, lambda x: 0.5 * x) for part in parts]}

    def run() -> Run:
        return model.run(ids, dictionaries={str(d.target): d}, **options)

    with torch.no_grad():
        found, counted = _both(run)
        plain, _ = _both(lambda: model.run(ids))
    assert found == counted == plain + ids.numel() * (d.encoding + (1 + (how == "edited")) * d.decoding + d.skipping)

    def descend(made: Run) -> None:
        leaves = [made[part] for part in parts] if how == "read" else [made["embed"]]
        torch.autograd.grad(made.logits.sum(), leaves, allow_unused=True)

    options["reads"] = [*options.get("reads", []), "embed"]
    with torch.enable_grad():
        mine, theirs = _both(lambda: descend(run()))
        same, others = _both(lambda: descend(model.run(ids, reads=["embed", d.target])) if how == "edited" else None)
    if how == "edited":
        assert mine - same == theirs - others > found - plain
    else:
        assert mine == 3 * plain + found - plain + ids.numel() * d.decoding


def test_features_cost_what_torch_counts() -> None:
    """Scores, exact patches and circuits of features: up to sums over active features, which torch does not see as products, and
    what carries a patch to the stream."""
    model = hooked("gpt2", dtype=torch.float64)
    model.hf.set_attn_implementation("eager")
    task, dictionaries = answered(model, toy_task()), given(model)
    options = {"level": "features", "dictionaries": dictionaries, "direction": "noise"}
    scores = interp.attribute(model, task, method="exact", **options)
    circuit = circuits.discover(scores, n=5)
    for work in (
        lambda: interp.attribute(model, task, method="exact", **options),
        lambda: interp.attribute(model, task, method="random", **options),
        lambda: circuits.evaluate(model, task, circuit, dictionaries=dictionaries, n_random=3),
        lambda: circuits.evaluate(model, task, circuit, dictionaries=dictionaries, n_random=3, errors="removed"),
    ):
        found, counted = _both(work)
        assert 0.95 * counted < found < 1.05 * counted
