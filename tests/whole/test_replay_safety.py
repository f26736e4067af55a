"""Replay leaves nothing behind, respects what others did to the model, and takes no more memory for more patches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interp.attribution.batching.batches import Batch
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.exact.machine import Restart, find_restart
from interp.attribution.exact.recording import record
from interp.attribution.request import prepare
from interp.model.model import HookedModel
from interp.model.modules.lock import reserved
from interp.parts.tokens import as_tokens
from interp.tasks.metric import Metric
from tests.house import ROOT
from tests.interp.model.plain import state
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import toy_task

LENGTH = 9  # longer than the prompts that a restart is tried on


def exact(model: HookedModel, level: str = "heads", **options: Any) -> Any:
    request = prepare(model, toy_task(2, (LENGTH,)), methods=["exact"], level=level, **options)
    return request.score()["exact"]


def whole(model: HookedModel, level: str = "heads", **options: Any) -> Any:
    request = prepare(model, toy_task(2, (LENGTH,)), methods=["exact"], level=level, **options)
    request.__dict__["restart"] = Restart(None, "asked for")
    return request.score()["exact"]


# ---------------------------------------------------------------- hooks of others


def larger(module: Any, args: Any, output: Any) -> Any:
    """1.5 times what a module gives."""
    if isinstance(output, Tensor):
        return 1.5 * output
    return (1.5 * output[0], *output[1:]) if isinstance(output, tuple) else None


def late(module: Any, args: Any, output: Any) -> Any:
    """Something else at the last two positions of these prompts, which shorter ones do not have."""
    x = output if isinstance(output, Tensor) else output[0]
    if x.ndim == 3:
        x[:, LENGTH - 2 :, 0] += 1
    return output


HOOKED = (
    "model.layers.0", "model.layers.1.self_attn", "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.o_proj",
    "model.layers.1.input_layernorm", "model.layers.0.mlp", "model.layers.0.mlp.down_proj", "model.norm", "model", "lm_head",
)  # fmt: skip


@pytest.mark.broad
@pytest.mark.parametrize("path", HOOKED)
@pytest.mark.parametrize("hook", [larger, late])
def test_a_hook_means_whole_forwards_and_is_named(path: str, hook: Callable[..., Any]) -> None:
    model = hooked("llama")
    before = exact(model).per_example
    handle = model.hf.get_submodule(path).register_forward_hook(hook if path != "model" else lambda m, a, y: None)
    found = exact(model)
    assert found.provenance.engine == f"whole forwards: a hook is on {path}."
    assert np.array_equal(found.per_example, whole(model).per_example)
    handle.remove()
    again = exact(model)
    assert again.provenance.engine == "replay" and np.array_equal(again.per_example, before)


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_a_hook_on_the_embedding_counts(name: str) -> None:
    model = hooked(name, dtype=torch.float64)
    before = exact(model).per_example
    handle = model.hf.get_input_embeddings().register_forward_hook(late)
    found, slow = exact(model), whole(model)
    handle.remove()
    assert found.provenance.engine.startswith("replay")
    assert np.abs(found.per_example - slow.per_example).max() <= 1e-10
    assert np.abs(found.per_example - before).max() > 1e-3


def test_pre_hooks_hooks_on_all_modules_and_other_forwards_are_seen() -> None:
    model = hooked("llama")
    mlp = model.hf.model.layers[0].mlp
    with mlp.register_forward_pre_hook(lambda m, args: None):
        assert "a hook is on model.layers.0.mlp" in str(find_restart(model))
    with nn.modules.module.register_module_forward_hook(lambda m, args, y: None):
        assert "a hook is on all modules" in str(find_restart(model))
    mlp.forward = lambda x, plain=mlp.forward: 2 * plain(x)
    found = exact(model)
    assert found.provenance.engine == "whole forwards: the forward of model.layers.0.mlp was replaced."
    assert np.array_equal(found.per_example, whole(model).per_example)


class Renamed(nn.Linear):
    """A linear map of another library."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + (0 if self.bias is None else self.bias)


