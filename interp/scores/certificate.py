"""What may be said of a top n of which not everything was scored exactly, and why it is true.

Setting. N parts have fixed true keys (|score|, or importance), with ties broken in a fixed order; T is the set of the n
largest. A search scores parts exactly for whatever reason it likes; of the M parts that it leaves it then draws m at
random without replacement (the audit), scores these, and stops. All that follows is given everything before the audit,
so that T, M, m and W = T without what was scored before the audit are fixed, and only the draw is random.
Let w = |W| <= n, and let k count the drawn parts that are among the n largest of all that was scored. Every drawn part of
W is among them, so |drawn and W| <= k. Nothing is assumed of the estimates or of the keys: no distribution, no model.

chance_each = (1 + k) / (m + 1). A part drawn at random from those outside belongs to T with chance w / M, and
E[chance_each] >= (1 + m w / M) / (m + 1) >= w / M. (Conformal: the part and the m drawn ones are exchangeable.) This is a
mean over draws, and says nothing of the set: n of many parts are a small share, and w / M is small though all n are missed.

missed_at_most. |drawn and W| is hypergeometric. u(k) is the largest w with P_w(at most k) > 5 %. One more member of W
raises the count by at most one, so u(k + 1) >= u(k) + 1, and u(k) - k bounds what is missed in 95 % of the draws also
where k counts too many.

chance_wrong. The top n is wrong only if a member of W was not drawn. State b(k) = 1 - P(all of k + 1 given parts are
drawn), which for k = 0 is 1 - m / M: one outlier can hide in any place that was not looked at.
(A) For every a: P(stated <= a and wrong) <= a. With w <= k + 1, wrong and |drawn and W| <= k means that not all of W was
drawn: at most b(k). With w > k + 1, P_w(at most k) falls with w: at most its value b(k) at w = k + 1.
(B) The fraction of wrong sets is at most the mean stated chance. This asks E_w[1 - b] <= P_w(all of W drawn) for every
1 <= w <= n, which is computed: b(k) is stated only up to the largest k for which it holds, and 1 above. k = 0 holds as
soon as half of the M parts are drawn; where less is drawn nothing is claimed.

sure, within. What is missed is missed from the end: the members of T that were scored are the largest of what was scored, so with the
confidence of missed_at_most the first n - missed_at_most parts found belong to T, whatever became of the others (`sure`).
And none of the n found is far off: let Z be the parts of the rest above the n-th largest of what was scored before the
audit, a fixed set, and h the number drawn of it. What is larger than the last part found and was not drawn is in Z, so by
the same bound the n found are among the n + u(h) - h largest of all in 95 % of the draws (`within`).

near, off_at_most. Estimates f, fixed before the audit, were off by r or less for the first q of the m drawn parts. A part
outside is off by more with a chance of at most (m - q + 1) / (m + 1) on average (`off_chance`; conformal, as above). If c or more
of those outside are, then at most m - q of the c + m - q parts that f is most wrong about were drawn: so at most
u(m - q) - (m - q) are, in 95 % of the draws (`off_at_most`). An estimate g made after the audit, whose error is given as
r + |g - f|, is off by more only where f was off by more than r. All parts that were scored and belong to T are among the
n found; so T lies in these and in the parts outside whose estimate comes within its error of the n-th (`near`), but for parts
that are off by more than their error. This alone speaks of the estimates, and holds whatever they are.

So a top n is called certified only where chance_wrong is small as well, which takes nearly a sweep: by (A), "certified" is
said of a wrong set with a chance of at most CERTAIN. chance_wrong <= CERTAIN implies missed_at_most = 0, as 1 - b(k) is the
chance that all of k + 1 members are drawn. Where only chance_each is small enough, the top n is called checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

State = Literal["certified", "checked", "uncertified"]

CONFIDENCE: Final = 0.95
CERTAIN: Final = 0.05
_WORDS: Final[dict[State, str]] = {
    "certified": "certified",
    "checked": "checked (exact values for all that it contains) but as a whole not certified",
    "uncertified": "not certified",
}


@dataclass(frozen=True)
class Near:
    """Which parts outside may belong in the top n by their estimates: how many, how many of those drawn were off by more than the
    error that this rests on, and the chance that one more is."""

    parts: int
    beyond: int
    chance: float


@dataclass(frozen=True)
class Certificate:
    """What is known of a top `n` out of `total` parts, `scored` of them exactly.

    The last `drawn` of these were drawn at random from `rest` that the search would have left out, and `found` of them
    belong in the top n. `above`: parts that were not scored exactly although their estimate reaches the top n.
    `chance`: what was asked for. The module says what each bound means and proves it; 95 % confidence is of each statement apart.

    `sure`: the first so many of the n found belong in the true top n (95 %). `within`: all n found are among the true `within`
    largest (95 %). `near`: parts outside whose estimate comes within its error of the top n; the true top n lies in these and
    in the n found, but for parts that are off by more than their error: one outside, drawn at random, is so with a chance of
    `off_chance` at most, and `off_at_most` of them are (95 %). None where nothing is stated, as in files of before.
    """

    n: int
    total: int
    scored: int
    rest: int
    drawn: int
    found: int
    above: int
    chance: float
    chance_each: float
    missed_at_most: int
    chance_wrong: float
    what: str = "nodes"
    sure: int | None = None
    within: int | None = None
    near: int | None = None
    off_at_most: int | None = None
    off_chance: float | None = None

    @classmethod
    def of(
        cls,
        n: int,
        total: int,
        scored: int,
        rest: int,
        drawn: int,
        found: int,
        above: int,
        chance: float,
        what: str,
        *,
        beat: int | None = None,
        near: Near | None = None,
    ) -> Certificate:
        """The bounds that these counts allow. `beat`: drawn parts above the n-th largest of what was scored before the draw."""
        outside = total - scored
        each = (1 + found) / (drawn + 1) if outside else 0.0
        wrong = chance_wrong(rest, drawn, found, n) if outside else 0.0
        missed = min(missed_at_most(rest, drawn, found, n), outside)
        own = cls(n, total, scored, rest, drawn, found, above, chance, each, missed, wrong, what)
        if scored < n:
            return own
        own = replace(own, sure=n - missed)
        if beat is not None:
            own = replace(own, within=min(n + undrawn_at_most(rest, drawn, beat), n + outside))
        if near is None:
            return own
        off = min(undrawn_at_most(rest, drawn, near.beyond), outside)
        return replace(own, near=near.parts, off_at_most=off, off_chance=near.chance)

    @property
    def outside(self) -> int:
        """Parts that were not scored exactly."""
        return self.total - self.scored

    @property
    def state(self) -> State:
        """`checked`: the top n holds exact values only, and a part outside, drawn at random, belongs in it with `chance` at
        most. `certified`: so, and the set as a whole is wrong with a chance of 5 % at most; or all parts were scored."""
        if not self.outside:
            return "certified"
        if self.scored < self.n or self.above or self.chance_each > self.chance:
            return "uncertified"
        return "certified" if self.chance_wrong <= CERTAIN else "checked"

    @property
    def certified(self) -> bool:
        """Whether the top n as a set is certified."""
        return self.state == "certified"

    @property
    def headline(self) -> str:
        """The first clause of the sentence, as one may quote it."""
        if not self.outside:
            return f"all {self.total:,} {self.what} were scored exactly"
        how = f"{self.scored:,} of {self.total:,} {self.what} were scored exactly"
        each = f"one outside belongs in it with a chance of at most {self.chance_each:.2%} on average over draws"
        if self.state == "certified":
            return f"the top {self.n} is certified, {how}, and {each}"
        if self.state == "checked":
            return f"the top {self.n} is checked but as a whole not certified, {how}, {each}{self._first()}"
        return f"the top {self.n} is not certified, {how}{self._first()}"

    def __str__(self) -> str:
        if not self.outside:
            return f"All {self.total:,} {self.what} were scored exactly: the top {self.n} is exact, with no chance of error."
        if not self.drawn:
            return (
                f"The budget allowed exact scores of {self.scored:,} of {self.total:,} {self.what} and no random check of "
                f"the {self.outside:,} outside: the top {self.n} is not certified."
            )
        said = f"The top {self.n} is {_WORDS[self.state]}: {self._checked()}; {self._each()}, and {self._whole()}."
        return said + self._range() + self._near() + self._above()

    def _checked(self) -> str:
        return (
            f"{self.scored:,} of {self.total:,} {self.what} were scored exactly, {self.drawn:,} of them drawn at random "
            f"from the {self.rest:,} that the search would have left out, of which {self.found:,} belong in it"
        )

    def _each(self) -> str:
        return (
            f"one drawn at random from the {self.outside:,} outside belongs in it with a chance of at most "
            f"{self.chance_each:.2%} on average over draws, and at most {self.missed_at_most:,} do ({CONFIDENCE:.0%} confidence)"
        )

    def _whole(self) -> str:
        if self.chance_wrong >= 1:
            return "of the set as a whole nothing is claimed, as a single outlier could hide among those not looked at"
        return (
            f"as a whole it is wrong with a stated chance of {self.chance_wrong:.1%}: of many such searches, at most a "
            "share equal to their mean stated chance is wrong, whatever the scores"
        )

    def _first(self) -> str:
        """Where the parts found stand, in a clause."""
        if self.within is None:
            return ""
        return f", and all of it is among the true first {self.within:,} ({CONFIDENCE:.0%} confidence)"

    def _range(self) -> str:
        """Where the parts found stand in truth."""
        if self.sure is None or self.within is None:
            return ""
        first = "all of them belong" if self.sure == self.n else f"the first {self.sure:,} of them surely belong"
        first = first if self.sure else "of none of them is it sure that it belongs"
        return (
            f" The {self.n:,} found are among the true first {self.within:,} of {self.total:,}, and {first} in the true top "
            f"{self.n} ({CONFIDENCE:.0%} confidence each)."
        )

    def _near(self) -> str:
        """What could still belong, by the estimates."""
        if self.near is None or self.off_at_most is None or self.off_chance is None:
            return ""
        others = f" and {self.near:,} others, whose estimates come within their error of it" if self.near else ""
        return (
            f" The true top {self.n} is among these{others}, but for parts that are off by more than their error: one outside "
            f"is so with a chance of at most {self.off_chance:.2%} on average over draws, and at most {self.off_at_most:,} are "
            f"({CONFIDENCE:.0%} confidence)."
        )

    def _above(self) -> str:
        if not self.above:
            return ""
        return f" The budget left {self.above:,} unscored whose estimates reach the top {self.n}: give more."


def chance_wrong(rest: int, drawn: int, found: int, n: int) -> float:
    """b(found) where (A) and (B) of the module hold, else 1."""
    if drawn >= rest:
        return 0.0
    if found > _largest_found(rest, drawn, n):
        return 1.0
    return float(_stated(rest, drawn, np.array([found]))[0])


def _stated(rest: int, drawn: int, found: np.ndarray) -> np.ndarray:
    """b(k) = 1 - P(all of k + 1 given parts are among the drawn)."""
    from scipy.stats import hypergeom

    return np.asarray(1 - hypergeom.pmf(found + 1, rest, np.minimum(found + 1, rest), drawn))


def _largest_found(rest: int, drawn: int, n: int) -> int:
    """The largest k up to which b may be stated: for every w, E_w[1 - b] stays within P_w(all of W drawn); -1 for none."""
    from scipy.stats import hypergeom

    most = min(n, rest)
    counts = np.arange(most + 1)
    told = 1 - _stated(rest, drawn, counts)
    allowed = most
    for w in range(1, most + 1):
        mass = hypergeom.pmf(counts, rest, w, drawn)
        fits = np.cumsum(mass * told) <= hypergeom.pmf(w, rest, w, drawn) * (1 + 1e-12)
        allowed = min(allowed, int(np.argmin(fits)) - 1 if not fits.all() else most)
    return allowed


def missed_at_most(rest: int, drawn: int, found: int, n: int) -> int:
    """Upper 95 % bound on the members of the top n that were not drawn."""
    return undrawn_at_most(rest, drawn, found, n)


def undrawn_at_most(rest: int, drawn: int, seen: int, most: int | None = None) -> int:
    """Upper 95 % bound, `most` at most, on the members of a fixed set of the rest that were not drawn, where `seen` of it were: by the
    hypergeometric distribution."""
    from scipy.stats import hypergeom

    possible = np.arange(seen, min(seen + (rest if most is None else most), rest) + 1)
    likely = possible[hypergeom.cdf(seen, rest, possible, drawn) > 1 - CONFIDENCE]
    return int(likely.max() - seen) if len(likely) else 0
