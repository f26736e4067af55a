"""What the table of a paper may cost, told before it, against what the ledger says of it."""

from __future__ import annotations

import pytest

from circuits.costs.bounds import one_forward, spent
from circuits.costs.table_bounds import bounds
from circuits.reproduction.measuring import measure, on_task
from circuits.reproduction.paper import Wanted
from circuits.reproduction.relp import RELP
from interp.ledger import counting
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


@pytest.mark.parametrize("name", ["llama", "gemma2", "phi", "falcon"])
def test_no_level_costs_more_than_was_said(name: str) -> None:
    """All methods of the table and exact patching at each position, which restarts at that position; or whole forwards (falcon)."""
    model = hooked(name)
    methods = (*RELP.methods, *RELP.others) if name != "falcon" else ("atp", "relp")
    ready = on_task("m", RELP, Wanted(methods=methods, limit=3), model, answered(model, toy_task(3)))
    planned = bounds(ready)
    with counting() as ledger:
        measure(ready, lambda message: None)
    pairs = next(iter(ready.requests.values())).pairs
    found = spent(ledger, one_forward(model, pairs))["forwards_by_phase"]
    assert set(found) == set(planned.phases) == {"accuracy", "scoring resid", "scoring blocks"}
    assert {phase: n for phase, n in found.items() if n > planned.phases[phase] + 0.005} == {}
    assert planned.total < 2 * sum(found.values())
