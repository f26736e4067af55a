"""What a user gives a public function in the place of something else is refused in a line that names both, before anything is done."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import circuits
import interp
from interp.errors import InterpError
from tests.circuits.runs.records import a_record
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

OURS = re.compile(r"\b(Task|Scores|Circuit|Evaluation|Record|Search)\b")
#: These take more kinds than their annotations can say.
LEFT = {("save_picture", "value"), ("to_networkx", "value")}


class Stranger:
    """A value of no kind that anything takes."""


def places() -> Iterator[tuple[str, str]]:
    """Every public function, and each of its parameters that takes a value of ours."""
    for package in (interp, circuits):
        for name in package.__all__:
            function = getattr(package, name)
            for place, one in inspect.signature(function).parameters.items() if inspect.isfunction(function) else ():
                if OURS.search(str(one.annotation)) and (name, place) not in LEFT:
                    yield f"{package.__name__}.{name}", place


@pytest.mark.parametrize(("function", "place"), places())
def test_a_stranger_is_refused_by_name(function: str, place: str) -> None:
    package, _, name = function.partition(".")
    called: Callable[..., Any] = getattr({"interp": interp, "circuits": circuits}[package], name)
    model = {"model": hooked("llama")} if "model" in inspect.signature(called).parameters else {}
    with pytest.raises(
        InterpError, match=rf"{name}\(\): {place}: given Stranger, expected .*[.] Make it with "
    ) as raised:
        called(**model, **{place: Stranger()})
    assert "\n" not in str(raised.value)


def test_what_is_mistaken_for_something_else() -> None:
    record, model, task = a_record(), hooked("llama"), toy_task(2)
    circuit, scores = record.circuit, record.scores[0]
    wrong: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
        (interp.attribute, (model, circuit), "task: given Circuit, expected Task or str or Path"),
        (interp.attribute, (task, model), "model: given Task, expected HookedModel"),
        (interp.attribute, (model.hf, task), "expected HookedModel. Make it with interp.load(...)"),
        (interp.masked, (model, scores), "task: given Scores, expected Task"),
        (interp.task, (circuit, model), "x: given Circuit, expected str or Path or Task"),
        (circuits.evaluate, (model, task, scores), "circuit: given Scores, expected Circuit. Make it with circuits.discover(...)"),
        (circuits.evaluate, (model, circuit, circuit), "task: given Circuit"),
        (circuits.discover, (circuit,), "scores: given Circuit, expected Scores. Make it with interp.attribute(...)"),
        (circuits.union, (circuit, scores), "b: given Scores, expected Circuit"),
        (circuits.consensus, ([scores, circuit], 3), "several: given Circuit, expected a list of Scores"),
        (circuits.consensus, (scores, 3), "several: given Scores, expected a list of Scores"),
        (circuits.prune, (None,), "circuit: given NoneType, expected Circuit"),
    ]  # fmt: skip
    for function, given, said in wrong:
        options = {"level": "heads"} if function in (interp.attribute, interp.masked) else {}
        more = {"method": "atp"} if function is interp.attribute else {}
        with pytest.raises(InterpError, match=re.escape(said)):
            function(*given, **options, **more)
