"""What a run found as one HTML file that can be read offline, and as one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuits.report.finding import finding
from circuits.report.page import html
from circuits.report.payload import payload

if TYPE_CHECKING:
    from circuits.record import Record

__all__ = ["finding", "render"]


def render(record: Record) -> str:
    """The report of a run: one self-contained HTML page. The same record gives the same bytes."""
    return html(payload(record))
