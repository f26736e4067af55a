"""Budget and input of method `auto`: kept, or refused in one sentence before any work."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from interp.attribution.request import attribute, prepare
from interp.errors import InterpError, MethodError
from interp.model.loading.load import load
from interp.tasks.find import task as find_task
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


def test_a_budget_of_seconds_is_kept() -> None:
    demo = load("demo")
    gender = find_task("gender", demo, n=6)
    auto = attribute(demo, gender, method="auto", level="edges", budget="0.4s", show_progress=False)
    assert auto.search is not None and auto.exact is not None
    assert auto.search.certificate.outside and sum(r.seconds for r in auto.search.rounds) < 4.0


@pytest.mark.parametrize(
    "options,said",
    [
        ({"n": 0}, "n=0"),
        ({"n": 11}, "n=11: expected a whole number from 1 to 10"),
        ({"n": 2.5}, "n=2.5"),
        ({"n": True}, "n=True"),
        ({"n": "3"}, "n='3'"),
        ({"chance": "x"}, "chance='x'"),
        ({"chance": True}, "chance=True"),
        ({"chance": 0.0}, "chance=0.0"),
        ({"chance": 1.0}, "chance=1.0"),
        ({"budget": "soon"}, "budget='soon'"),
        ({"ranking": "best"}, "ranking"),
        ({"parts": ["m0"]}, "parts"),
        ({"tau": 0.1}, "acdc"),
        ({"positions": "each"}, "positions='each'"),
        ({"level": "resid"}, "positions='each'"),
    ],
)
def test_bad_options_are_refused_before_any_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InterpError, match=said):
        prepare(hooked("gpt2"), toy_task(), methods=["auto"], **{"level": "heads", **options})


@pytest.mark.parametrize("name,value", [("n", 3), ("chance", 0.1), ("budget", "60s"), ("ranking", "signed")])
def test_options_of_auto_are_refused_without_it(name: str, value: Any) -> None:
    others = " and searches on masks" if name == "budget" else ""
    with pytest.raises(MethodError, match=f"{name}: for method auto{others} only"):
        prepare(hooked("gpt2"), toy_task(), methods=["relp"], level="heads", **{name: value})


@pytest.mark.parametrize("size,budget", itertools.product((1, 3), ("0.1F", "1F", "4F")))
def test_hardly_any_budget_still_gives_scores_and_certifies_nothing_that_it_did_not_see(size: int, budget: str) -> None:
    auto = attribute(
        hooked("gpt2"), toy_task(), method="auto", level="heads", n=size, budget=budget, show_progress=False
    )
    assert auto.search is not None and auto.search.certificate.outside and not auto.search.certificate.certified
