"""Every call of a module of a model comes from a thread whose turn it is: another thread's hooks sit on the same modules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from torch import nn

import circuits
import interp
from circuits.evaluation.smallest import find_smallest
from interp.attribution.protocol.registry import METHODS
from interp.errors import InterpError
from interp.model.model import HookedModel
from interp.model.modules import lock
from interp.parts.nodes import Node
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import answered, toy_task


def calls_out_of_turn(model: HookedModel, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules of `model` that `work` calls while its thread has not reserved the model."""
    found, call = set[str](), nn.Module.__call__
    names = {id(module): path or "the model" for path, module in model.hf.named_modules()}
    model.run(ids(1))
    turn = lock._TURNS[model.hf].lock

    def watched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if id(self) in names and not turn._is_owned():
            found.add(names[id(self)])
        return call(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(nn.Module, "__call__", watched)
        work()
    return found


def test_a_call_out_of_turn_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked("llama")
    norm = model.hf.model.norm
    assert calls_out_of_turn(
        model, lambda: norm(model.run(ids(1), reads=["resid_post.1"])["resid_post.1"]), monkeypatch
    )


CASES = [(n, level) for n in ("llama", "gpt_neo", "gemma2") for level in ("blocks", "heads", "neurons", "edges")]


@pytest.mark.parametrize(("name", "level"), [case for case in CASES if case != ("gpt_neo", "edges")])
def test_scores_and_circuits_are_made_in_turn(name: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked(name)
    task = answered(model, toy_task())

    def work() -> None:
        ran = set[str]()
        for method in (m.name for m in METHODS.values() if m.scores(level)):
            with suppress(InterpError):  # some refuse the attention of one of these models
                interp.attribute(model, task, method=method, level=level)
                ran.add(method)
        assert {"exact", "auto", "relp", "learned"} <= ran
        scores = interp.attribute(model, task, method="relp", level=level)
        circuits.evaluate(model, task, circuits.discover(scores, n=3), n_random=1)
        find_smallest(model, task, scores)

    assert not calls_out_of_turn(model, work, monkeypatch)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_lenses_and_paths_are_made_in_turn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked(name)
    task = answered(model, toy_task())

    def work() -> None:
        interp.logit_lens(model, ids(2))
        interp.attention_patterns(model, ids(1))
        interp.direct_logit_attribution(model, task)
        interp.direct_effects(model, task, [Node("embed"), Node("mlp", 1)])
        interp.attribute_tokens(model, task)
        interp.path_patch(model, task, "a0.h0", "m1")

    assert not calls_out_of_turn(model, work, monkeypatch)
