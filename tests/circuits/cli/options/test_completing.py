"""Names to complete, from the registries."""

from __future__ import annotations

import pytest

from circuits.cli.options import completing


def test_names_to_complete_are_those_of_the_registries() -> None:
    from circuits.circuit.selection import SELECTIONS
    from circuits.interchange.formats import FORMATS
    from circuits.jobs.machine.bench import PARTS
    from interp.attribution.batching.positions import POSITIONS
    from interp.attribution.batching.quadrature import QUADRATURES
    from interp.attribution.methods import METHODS
    from interp.dictionaries.training.steps.learner import DTYPES as TRAINED_IN
    from interp.dictionaries.training.steps.options import ARCHITECTURES
    from interp.model.loading.load import DTYPES
    from interp.parts.graph import KEY_VALUE
    from interp.parts.nodes import CIRCUIT_LEVELS, LEVELS
    from interp.rules.rules import PRESETS
    from interp.tasks import builtin
    from interp.tasks.ablations import ABLATIONS
    from interp.tasks.metrics import METRICS

    assert set(completing.METHODS) <= set(METHODS) and len(set(completing.METHODS)) == len([*completing.METHODS])
    ours = {name for name, m in METHODS.items() if _of_the_package(m)}
    assert ours <= set(completing.METHODS)
    assert set(completing.TASKS) <= set(builtin.names()) and set(completing.METRICS) <= set(METRICS)
    assert {*completing.LEVELS, "resid"} == {*LEVELS, *CIRCUIT_LEVELS}
    assert set(completing.ABLATIONS) <= set(ABLATIONS) and completing.DTYPES == DTYPES
    assert completing.POSITIONS == POSITIONS and completing.KEY_VALUES == KEY_VALUE and completing.BENCH_PARTS == PARTS
    assert set(completing.ALGORITHMS) <= set(SELECTIONS) and set(completing.PRESETS) <= set(PRESETS)
    assert set(completing.QUADRATURES) == set(QUADRATURES) and set(completing.ARCHITECTURES) == set(ARCHITECTURES)
    assert [f"torch.{name}" for name in completing.TRAINED_IN] == [str(dtype) for dtype in TRAINED_IN]
    assert set(completing.WRITTEN) == {f.name for f in FORMATS.values() if f.writer is not None}
    assert set(completing.READ) == {f.name for f in FORMATS.values() if f.reader is not None}


def _of_the_package(method: object) -> bool:
    """Other tests register methods of their own."""
    functions = (getattr(method, name) for name in ("function", "edges", "joint"))
    return any(f is not None and f.__module__.startswith("interp.") for f in functions)


@pytest.mark.parametrize(
    ("complete", "given", "found"),
    [
        (completing.several(("atp", "atp-ig", "relp")), "relp,at", ["relp,atp", "relp,atp-ig"]),
        (completing.several(("atp", "atp-ig", "relp")), "atp,at", ["atp,atp-ig"]),
        (completing.among(("heads", "blocks")), "", ["heads", "blocks"]),
        (completing.tasks, "io", ["ioi"]),
        (completing.models, "hf", ["hf:"]),
    ],
)
def test_what_a_beginning_is_completed_to(complete: completing.Completer, given: str, found: list[str]) -> None:
    assert complete(given) == found
