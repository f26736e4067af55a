"""Names to complete, from the registries."""

from __future__ import annotations

import pytest

from circuits.cli.options import completing
from interp.option import options_of
from tests.circuits.cli.options.values import VALUES


def test_names_are_those_of_the_registries_and_of_what_else_is_chosen_from() -> None:
    """That the module of names is current is tested with the documentation; here, that each word means the right names."""
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
    from interp.tasks.ablations import ABLATIONS
    from interp.tasks.metrics import METRICS

    found = {word: set(names.built_in) for word, names in completing.NAMES.items()}
    held = {
        "methods": METHODS,
        "metrics": METRICS,
        "ablations": ABLATIONS,
        "presets": PRESETS,
        "algorithms": SELECTIONS,
    }
    for word, registry in held.items():  # other tests register things of their own
        assert found[word] <= set(registry) and len(found[word]) >= 2
    assert found["levels"] == {*LEVELS, *CIRCUIT_LEVELS} == found["levels of discover"] | {"resid"}
    assert (
        found["positions"] == {*POSITIONS} and found["key-values"] == {*KEY_VALUE} and found["bench parts"] == {*PARTS}
    )
    assert found["quadratures"] == {*QUADRATURES} and found["architectures"] == {*ARCHITECTURES}
    assert found["dtypes"] == {*DTYPES} and {f"torch.{name}" for name in found["trained in"]} == set(
        map(str, TRAINED_IN)
    )
    assert found["formats written"] == {f.name for f in FORMATS.values() if f.writer is not None}
    assert found["formats read"] == {f.name for f in FORMATS.values() if f.reader is not None}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_what_an_option_is_among_is_known_and_said(value: type) -> None:
    for option in options_of(value).values():
        assert "{" not in completing.worded(option.about)
        assert (completing.completer(option.about) is None) == (not option.about.among)


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
