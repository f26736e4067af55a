"""k-sparse probing: can a few features tell two labels apart, and could as many plain dimensions?

Source: Gurnee et al. 2023, "Finding neurons in a haystack: case studies with sparse probing"; with dictionaries Gao et al.
2024, section 4.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_stream import Seen, check_fits, encoded, seen
from interp.errors import InterpError, ProbeError
from interp.files import write_text
from interp.formatting.parquet import told
from interp.formatting.plain import rebuilt, strict_json
from interp.formatting.table import Table, rows_of
from interp.formatting.text import printed, visible
from interp.probes.classifier import Interval, Quality, fit, mean_difference, quality
from interp.probes.labelled_texts import Labelled, halves, labelled, read_labels
from interp.progress import progress
from interp.tasks.lengths import by_length
from interp.whole_numbers import count

__all__ = ["Interval", "ProbeResult", "ProbeRow", "Quality", "probe", "read_labels"]

#: How a parquet file begins.
_PARQUET: Final = b"PAR1"
#: What a row of a result was fitted on.
FEATURES, DIMENSIONS, ALL, MAJORITY = "features", "dimensions", "all dimensions", "majority label"


@dataclass(frozen=True)
class ProbeRow:
    """A probe on `k` of something; chosen: which, the one with the largest mean difference first."""

    what: str
    k: int
    chosen: tuple[int, ...]
    quality: Quality


@dataclass(frozen=True, repr=False)
class ProbeResult(Table):
    """All probes of one labelled set, on its held-out half.

    site: where the dictionary reads, and where the dimensions were taken. n_train, n_test: examples; share: of label 1 among
    those held out. plot(): AUC over k of features and of dimensions.
    """

    fault: ClassVar[type[InterpError]] = DictionaryError

    name: str
    site: str
    n_train: int
    n_test: int
    share: float
    seed: int
    rows: tuple[ProbeRow, ...]

    def row(self, what: str, k: int | None = None) -> ProbeRow:
        """One row. Raises: InterpError where there is none."""
        for row in self.rows:
            if row.what == what and k in (None, row.k):
                return row
        raise InterpError(f"no probe on {k} {what}; there are: {', '.join(f'{r.k} {r.what}' for r in self.rows)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_pandas(self) -> Any:
        """A row per probe: what, k, chosen, and accuracy, balanced and auc, each with its 95 % interval (`_low`, `_high`)."""
        found: dict[str, Any] = {name: [getattr(row, name) for row in self.rows] for name in ("what", "k", "chosen")}
        for measure in ("accuracy", "balanced", "auc"):
            values = [getattr(row.quality, measure) for row in self.rows]
            for end, name in (("value", ""), ("low", "_low"), ("high", "_high")):
                found[measure + name] = [getattr(value, end) for value in values]
        return rows_of(found)

    def __str__(self) -> str:
        named = f"{visible(self.name, 80)}, {visible(self.site, 80)}"
        head = f"ProbeResult({named}, {self.n_train} examples, {self.n_test} held out)"
        lines = [f"  {r.k or '':>5} {visible(r.what, 40):<16} AUC {r.quality.auc.value:.3f}" for r in self.rows[:10]]
        more = [f"  and {len(self.rows) - 10} more"] if len(self.rows) > 10 else []
        return printed("\n".join([head, *lines, *more]))

    def save(self, path: str | Path) -> None:
        """Write JSON where the path ends in `.json`, else a parquet table; `load` reads both.

        Raises: DictionaryError for a number that is not finite.
        """
        if Path(path).suffix.lower() != ".json":
            super().save(path)
            return
        try:
            write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))
        except ValueError as error:
            raise DictionaryError(f"ProbeResult for {str(path)!r} cannot be written: {told(error)}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote, in either form. Raises: DictionaryError as `Table.load`, also for damaged JSON."""
        try:
            given = Path(path).read_bytes()
            if given.startswith(_PARQUET):
                return super().load(path)
            return rebuilt(cls, strict_json(given))  # type: ignore[no-any-return]
        except (OSError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise DictionaryError(f"ProbeResult file {str(path)!r} cannot be read: {told(error)}.") from error


def probe(
    model: Any,
    dictionary: Dictionary,
    labels: str | Path | Iterable[Mapping[str, Any]],
    *,
    ks: Sequence[int] = (1, 5, 20),
    position: int | str = "last",
    name: str = "",
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> ProbeResult:
    """Probes on the k best features, on as many of the dimensions that the dictionary reads, on all of these, and on nothing.

    Half of the examples of each label choose the k columns (largest difference of means between the labels) and fit a logistic
    regression on them (standardised, L2 penalty 1/2); the other half says how good it is.

    labels: a JSONL file or its lines, `{"text" or "tokens", "label": 0 or 1, "position"}`; position: where to look in those that
    do not say: the index of a token, `last`, or `mean` over the tokens (BOS left out; of features, after encoding).
    Units: shares of the held-out examples. Cost: one forward of all examples; 4 bytes per example and feature.
    Raises: DictionaryError for bad lines, one label only, fewer than 10 different examples of a label, or a k that does not fit.
    """
    check_fits(model, dictionary)
    wanted = _checked(dictionary, ks)
    try:
        return _probed(model, dictionary, labels, wanted, position, name, seed, batch_size, show_progress)
    except ProbeError as error:
        raise DictionaryError(str(error)) from error


def _probed(
    model: Any,
    dictionary: Dictionary,
    labels: str | Path | Iterable[Mapping[str, Any]],
    wanted: list[int],
    position: int | str,
    name: str,
    seed: int,
    batch_size: int | None,
    show_progress: bool | None,
) -> ProbeResult:
    lines = read_labels(labels) if isinstance(labels, (str, Path)) else labels
    examples = labelled(model, lines, position)
    features, dimensions = _read(model, dictionary, examples, batch_size, show_progress)
    y = np.array([one.label for one in examples])
    train, test = halves(examples, seed)
    rows = []
    for what, x in ((FEATURES, features), (DIMENSIONS, dimensions)):
        for k in wanted:
            columns = mean_difference(x[train], y[train], k)
            rows.append(_row(what, x, y, columns, train, test, seed))
    rows.append(_row(ALL, dimensions, y, np.arange(dimensions.shape[1]), train, test, seed))
    most = float(y[train].mean() > 0.5)
    rows.append(ProbeRow(MAJORITY, 0, (), quality(np.full(len(test), 2 * most - 1), y[test], seed)))
    name = name or (Path(labels).stem if isinstance(labels, (str, Path)) else "")
    where = str(dictionary.site)
    return ProbeResult(name, where, len(train), len(test), float(y[test].mean()), seed, tuple(rows))


def _row(
    what: str, x: np.ndarray, y: np.ndarray, columns: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int
) -> ProbeRow:
    found = fit(x[np.ix_(train, columns)], y[train])
    scores = found.scores(x[np.ix_(test, columns)])
    named = () if what == ALL else tuple(int(c) for c in columns)
    return ProbeRow(what, len(columns), named, quality(scores, y[test], seed))


def _checked(dictionary: Dictionary, ks: Sequence[int]) -> list[int]:
    limit = min(dictionary.n_features, dictionary.d_in)
    wrong = [k for k in ks if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= limit]
    if wrong or not ks:
        raise DictionaryError(
            f"ks={list(ks)}: expected numbers from 1 to {limit}, the smaller of features and dimensions."
        )
    return sorted(set(ks))


def _read(
    model: Any, dictionary: Dictionary, examples: list[Labelled], batch_size: int | None, show_progress: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features [example feature] and what was encoded [example d_in], at the position of each example or their mean."""
    if batch_size is not None:
        count(batch_size, "batch_size", DictionaryError)
    lengths = [len(one.ids) for one in examples]
    order = list(by_length(lengths, batch_size or default_batch_size(model, max(lengths))))
    features = np.zeros((len(examples), dictionary.n_features), dtype=np.float32)
    dimensions = np.zeros((len(examples), dictionary.d_in), dtype=np.float32)
    stream = seen(model, dictionary, (torch.tensor([examples[i].ids for i in index]) for index in order), keep_bos=True)
    with progress("probing", len(order), show_progress) as advance:
        for index, batch in zip(order, stream, strict=True):
            share = _shares(batch, [examples[i] for i in index])
            place = share.nonzero()[:, 0].cpu()
            weight, x = share[share > 0].cpu(), batch.x[share > 0]
            dimensions[index] = _added(x, weight, place, len(index))
            for at, f in encoded(dictionary, x):
                features[index] += _added(f, weight[at], place[at], len(index))
            advance(1)
    return features, dimensions


def _added(x: Tensor, weight: Tensor, place: Tensor, n: int) -> np.ndarray:
    """x [token ...] times weight [token], added up by the place of its example [example ...]."""
    weighted = x.detach().cpu().double() * weight[:, None]
    return np.asarray(weighted.new_zeros(n, x.shape[1]).index_add(0, place, weighted).numpy())


def _shares(batch: Seen, examples: Sequence[Labelled]) -> Tensor:
    """How much each token counts for its example [batch pos]; a row sums to 1."""
    share = torch.zeros(batch.keep.shape, dtype=torch.float64, device=batch.keep.device)
    for row, one in enumerate(examples):
        if isinstance(one.position, int):
            share[row, one.position] = 1.0
        else:
            share[row] = (~batch.begins[row]).double()
        if not bool(share[row].any()):
            raise DictionaryError(
                f"nothing to take the mean of: an example is only {list(one.ids)}, where texts begin."
            )
    return share / share.sum(1, keepdim=True)
