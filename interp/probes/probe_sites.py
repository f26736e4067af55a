"""Can a linear probe tell two labels apart at a site, and would it on anything else?

Sources: Alain & Bengio 2016 (linear probes); Gurnee et al. 2023, "Finding neurons in a haystack" (few columns); Hewitt & Liang 2019 (control tasks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from interp.errors import ProbeError, unknown
from interp.given import kinds_checked
from interp.parts.sites import Site, SiteLike
from interp.probes.classifier import Interval
from interp.probes.labelled_texts import halves
from interp.probes.probe_fits import PROBES, Fit
from interp.probes.probe_measures import MEASURES, Measures, measured
from interp.probes.probes import COLUMNS, CONTROL, EVERY, MOST_COMMON, ROTATED, SHUFFLED, Probes, SiteProbe
from interp.probes.reads import LabelledReads, read_labelled
from interp.probes.selections import PROBE_SELECTIONS, ProbeSelection
from interp.whole_numbers import count, is_whole

BY: Final = ("example", "group")
DEFAULT_KS: Final = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class _Asked:
    """What is the same at each site."""

    fit: Fit
    selection: ProbeSelection
    ks: tuple[int, ...]
    train: np.ndarray
    test: np.ndarray
    y: np.ndarray
    control: np.ndarray | None
    shuffles: int
    seed: int


@kinds_checked
def probe(
    model: Any,
    labels: Any,
    sites: SiteLike | Sequence[SiteLike],
    *,
    kind: str = "logistic",
    k: int | Sequence[int] | str | None = None,
    selection: str = "mean_difference",
    by: str = "example",
    pool: int | str = "last",
    shuffles: int = 20,
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> Probes:
    """Probes at each site on the k best columns and on all, beside as many rotated columns, shuffled labels, a control task and the majority label.

    Half of the different texts of each label (by='group': half of the groups) choose the columns and fit; the other half says how good it is. labels: what
    `read_labelled` takes, or what it gave. k: numbers of columns (None: 1, 2, 4, 8, 16 as far as the site is wide), or 'all'. Units: shares of held-out texts.
    Cost: one forward of all texts for all sites; about 2 k fits, and one for each shuffle, at each site; the rotation is d^3.
    Raises: ProbeError for labels that cannot be halved, k above the width, unknown names; SiteError.
    """
    fit, chosen = PROBES[kind].function, PROBE_SELECTIONS[selection]
    if by not in BY:
        raise ProbeError(unknown("by", by, BY))
    count(shuffles, "shuffles", ProbeError)
    ks = _numbers(k)
    reads = labels
    if not isinstance(labels, LabelledReads):
        reads = read_labelled(model, labels, sites, pool, batch_size=batch_size, show_progress=show_progress)
    y = reads.labels
    train, test = halves(reads.examples, seed, by)
    for part in (train, test):
        if len({*y[part].tolist()}) != 2:
            raise ProbeError(
                f"by={by!r}: one half has texts of one label only; expected both in each. Give more groups of each label."
            )
    asked = _Asked(fit, chosen, ks, train, test, y, _control(reads, train, test, seed), shuffles, seed)
    wanted = (
        list(reads.values)
        if reads is labels and not sites
        else [s for one in _listed(sites) for s in model.resolve(one)]
    )
    if missing := [str(site) for site in wanted if site not in reads.values]:
        raise ProbeError(f"site {missing[0]!r} was not read; read: {', '.join(map(str, list(reads.values)[:4]))}.")
    rows = [
        row
        for site in dict.fromkeys(wanted)
        for row in _at(str(site), reads.values[site].astype(np.float64), asked, k is None)
    ]
    return Probes(model.name, kind, selection, by, len(train), len(test), float(y[test].mean()), seed, tuple(rows))


def _listed(sites: SiteLike | Sequence[SiteLike]) -> list[SiteLike]:
    return [sites] if isinstance(sites, (str, Site)) else list(sites)


def _numbers(k: int | Sequence[int] | str | None) -> tuple[int, ...]:
    if k is None or (isinstance(k, str) and k == "all"):
        return DEFAULT_KS if k is None else ()
    given: Any = k
    ks = [given] if is_whole(given) else [] if isinstance(given, str) else list(given)
    if not ks or not all(is_whole(one) and one >= 1 for one in ks):
        raise ProbeError(f"k={k!r}: expected numbers of columns from 1, or 'all'.")
    return tuple(sorted({int(one) for one in ks}))


def _at(site: str, x: np.ndarray, asked: _Asked, fitting: bool) -> list[SiteProbe]:
    """All rows of a site, x [example d]. fitting: leave out each k that the site is too narrow for."""
    width = x.shape[1]
    ks = [k for k in asked.ks if k <= width or not fitting]
    if ks and max(ks) > width:
        raise ProbeError(f"k={max(ks)} at {site!r}: expected 1 to {width}, the width of the site.")
    rows = []
    for what, values in ((COLUMNS, x), (ROTATED, _rotated(x, asked.seed))) if ks else ():
        columns = asked.selection.function(values[asked.train], asked.y[asked.train], ks)
        for k in ks:
            quality = measured(_scores(values[:, columns[k]], asked.y, asked), asked.y[asked.test], asked.seed)
            named = tuple(map(int, columns[k])) if what == COLUMNS else ()
            rows.append(SiteProbe(site, what, k, named, quality, 0.0 if asked.selection.name == "exact" else None))
    every = measured(_scores(x, asked.y, asked), asked.y[asked.test], asked.seed)
    rows += [SiteProbe(site, EVERY, width, (), every), SiteProbe(site, SHUFFLED, width, (), _shuffled(x, asked))]
    if asked.control is not None:
        control = measured(_scores(x, asked.control, asked), asked.control[asked.test], asked.seed)
        rows.append(SiteProbe(site, CONTROL, width, (), control))
    most = 1.0 if asked.y[asked.train].mean() > 0.5 else -1.0
    return [
        *rows,
        SiteProbe(site, MOST_COMMON, 0, (), measured(np.full(len(asked.test), most), asked.y[asked.test], asked.seed)),
    ]


def _scores(x: np.ndarray, y: np.ndarray, asked: _Asked) -> np.ndarray:
    """Scores of the held-out examples by a probe that was fitted on the others."""
    return asked.fit(x[asked.train], y[asked.train]).scores(x[asked.test])


def _rotated(x: np.ndarray, seed: int) -> np.ndarray:
    """x in a random orthonormal basis: the same vectors without a preferred axis."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(x.shape[1], x.shape[1])))
    return np.asarray(x @ (q * np.sign(np.diag(r))))


def _shuffled(x: np.ndarray, asked: _Asked) -> Measures:
    """Fitted on labels in random order, judged on the true ones: means, and what 95 % of the shuffles lie in."""
    rng, found = np.random.default_rng(asked.seed), []
    for _ in range(asked.shuffles):
        y = asked.y.copy()
        y[asked.train] = rng.permutation(y[asked.train])
        found.append(measured(_scores(x, y, asked), asked.y[asked.test], asked.seed))
    return Measures(*(_spread([getattr(one, name).value for one in found]) for name in MEASURES))


def _spread(values: list[float]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high))


def _control(reads: LabelledReads, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray | None:
    """A random label for each kind of token that the probe looks at (of a mean: the last) [example]; None where a half would have one label only."""
    rng = np.random.default_rng(seed)
    kinds = [one.ids[one.position if isinstance(one.position, int) else -1] for one in reads.examples]
    different = sorted({*kinds})
    label = dict(zip(different, rng.permutation(np.arange(len(different)) % 2).tolist(), strict=True))
    found = np.array([label[kind] for kind in kinds])
    return found if all(len({*found[part].tolist()}) == 2 for part in (train, test)) else None
