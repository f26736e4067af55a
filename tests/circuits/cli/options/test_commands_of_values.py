"""Every option of every command arrives in its value, whatever it is called."""

from __future__ import annotations

from typing import Any

import pytest

from circuits.cli.options.commands_of_values import command
from interp.option import options_of
from tests.circuits.cli.options.values import VALUES


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_every_option_arrives(value: type) -> None:
    got: list[Any] = []
    given = {name: object() for name in options_of(value)}
    command(value)(got.append)(**given)
    assert all(getattr(got[0], found.field) is given[name] for name, found in options_of(value).items())


def test_the_values_of_all_commands_are_there() -> None:
    names = {value.__name__ for value in VALUES}
    assert {"Discovery", "Comparison", "Judgement", "Training", "DictionaryJudgement", "Benchmark", "Export"} <= names
