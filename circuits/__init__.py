"""From scores to circuits: discovery, evaluation by intervention, plots, reports, and the command line.

import circuits, interp
circuit = circuits.discover(scores, n=10)
evaluation = circuits.evaluate(model, task, circuit)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Circuit": "circuits.circuit",
    "CircuitError": "circuits.circuit",
    "Evaluation": "circuits.evaluation",
    "Record": "circuits.record",
    "discover": "circuits.selection",
    "evaluate": "circuits.faithfulness",
    "render": "circuits.report",
    "plot_scores": "circuits.plots",
    "plot_agreement": "circuits.plots",
    "plot_evaluation": "circuits.plots",
}

__all__ = [
    "Circuit",
    "CircuitError",
    "Evaluation",
    "Record",
    "discover",
    "evaluate",
    "plot_agreement",
    "plot_evaluation",
    "plot_scores",
    "render",
]

if TYPE_CHECKING:
    from circuits.circuit import Circuit, CircuitError
    from circuits.evaluation import Evaluation
    from circuits.faithfulness import evaluate
    from circuits.plots import plot_agreement, plot_evaluation, plot_scores
    from circuits.record import Record
    from circuits.report import render
    from circuits.selection import discover


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'circuits' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
