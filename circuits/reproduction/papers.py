"""The papers whose table can be made again, by the name that users type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from circuits.reproduction.paper import Paper
from circuits.reproduction.relp import RELP
from interp.errors import InterpError, unknown

PAPERS: Final[Mapping[str, Paper]] = {paper.name: paper for paper in (RELP,)}


def get_paper(name: str) -> Paper:
    """The paper of this name. Raises: InterpError with the near names."""
    if name not in PAPERS:
        raise InterpError(unknown("paper", name, PAPERS))
    return PAPERS[name]
