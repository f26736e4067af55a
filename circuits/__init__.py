"""From scores to circuits: discovery, evaluation by intervention, plots, reports, and the command line.

import circuits, interp
circuit = circuits.discover(scores, n=10)
evaluation = circuits.evaluate(model, task, circuit)
"""

from __future__ import annotations

import lazy_loader

from interp.formatting.showing import displayed_by

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

displayed_by("circuits.display")
