"""The values of options of all commands."""

from __future__ import annotations

from collections.abc import Iterator

from circuits.settings import dictionary_options, exchange_options, judging_options, machine_options, run_options
from interp.option import options_of

MODULES = (dictionary_options, exchange_options, judging_options, machine_options, run_options)


def _values() -> Iterator[type]:
    for module in MODULES:
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and options_of(value):
                yield value


VALUES = tuple(_values())
