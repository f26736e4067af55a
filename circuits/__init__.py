"""From scores to circuits: discovery, evaluation by intervention, plots, reports, and the command line.

import circuits, interp
circuit = circuits.discover(scores, n=10)
evaluation = circuits.evaluate(model, task, circuit)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Assessment": "circuits.assessment",
    "Circuit": "circuits.circuit",
    "CircuitError": "circuits.circuit",
    "Evaluation": "circuits.evaluation",
    "Record": "circuits.record",
    "Search": "circuits.evaluation",
    "discover": "circuits.selection",
    "selections": "circuits.selection",
    "evaluate": "circuits.faithfulness",
    "smallest_faithful": "circuits.faithfulness",
    "find_smallest": "circuits.faithfulness",
    "ranking_areas": "circuits.areas",
    "leave_one_out": "circuits.minimality",
    "sufficiency": "circuits.hypotheses",
    "necessity": "circuits.hypotheses",
    "assess": "circuits.assessment",
    "selection_frequency": "circuits.stability",
    "consensus": "circuits.stability",
    "prune": "circuits.connect",
    "lifted": "circuits.connect",
    "union": "circuits.algebra",
    "intersection": "circuits.algebra",
    "difference": "circuits.algebra",
    "complement": "circuits.algebra",
    "compare": "circuits.algebra",
    "side_by_side": "circuits.matching",
    "SideBySide": "circuits.sides",
    "load_truth": "circuits.truth",
    "judge": "circuits.truth",
    "export": "circuits.interchange.jobs",
    "import_file": "circuits.interchange.jobs",
    "to_networkx": "circuits.interchange",
    "from_networkx": "circuits.interchange",
    "render": "circuits.report",
    "plot_evaluation": "circuits.plots",
    "plot_circuit": "circuits.plots",
    "save_picture": "circuits.picture",
}

__all__ = [
    "Assessment",
    "Circuit",
    "CircuitError",
    "Evaluation",
    "Record",
    "Search",
    "SideBySide",
    "assess",
    "compare",
    "complement",
    "consensus",
    "difference",
    "discover",
    "evaluate",
    "export",
    "find_smallest",
    "from_networkx",
    "import_file",
    "intersection",
    "judge",
    "leave_one_out",
    "lifted",
    "load_truth",
    "necessity",
    "plot_circuit",
    "plot_evaluation",
    "prune",
    "ranking_areas",
    "render",
    "save_picture",
    "selection_frequency",
    "selections",
    "side_by_side",
    "smallest_faithful",
    "sufficiency",
    "to_networkx",
    "union",
]

if TYPE_CHECKING:
    from circuits.algebra import compare, complement, difference, intersection, union
    from circuits.areas import ranking_areas
    from circuits.assessment import Assessment, assess
    from circuits.circuit import Circuit, CircuitError
    from circuits.connect import lifted, prune
    from circuits.evaluation import Evaluation, Search
    from circuits.faithfulness import evaluate, find_smallest, smallest_faithful
    from circuits.hypotheses import necessity, sufficiency
    from circuits.interchange import from_networkx, to_networkx
    from circuits.interchange.jobs import export, import_file
    from circuits.matching import side_by_side
    from circuits.minimality import leave_one_out
    from circuits.picture import save_picture
    from circuits.plots import plot_circuit, plot_evaluation
    from circuits.record import Record
    from circuits.report import render
    from circuits.selection import discover, selections
    from circuits.sides import SideBySide
    from circuits.stability import consensus, selection_frequency
    from circuits.truth import judge, load_truth


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'circuits' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
