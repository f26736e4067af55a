"""Measuring what `circuits.anatomy` describes, on the prompts of a run."""

from __future__ import annotations

from circuits.anatomy import Anatomy
from circuits.circuit import Circuit
from circuits.prepared import Prepared, Say
from interp.scores import Scores


def look_closely(job: Prepared, scores: Scores, circuit: Circuit, say: Say) -> tuple[Anatomy, Scores | None]:
    """The anatomy of a circuit, and for a circuit of nodes the scores of the edges between them (level `edges`)."""
    say("looking closely at the circuit")
    return Anatomy(), None
