"""The estimate of memory, and batches that fit what is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from circuits.bench.scale import Shape, measure_apart
from circuits.circuit.circuit import Circuit
from circuits.evaluation.faithfulness import evaluate
from interp.attribution.exact.sweep import REPLAY_BYTES
from interp.attribution.request import attribute, prepare
from interp.attribution.scoring.memory import LEAST_REPLAY, Memory
from interp.errors import MethodError
from interp.learning import optimal
from interp.parts.nodes import Node
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_batches_fit_what_is_allowed(level: str) -> None:
    model, task = hooked("llama"), toy_task(12)
    free = prepare(model, task, methods=["atp"], level=level).memory
    one = free.fixed + free.per_prompt
    for batch in (1, 3, 11):
        limit = free.fixed + batch * free.per_prompt
        found = prepare(model, task, methods=["atp"], level=level, max_memory=limit).memory
        assert found.batch_size == batch and found.total <= limit
    with pytest.raises(MethodError, match="Allow more"):
        prepare(model, task, methods=["atp"], level=level, max_memory=one - 1)
    with pytest.raises(MethodError, match="Allow more"):
        prepare(model, task, methods=["atp"], level=level, max_memory=one, batch_size=2)


def test_more_parts_and_more_examples_need_more() -> None:
    model = hooked("gpt2")
    few, many = (prepare(model, toy_task(n), methods=["eap"], level="edges").memory for n in (2, 8))
    two = prepare(model, toy_task(2), methods=["eap", "relp"], level="edges").memory
    assert few.fixed < many.fixed and few.fixed < two.fixed and few.per_prompt == many.per_prompt == two.per_prompt


def test_a_limit_changes_no_score() -> None:
    model, task = hooked("gpt2"), toy_task(6)
    free = prepare(model, task, methods=["eap"], level="edges").memory
    limit = free.fixed + 2 * free.per_prompt
    wide, narrow = (attribute(model, task, method="eap", level="edges", max_memory=m) for m in (None, limit))
    assert abs(wide.per_example - narrow.per_example).max() <= 1e-5 * abs(wide.per_example).max()


# ---------------------------------------------------------------- exact patching


def plan(methods: list[str], level: str = "heads", n: int = 4, **options: object) -> Memory:
    return prepare(hooked("llama"), toy_task(n), methods=methods, level=level, **options).memory  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["heads", "neurons", "edges"])
def test_replays_work_in_what_is_allowed(level: str) -> None:
    free = plan(["exact"], level)
    assert free.replay == REPLAY_BYTES
    small = plan(["exact"], level, max_memory=free.total // 2)
    assert LEAST_REPLAY <= small.replay < free.replay and small.total <= free.total // 2
    with pytest.raises(MethodError, match="Allow more"):
        plan(["exact"], level, max_memory="20MB")


@pytest.mark.parametrize(
    ("level", "positions"), [("heads", "all"), ("neurons", "each"), ("resid", "each"), ("edges", "all")]
)
def test_a_small_replay_changes_no_score(level: str, positions: str) -> None:
    model, task = hooked("llama"), toy_task(4)
    parts = None
    if level == "edges":
        parts = ["embed->a0.h0<q>", "embed->m0", "m0->a1.h1<q>", "a0.h1->m1", "m1->logits"]
    options = {"method": "exact", "level": level, "positions": positions, "parts": parts}
    limit = prepare(model, task, methods=["exact"], level=level, positions=positions).memory.total // 2
    wide, narrow = (attribute(model, task, max_memory=m, **options) for m in (None, limit))  # type: ignore[arg-type]
    assert abs(wide.per_example).max() > 0.01
    assert abs(wide.per_example - narrow.per_example).max() <= 1e-5 * abs(wide.per_example).max()


# ---------------------------------------------------------------- what the estimate counts


def test_more_of_everything_needs_more() -> None:
    one = plan(["atp"])
    assert plan(["atp-ig"]).per_prompt > one.per_prompt
    assert plan(["atp"], "neurons").fixed > one.fixed
    assert plan(["atp"], "heads", positions="each").per_prompt > one.per_prompt
    assert plan(["exact"]).fixed > one.fixed and plan(["auto"]).fixed > one.fixed
    cut, more = (plan(["acdc"], "edges", n, direction="noise").fixed for n in (2, 8))
    assert more - cut > plan(["eap"], "edges", 8).fixed - plan(["eap"], "edges", 2).fixed


@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("relp", "heads"),
        pytest.param("deeplift", "heads", marks=pytest.mark.slow),
        pytest.param("atp-ig", "heads", marks=pytest.mark.slow),
        pytest.param("relp", "edges", marks=pytest.mark.slow),
        pytest.param("exact", "heads", marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_near_the_measured_peak(method: str, level: str) -> None:
    """A process of its own; the tenth is for the allocator, and the lower bound for what is there whatever is scored."""
    row = measure_apart(method, level, "length", Shape(prompts=48, length=128, layers=6, width=256))
    assert row.above_mib <= 1.1 * row.planned_mib
    assert row.planned_mib <= 3 * row.above_mib + 150


# ---------------------------------------------------------------- constants that are learned first

LEARNING = """
import sys, warnings
warnings.simplefilter("ignore")
import interp.learning.optimal as optimal
from circuits.bench.workload import resident_peak
from interp.attribution.request import prepare
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task
optimal.STEPS, optimal.DRAWS = 1, 1
vocabulary = {"vocab_size": 40_000, "bos_token_id": None, "eos_token_id": None}
model, asked = hooked("gpt2", n_embd=64, **vocabulary), {"methods": ["atp"], "level": "heads", "batch_size": 8}
prepare(model, toy_task(2, (6,)), ablation="optimal", **asked)
before = resident_peak()
learned = prepare(model, toy_task(128, (12,)), ablation="optimal", **asked).memory.total
taken = resident_peak() - before
print(taken, learned, prepare(model, toy_task(128, (12,)), ablation="mean", **asked).memory.total)
"""


def test_learning_constants_is_counted() -> None:
    """What it takes itself, in a process of its own, is more than scoring needs: log-probabilities of all pairs."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LEARNING], env=env, capture_output=True, text=True, check=True)
    taken, planned, of_scoring = map(int, done.stdout.split()[-3:])
    assert of_scoring < taken <= 1.1 * planned and planned <= 2 * taken


def test_batches_are_made_to_fit_what_learning_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limit holds fewer prompts at once, and more pairs make them fewer still; what does not fit at all is refused by name."""
    monkeypatch.setattr(optimal, "STEPS", 1)
    small, large = (plan(["atp"], n=n, ablation="optimal") for n in (4, 16))
    mean = plan(["atp"], n=16, ablation="mean")
    assert small.per_prompt == large.per_prompt > mean.per_prompt and mean.fixed <= small.fixed < large.fixed
    limit = large.fixed + 3 * large.per_prompt
    found = plan(["atp"], n=16, ablation="optimal", max_memory=limit)
    assert found.batch_size == 3 and plan(["atp"], n=16, ablation="mean", max_memory=limit).batch_size > 3
    with pytest.raises(MethodError, match="learning values of the ablation"):
        plan(["atp"], n=16, ablation="optimal", max_memory=large.fixed)
    model = hooked("llama")
    circuit = Circuit((Node("head", 0, 0),), "heads", "m", "t", "exact", "")
    with pytest.raises(MethodError, match="learning values of the ablation needs"):
        evaluate(model, toy_task(4), circuit, ablation="optimal", max_memory="1MiB", n_random=0)
