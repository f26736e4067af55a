"""What was measured of a circuit, as plain data: facts in words, and the points of the curve over sizes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from circuits.runs.judged import other_words, random_words
from circuits.terms.words import metric_name
from interp.formatting.numbers import count, number, percent_interval

if TYPE_CHECKING:
    from circuits.evaluation.evaluation import Evaluation
    from interp.scores.resampling import Estimate

# The curve is cut off here where a few circuits lie far outside; the table still has them.
WIDE_CURVE: Final = (-0.5, 1.6)
SAME: Final = "the same that gave the scores"


def faithfulness(found: Evaluation | None, also: str = SAME) -> dict[str, Any] | None:
    """also: what is said of pairs that are not held out."""
    if found is None:
        return None
    points = [_point(p.size, p.faithfulness, p.random) for p in sorted(found.curve, key=lambda p: p.size)]
    shown = [v for p in points for key, v in p.items() if key not in ("size", "n_random") and v is not None]
    low, high = min([0.0, *shown]), max([1.0, *shown])
    clipped = low < WIDE_CURVE[0] or high > WIDE_CURVE[1]
    low, high = max(low, WIDE_CURVE[0]), min(high, WIDE_CURVE[1])
    margin = 0.04 * (high - low)
    return {
        "facts": _evaluation_facts(found, also),
        "points": points,
        "drawn": any(p["faithfulness"] is not None for p in points) and len(points) > 1,
        "range": [low - margin, high + margin],
        "clipped": clipped,
        "size": found.size,
        "parts": found.counts,
        "metric": metric_name(found.metric),
        "reason": found.reason,
    }


def _evaluation_facts(found: Evaluation, also: str) -> list[dict[str, str]]:
    f, c = found.faithfulness, found.completeness
    undefined = f"undefined: {found.reason}" if found.reason else "undefined"
    facts = {
        "faithfulness of the circuit": percent_interval(f.value, f.low, f.high) if f.value is not None else undefined,
        "completeness (the complement; near 0 % is good)": percent_interval(c.value, c.low, c.high)
        if c.value is not None
        else undefined,
        f"{found.counts} in the circuit": f"{count(found.size)} of {count(found.n_nodes)}",
        "random circuits of that size": random_words(found),
        **_elsewhere(found),
        f"{metric_name(found.metric)}, whole model": f"{number(found.full)} {found.unit}",
        f"{metric_name(found.metric)}, circuit alone": f"{number(found.circuit)} {found.unit}",
        f"{metric_name(found.metric)}, empty circuit": f"{number(found.empty)} {found.unit}",
        "what is outside is replaced by": f"{found.ablation} ablation",
        "pairs": f"{count(found.n_pairs)}, {'held out: none was used for the scores' if found.held_out else also}",
        "seed": str(found.seed),
    }
    if found.errors:
        facts["what the dictionaries do not make up (errors)"] = f"{found.errors} in every circuit"
    return [{"name": name, "value": value} for name, value in facts.items()]


def _elsewhere(found: Evaluation) -> dict[str, str]:
    """What the same circuit carries under another ablation; nothing where that was left out."""
    if (other := found.other) is None:
        return {}
    facts = {f"faithfulness of the circuit under {other.ablation} ablation": other_words(found)}
    if other.full is not None and other.empty is not None and other.circuit is not None:
        ends = f"{number(other.full)}, {number(other.circuit)}, {number(other.empty)} {found.unit}"
        facts[
            f"{metric_name(found.metric)} under {other.ablation} ablation: whole model, circuit alone, empty circuit"
        ] = ends
    if other.passed_over:
        facts["tried before, where it says nothing"] = "; ".join(other.passed_over)
    return facts


def _point(size: int, f: Estimate, random: Sequence[float | None]) -> dict[str, Any]:
    known = [r for r in random if r is not None]
    return {
        "size": size,
        "faithfulness": f.value,
        "low": f.low,
        "high": f.high,
        "random_low": min(known, default=None),
        "random_median": median(known) if known else None,
        "random_high": max(known, default=None),
        "n_random": len(known),
    }
