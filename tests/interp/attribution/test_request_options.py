"""Each option of a request is written once: signatures, checks and values have the same ones."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any

import pytest

import interp
from interp.attribution.asking.checks import check
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import Request, ScoreOptions, ShownRequest, ShownRequestOfOne
from interp.attribution.request import attribute, attribute_all, prepare
from interp.errors import InterpError
from interp.option import options_of
from interp.parts.nodes import LEVELS
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


@pytest.mark.parametrize(
    ("function", "value"), [(attribute, ShownRequestOfOne), (attribute_all, ShownRequest), (prepare, Request)]
)
def test_a_signature_names_every_option_with_its_default(function: Any, value: type) -> None:
    found = dict(inspect.signature(function).parameters)
    assert list(found)[:2] == ["model", "task"]
    assert set(found) - {"model", "task"} == {f.name for f in fields(value)}
    for f in fields(value):
        assert found[f.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert found[f.name].default == (inspect.Parameter.empty if f.default is MISSING else f.default)


def test_options_that_users_type_say_what_they_mean() -> None:
    assert {"level", "positions", "ablation", "steps", "budget", "batch_size", "dictionaries"} <= set(
        options_of(Request)
    )
    assert all(len(found.help) > 6 for found in options_of(ScoreOptions).values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"method": "relp", "level": "heads", "postions": "all"},
            r"attribute\(\): unknown option 'postions'.*positions",
        ),
        ({"method": "relp"}, r"attribute\(\): missing a required.*'level'"),
    ],
)
def test_an_option_that_is_misspelt_or_missing_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        attribute(hooked("gpt2"), toy_task(), **options)


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError, match=r"attribute\(\): too many positional"):
        attribute(hooked("gpt2"), toy_task(), "relp", "heads")  # type: ignore[misc]


def test_a_value_and_keywords_give_the_same_request() -> None:
    model, task = hooked("gpt2"), toy_task()
    by_value = plan(model, task, Request(methods=["relp"], level="heads", direction="noise", seed=3))
    by_name = prepare(model, task, methods=["relp"], level="heads", direction="noise", seed=3)
    one = interp.attribute(model, task, method="relp", level="heads", direction="noise", seed=3)
    first, second = by_value.score()["relp"], by_name.score()["relp"]
    assert (first.per_example == second.per_example).all() and (first.per_example == one.per_example).all()
    assert first.provenance.direction == "noise" and by_value.seed == by_name.seed == 3


class NoModel:
    """Raises as soon as it is looked at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the model was asked for {name}")


@pytest.mark.parametrize(
    "options",
    [
        {"level": "head"},
        {"ablation": "men"},
        {"metric": "logitdiff"},
        {"positions": "al"},
        {"steps": 3},
        {"kv": "split"},
        {"tau": 1.0},
        {"budget": "60s"},
        {"max_memory": "much"},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_what_needs_no_model_is_refused_before_it_is_looked_at(options: dict[str, Any]) -> None:
    request = {"methods": ["relp"], "level": "heads", **options}
    with pytest.raises(InterpError):
        check(Request(**request))
    with pytest.raises(InterpError):
        prepare(NoModel(), "ioi", **request)


def test_what_is_right_passes_at_every_level() -> None:
    for level in LEVELS:
        found = check(Request(methods=["relp"], level=level))
        assert [m.name for m in found.methods] == ["relp"] and not found.search
    assert check(Request(methods=["auto", "relp"], level="heads", n=3)).search
