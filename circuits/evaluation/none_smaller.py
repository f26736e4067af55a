"""What searches for a small circuit did not find: a statement about what was tried, which no search can make about what was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuits.circuit.circuit import CircuitError
from circuits.circuit.saved import Saved
from circuits.evaluation.evaluation import Counts, Search, limits_in_words
from circuits.terms.kinds import kinds_checked
from interp.formatting.numbers import several
from interp.formatting.showing import card
from interp.formatting.text import visible


@dataclass(frozen=True)
class NoneSmaller(Saved):
    """No circuit of at most `parts` of `n_parts` parts with target <= f (<= at_most) was found `by` some rankings, of which
    `tried` circuits up to that size were run, of `sizes` [tried], in order.

    Nothing follows for circuits that were not run: a search of another kind may find one. `f` is the estimate on the pairs of the
    searches, without its interval. A circuit that two rankings agree on counts once for each.
    """

    parts: int
    n_parts: int
    counts: Counts
    target: float
    at_most: float | None
    by: tuple[str, ...]
    tried: int
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        by = f" by {', '.join(self.by)}" if self.by else ""
        return visible(
            f"no circuit of at most {self.parts:,} of {self.n_parts:,} {self.counts} with "
            f"{limits_in_words(self.target, self.at_most)} was found{by} ({several(self.tried, 'circuit')} tried, of "
            f"sizes {', '.join(map(str, self.sizes))}; others are not ruled out)"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))


@kinds_checked
def none_smaller(searches: Sequence[Search]) -> NoneSmaller | None:
    """What searches within the same limits, of the same parts, say together of circuits below the smallest that any of them found; where
    none found one, of circuits up to the largest size that was tried.

    None where no smaller circuit was tried, or f is undefined in a search. Raises: CircuitError for searches that differ in
    what they looked for, or for none.
    """
    asked = {(s.target, s.at_most, s.n_parts, s.counts) for s in searches}
    if len(asked) != 1:
        what = (
            "no search was given"
            if not searches
            else f"searches of (target, at_most, parts, counts) = {sorted(map(str, asked))}"
        )
        raise CircuitError(f"{what}: expected one or more with the same limits on the same parts.")
    if any(search.reason for search in searches):
        return None
    ((target, at_most, n_parts, counts),) = asked
    points = [(point.size, _inside(search, point.faithfulness.value)) for search in searches for point in search.tried]
    found = min((size for size, inside in points if inside), default=None)
    parts = found - 1 if found is not None else max((size for size, _ in points), default=0)
    sizes = sorted(size for size, _ in points if 1 <= size <= parts)
    by = dict.fromkeys(s.by for s in searches if s.by and any(1 <= p.size <= parts for p in s.tried))
    return NoneSmaller(parts, n_parts, counts, target, at_most, tuple(by), len(sizes), tuple(sizes)) if sizes else None


def _inside(search: Search, f: float | None) -> bool:
    """Whether a ratio is within the limits of a search."""
    return f is not None and search.target <= f and (search.at_most is None or f <= search.at_most)
