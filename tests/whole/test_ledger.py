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
from circuits.evaluation.faithfulness import find_smallest
from interp.ledger import counting
from interp.model.model import HookedModel
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
    """What readers and heads cost beside the forward, too; where a norm mixes the columns of heads (OLMo 2) once for each."""
    model = _eager(name)
    task = answered(model, toy_task())
    circuit = circuits.discover(interp.attribute(model, task, method="relp", level="edges"), n=60)
    found, counted = _both(lambda: circuits.evaluate(model, task, circuit, n_random=1, sizes=[]))
    assert 0.98 * counted < found <= counted


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
        circuits.evaluate(model, task, circuits.discover(scores, n=1), sizes=[], n_random=1)
    assert ledger.total == ledger.spent["first"] + ledger.spent["second"] and min(ledger.spent.values()) > 0
    # Every size, of which the last is the whole model, and none.
    assert first == len(found.tried) + 1 == found.n_parts + 1
    # The whole model and none, the circuit and its complement, and a random one.
    assert ledger.circuits - first == 5
