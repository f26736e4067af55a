"""What probes found: a row for each site, what it was fitted on, and k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interp.errors import ProbeError
from interp.formatting.table import Table, rows_of
from interp.formatting.text import printed, visible
from interp.probes.probe_measures import MEASURES, Measures

#: What a probe was fitted on.
COLUMNS, ROTATED, SHUFFLED, CONTROL, EVERY, MOST_COMMON = (
    "columns", "rotated", "shuffled", "control task", "all dimensions", "majority label",
)  # fmt: skip


@dataclass(frozen=True)
class SiteProbe:
    """A probe at a site on `k` columns of something. chosen: which, where they are columns of the site, the best first; gap: of `exact`, how far
    from the best subset of the screened columns it may be, else None. Of `shuffled` rows the measures are means and the intervals hold 95 % of the shuffles."""

    site: str
    what: str
    k: int
    chosen: tuple[int, ...]
    quality: Measures
    gap: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Probes(Table):
    """All probes of one labelled set, judged on its held-out half. share: of label 1 among those held out; plot(): AUC over k."""

    model: str
    kind: str
    selection: str
    by: str
    n_train: int
    n_test: int
    share: float
    seed: int
    rows: tuple[SiteProbe, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, site: str, what: str = COLUMNS, k: int | None = None) -> SiteProbe:
        """One row, without k the first. Raises: ProbeError where there is none."""
        for row in self.rows:
            if row.site == str(site) and row.what == what and k in (None, row.k):
                return row
        raise ProbeError(f"no probe on {what!r} at {str(site)!r} with k={k}; see to_pandas() for those that there are.")

    def best(self, k: int | None = None) -> SiteProbe:
        """The row on columns of a site, of this k where one is given, with the largest AUC. Raises: ProbeError where there is none."""
        found = [row for row in self.rows if row.what == COLUMNS and k in (None, row.k)]
        if not found:
            raise ProbeError(f"no probe on columns with k={k}; see to_pandas() for those that there are.")
        return max(found, key=lambda row: row.quality.auc.value)

    def selectivity(self, site: str) -> float | None:
        """Accuracy on all dimensions less that on the control task (Hewitt & Liang 2019); None where the texts end in too few kinds of tokens."""
        every = self.row(site, EVERY).quality.accuracy.value
        control = [row for row in self.rows if row.site == str(site) and row.what == CONTROL]
        return every - control[0].quality.accuracy.value if control else None

    def to_pandas(self) -> Any:
        """A row per probe: site, what, k, chosen, each measure with its interval (`_low`, `_high`), gap."""
        found: dict[str, Any] = {name: [getattr(r, name) for r in self.rows] for name in ("site", "what", "k")}
        found["chosen"] = [list(r.chosen) for r in self.rows]
        for measure in MEASURES:
            for end, name in (("value", ""), ("low", "_low"), ("high", "_high")):
                found[measure + name] = [getattr(getattr(r.quality, measure), end) for r in self.rows]
        return rows_of(found | {"gap": [r.gap for r in self.rows]})

    def __str__(self) -> str:
        head = f"Probes({visible(self.model, 80)}, {self.kind}, {self.n_train} examples, {self.n_test} held out)"
        lines = [
            f"  {visible(r.site, 40):<16} {r.what:<15} {r.k:>6} AUC {r.quality.auc.value:.3f}" for r in self.rows[:12]
        ]
        more = [f"  and {len(self.rows) - 12} more"] if len(self.rows) > 12 else []
        return printed("\n".join([head, *lines, *more]))
