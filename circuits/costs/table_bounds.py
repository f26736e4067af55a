"""The plan of reproduce: what the table of a paper may cost on one model, by level."""

from __future__ import annotations

from circuits.costs.bounds import Bounds
from circuits.costs.scoring import of_request
from circuits.reproduction.measuring import ACCURACY, Ready, phase_of


def bounds(ready: Ready) -> Bounds:
    """What the table of a model may cost at most, in forwards of its pairs: both sides once for what it gets right, and each level."""
    phases = {phase_of(level): of_request(request) for level, request in ready.requests.items()}
    return Bounds({ACCURACY: 2.0, **phases}, len(ready.task), "")
