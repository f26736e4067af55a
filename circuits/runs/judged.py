"""What was measured of a circuit beside its faithfulness, as facts in words: random circuits, and another ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.formatting.numbers import count, percent_interval, percent_range

if TYPE_CHECKING:
    from circuits.evaluation.evaluation import Evaluation


def other_words(found: Evaluation) -> str:
    """What the circuit and random ones carry under another ablation, as a fact of its own; empty where that was left out."""
    other = found.other
    if other is None:
        return ""
    if other.faithfulness.value is None:
        return f"undefined: {other.reason}"
    f, random = other.faithfulness, [value for value in other.random if value is not None]
    beside = f"; random circuits {percent_range(min(random), max(random))}, n = {len(random)}" if random else ""
    short = " (the circuit is made for its own ablation)" if other.falls_short else ""
    return f"{percent_interval(f.value, f.low, f.high)}{short}{beside}"


def random_words(found: Evaluation) -> str:
    """The random baseline at the circuit's size, as a fact of its own."""
    n = found.n_twins
    if not n:
        return "none: no other circuit of this size and kinds exists"
    if found.random_above is None:
        return "not measured in this run"
    of = f"the {count(n)} that exist" if n < found.n_random else count(n)
    return f"{count(round(found.random_above * n))} of {of} at least as near to 100 %"
