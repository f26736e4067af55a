"""The bounds of method `auto` on a model whose parts are all scored exactly."""

from __future__ import annotations

import pytest

from interp.attribution.request import attribute_all
from interp.model.loading.load import load
from tests.interp.attribution.auto.test_auto_coverage import Table, _holds, run


@pytest.fixture(scope="module")
def swept() -> Table:
    """All edges of the embedded model, scored exactly once."""
    names = ("exact", "eap", "relp", "relp-ah")
    from interp.tasks.find import task

    model = load("demo")
    found = attribute_all(model, task("gender", model, n=6), methods=names, level="edges", show_progress=False)
    tables = {name: found[name].per_example for name in names[1:]}
    return Table(found["exact"].parts, found["exact"].per_example, tables)  # type: ignore[arg-type]


@pytest.mark.broad
@pytest.mark.parametrize("budget", [30.0, 60.0, 90.0, 105.0])
@pytest.mark.parametrize("n", [1, 10])
def test_the_bounds_hold_on_a_model_that_was_swept_exactly(swept: Table, n: int, budget: float) -> None:
    _holds(run(swept, n, budget))
