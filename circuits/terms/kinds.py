"""The check of what users give, with the kinds of values that circuits add."""

from __future__ import annotations

from typing import Final

from interp.given import KINDS, checking

kinds_checked: Final = checking(
    {
        **KINDS,
        "Circuit": "circuits.discover(...)",
        "Evaluation": "circuits.evaluate(...)",
        "Search": "circuits.find_smallest(...)",
        "Record": "circuits discover or compare",
    }
)
