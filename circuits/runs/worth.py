"""What a circuit cost to find, and whether an approximation was worth its error beside exact patching of every part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from circuits.runs.naming import words
from circuits.terms.words import enumerated
from interp.formatting.numbers import count, number

if TYPE_CHECKING:
    from circuits.runs.record import Record
    from interp.scores.scores import Scores

#: An approximation is for many parts at a small price. Where exact patching of all costs at most so many times as much, it has none.
DEAR: Final = 2.0


def hardly_worth(record: Record) -> str:
    """The clause that names the approximations which saved next to nothing; empty where there are none, or where exact
    patching was of a sample, whose cost says nothing of all.

    A run that chose a circuit is asked about the method that it chose by, one that compares about every method. Searches on masks
    estimate no effects.
    """
    exact = record.exact
    judged = record.scores if record.circuit is None else record.scores[:1]
    if exact is None or not judged or len(exact.parts) < len(judged[0].parts):
        return ""
    price = equivalents(exact)
    estimates = [s for s in judged if not (s.provenance.exact or s.provenance.masks or s.search)]
    few = [s for s in estimates if price <= DEAR * equivalents(s)]
    if not few:
        return ""
    named = enumerated([f"{s.provenance.method} ({number(equivalents(s), 0)})" for s in few])
    many, be, its = words(record)["many"], *(("is", "its") if len(few) == 1 else ("are", "their"))
    return (
        f"exact patching of all {count(len(exact.parts))} {many} cost {number(price, 0)} forward equivalents over the pairs, "
        f"so {named} {be} hardly worth {its} error here"
    )


#: The phases of a run in which a circuit is found: what is run before the plan, scores, and the search for its size.
FINDING: Final = ("loading", "scoring", "searching")


def cost_of_finding(record: Record) -> str:
    """What it took to find the circuit, in plain forwards of the pairs that it was found on; empty where that is not known."""
    if record.circuit is None or not (spent := _spent(record)):
        return ""
    each = ", ".join(f"{name} {number(cost, 1)}" for name, cost in spent.items())
    return f"finding it cost {number(sum(spent.values()), 1)} forwards of the scored pairs ({each})"


def forwards_of_finding(record: Record) -> float | None:
    """The same as a number; None where it is not known."""
    return sum(found.values()) if (found := _spent(record)) else None


def _spent(record: Record) -> dict[str, float]:
    phases = record.manifest.get("forwards_by_phase")
    if not isinstance(phases, Mapping):
        return {}
    return {name: phases[name] for name in FINDING if isinstance(phases.get(name), int | float)}


def equivalents(scores: Scores) -> float:
    """What scores took in forwards over the pairs, a backward counted twice."""
    return scores.provenance.forwards + 2 * scores.provenance.backwards