class Bent(nn.Linear):
    """No linear map, whatever its name says."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x))


@pytest.mark.parametrize("name", ["o_proj", "down_proj"])
def test_a_projection_that_is_not_its_weights_means_whole_forwards(name: str) -> None:
    model = hooked("llama", dtype=torch.float64)
    layer = model.hf.model.layers[0]
    own = layer.self_attn.o_proj if name == "o_proj" else layer.mlp.down_proj
    level = "heads" if name == "o_proj" else "neurons"
    own.__class__ = Renamed
    found = exact(model, level)
    assert found.provenance.engine == "replay"
    assert np.abs(found.per_example - whole(model, level).per_example).max() <= 1e-10
    own.__class__ = Bent
    found = exact(model, level)
    assert name in found.provenance.engine and found.provenance.engine.startswith("whole forwards")
    assert np.array_equal(found.per_example, whole(model, level).per_example)


def test_logits_that_are_made_some_other_way_mean_whole_forwards() -> None:
    model = hooked("llama")

    class Doubled(type(model.hf)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = out.logits.square()
            return out

    model.hf.__class__ = Doubled
    assert "besides the final norm and the unembedding" in str(find_restart(model))


def test_a_context_too_short_to_try_means_whole_forwards() -> None:
    short, shorter = (hooked("llama", max_position_embeddings=n) for n in (4, 3))
    task = toy_task(2, (3,))
    fast, slow = (prepare(m, task, methods=["exact"], level="heads").score()["exact"] for m in (short, shorter))
    assert (fast.provenance.engine, slow.provenance.engine[:14]) == ("replay", "whole forwards")
    assert np.abs(fast.per_example - slow.per_example).max() <= 1e-5


# ---------------------------------------------------------------- what is left behind


def failing(after: int, error: BaseException) -> Metric:
    """A metric that works so many times."""
    calls: list[int] = []

    def function(logits: Tensor, targets: Any) -> Tensor:
        calls.append(1)
        if len(calls) > after:
            raise error
        return logits.sum(-1)

    return Metric("failing", function, "logits", "fails")


@contextmanager
def unchanged(model: HookedModel) -> Iterator[None]:
    """The model is the same behind this, and another thread can use it."""
    before = state(model.hf)
    yield
    assert state(model.hf) == before
    other = threading.Thread(target=lambda: model.run(ids(1)), daemon=True)
    other.start()
    other.join(20)
    assert not other.is_alive(), "the model is still reserved"


@pytest.mark.broad
@pytest.mark.parametrize("name", ["llama", "bloom"])
@pytest.mark.parametrize("level", ["resid", "heads", "edges"])
@pytest.mark.parametrize("after", [0, 1, 4, 9])
@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_run_that_fails_leaves_nothing(name: str, level: str, after: int, error: BaseException) -> None:
    if name == "bloom" and level == "edges":
        pytest.skip("attention of its own")
    model = hooked(name, attn="sdpa" if name == "llama" else "eager")
    with unchanged(model), pytest.raises(type(error)) as caught:
        exact(model, level, metric=failing(after, error))
    assert caught.value is error


def test_a_success_leaves_nothing() -> None:
    model = hooked("llama", attn="sdpa")
    with unchanged(model):
        exact(model)
        exact(model, "edges")


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_an_error_while_scores_are_taken_leaves_nothing(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patches are a generator inside context managers: it must be closed though the traceback holds it."""
    model = hooked("llama", attn="sdpa")
    owner = EdgeBatch if level == "edges" else Batch
    base = owner.base_metric
    monkeypatch.setattr(owner, "base_metric", lambda self: torch.cat([base(self)] * 2))
    with unchanged(model), pytest.raises((RuntimeError, IndexError)) as caught:
        exact(model, level)
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize("name", ["llama", "gpt_neo"])
def test_threads_take_turns(name: str) -> None:
    model = hooked(name)
    tasks = [toy_task(2, (n,), seed=n) for n in (5, 8)]

    def score(i: int) -> np.ndarray:
        found: np.ndarray = prepare(model, tasks[i], methods=["exact"], level="heads").score()["exact"].per_example
        return found

    expected, wrong = [score(0), score(1)], list[int]()

    def work(i: int) -> None:
        for _ in range(6):
            model.restart = None  # so that threads also try the restart at the same time
            if not np.allclose(score(i), expected[i], rtol=1e-5, atol=1e-6):  # other threads may sum in another order
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", ["llama", "gpt_neo"])
def test_a_recording_puts_no_hook_on_a_model_in_use(name: str) -> None:
    model = hooked(name)
    machine, before = find_restart(model).machine, state(model.hf)
    assert machine is not None
    work = threading.Thread(target=lambda: record(model, machine.modules, as_tokens(ids(1), None)), daemon=True)
    with reserved(model.hf):
        work.start()
        work.join(0.3)
        assert work.is_alive() and state(model.hf) == before
    work.join(20)
    assert not work.is_alive()


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_scores_do_not_depend_on_the_callers_contexts(level: str) -> None:
    plain = exact(hooked("llama"), level).per_example
    for context in (torch.inference_mode(), torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16)):
        model = hooked("llama")
        with context:
            found = exact(model, level)
        assert found.provenance.engine == "replay" and np.array_equal(found.per_example, plain)


# ---------------------------------------------------------------- memory

PEAKS = """
import warnings
warnings.simplefilter("ignore")
from dataclasses import replace
from circuits.bench.workload import resident_peak
from interp.attribution.request import prepare
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task
model, task = hooked("gpt2", n_embd=64, n_inner=2048), toy_task(4, (16,))
for units, limit in ((128, 16 << 20), (2048, 16 << 20), (2048, 1 << 40)):
    parts = [f"m0.n{i}" for i in range(units)]
    request = prepare(model, task, methods=["exact"], level="neurons", parts=parts)
    request = replace(request, memory=replace(request.memory, replay=limit))
    before = resident_peak()
    found = request.score()["exact"]
    assert found.provenance.engine == "replay" and len(found.parts) == units
    print(resident_peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_patches() -> None:
    """One process, one sweep after the other: how far each lifts the highest memory so far [MiB]."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PEAKS], env=env, capture_output=True, text=True, check=True)
    few, many, at_once = (int(line) / 2**20 for line in done.stdout.split()[-3:])
    assert few < 64 and many < 16 and at_once > 64
