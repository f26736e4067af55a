"""From scores to circuits: discovery, evaluation by intervention, plots, reports, and the command line.

import circuits, interp
circuit = circuits.discover(scores, n=10)
evaluation = circuits.evaluate(model, task, circuit)

Where to begin reading: `__init__.pyi` says which file each public name lives in, docs/house.md which rooms there are.
A command is three stops: `circuits/cli/commands/discovery_commands.py` reads the options, `circuits/jobs/discovery.py` does the
work, `circuits/runs/record.py` is what is written and shown. A room's `__init__.py` lists its files in reading order.
"""

from __future__ import annotations

import lazy_loader

from interp.formatting.showing import displayed_by

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)

displayed_by("circuits.display")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
