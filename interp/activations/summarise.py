"""One pass of a corpus through a model, and what is true of its activations: statistics that are added up on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.activations.summary import Summary, opened
from interp.activations.walking import batches_of, prompts_of, resolved, run_batch
from interp.attribution.batching.batch_sizes import parse_bytes
from interp.errors import TaskError
from interp.given import kinds_checked
from interp.parts.sites import SiteLike
from interp.progress import progress
from interp.statistics.accumulator import STATISTICS, Accumulator, StatisticError, accumulator_for, finite
from interp.tasks.task import Task
from interp.whole_numbers import count

#: Batches between two savings of an unfinished pass.
_OFTEN: Final = 16
_OTHER: Final = "the data are not those of the pass in this file; give the same, or another file."
#: Bytes that statistics may take, where nobody says otherwise.
MOST_BYTES: Final = 4 << 30


@kinds_checked
def summarise(
    model: Any,
    data: Any,
    sites: SiteLike | Sequence[SiteLike],
    what: str | Sequence[str] = "moments",
    *,
    window: int | None = None,
    keep_bos: bool = False,
    k: int = 10,
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    out: str | Path | None = None,
    show_progress: bool | None = None,
) -> Summary:
    """Statistics of what is at `sites` over a corpus, in one pass; heads at z stand side by side.

    data: texts, lists of token ids, a `Task` (its clean prompts), or an iterable of these. sites: sites or kinds, any but patterns. what: names
    of `STATISTICS`: moments, covariance, sparsity, quantiles, examples, positions, pairs. window: documents are cut into pieces of so many
    tokens, and what fills none is left out and counted; `positions` needs it, as its prompts must have one length. keep_bos: count the first token
    of each prompt too, whose stream is many times larger on most models. k: the values that `examples` keeps. max_memory: what statistics may
    take, 4 GiB by default. out: a file that the summary is written to, and from which a pass that was stopped goes on: the same call
    gives the same numbers, bit for bit.

    Cost: one forward over the data, and the sums. Sums are in float64 whatever the model computes in. Source: each statistic's.
    Raises: StatisticError for unknown statistics, more memory than may be taken, numbers that are not finite, and a file of another pass; TaskError
    for unusable data; SiteError.
    """
    asked = _asked(model, sites, what, window, keep_bos, k, batch_size)
    walk = _Walk(asked, prompts_of(data, model, "data"), None if out is None else Path(out), max_memory)
    total = len(data) if isinstance(data, (list, tuple, Task)) and window is None else 0
    with progress("summarising", total, show_progress) as advance:
        for n in walk.batches():
            advance(n)
    return walk.finished()


@dataclass(frozen=True)
class _Asked:
    """What a pass is to find. `settings`: of each statistic its options."""

    model: Any
    sites: tuple[Any, ...]
    settings: Mapping[str, Mapping[str, Any]]
    window: int | None
    keep_bos: bool
    batch_size: int | None

    def described(self) -> dict[str, Any]:
        """What a pass that goes on must have in common with the one that was stopped."""
        return {
            "model": self.model.name,
            "sites": [str(site) for site in self.sites],
            "settings": {name: dict(own) for name, own in self.settings.items()},
            "window": self.window,
            "keep_bos": self.keep_bos,
            "batch_size": self.batch_size,
        }


def _asked(
    model: Any,
    sites: Any,
    what: str | Sequence[str],
    window: int | None,
    keep_bos: bool,
    k: int,
    batch_size: int | None,
) -> _Asked:
    """A checked request. Raises: StatisticError, SiteError."""
    names = [what] if isinstance(what, str) else list(dict.fromkeys(what))
    if not names:
        raise StatisticError(f"what: none given; expected one or more of {', '.join(STATISTICS)}.")
    for name in names:
        STATISTICS[name]  # Raises.
    for name, value in (("window", window), ("batch_size", batch_size)):
        if value is not None:
            count(value, name, StatisticError, least=3 if name == "window" else 1)
    if "positions" in names and window is None:
        raise StatisticError("statistic 'positions' compares prompts of one length; give window=, the tokens of each.")
    own: dict[str, dict[str, Any]] = {"examples": {"k": count(k, "k", StatisticError)}}
    if window is not None:
        own["positions"] = {"window": window - (not keep_bos)}
    settings = {name: own.get(name, {}) for name in names}
    return _Asked(model, tuple(resolved(model, sites)), settings, window, keep_bos, batch_size)


@dataclass
class _Walk:
    """A pass as far as it has come."""

    asked: _Asked
    prompts: Iterator[list[int]]
    out: Path | None
    max_memory: int | str | None
    found: Summary = field(init=False)
    done: int = 0
    behind: int = 0
    digest: str = ""
    seen: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        asked = self.asked
        self.found = Summary(asked.model.name, {}, keep_bos=asked.keep_bos, window=asked.window)
        if self.out is not None and self.out.exists():
            self._take_up(self.out)

    def batches(self) -> Iterator[int]:
        """Run what is left, and say of each batch how many prompts it had. Raises: TaskError where what was run before the pass was stopped were
        other prompts."""
        at = 0
        for i, batch in enumerate(batches_of(self._windows(), self.asked.model, self.asked.batch_size), start=1):
            at += len(batch)
            self.seen.update(json.dumps(batch).encode())
            if at > self.behind:
                self._add(batch)
                if self.out is not None and i % _OFTEN == 0:
                    self._save(self.out)
            elif at == self.behind and self.seen.hexdigest() != self.digest:
                raise TaskError(_OTHER)
            yield len(batch)
        if at < self.behind:
            raise TaskError(_OTHER)

    def finished(self) -> Summary:
        """The whole summary. Raises: StatisticError where no token counted."""
        if not self.found.n_tokens:
            first = "" if self.asked.keep_bos else ", the first of each prompt left out (keep_bos=True counts it)"
            raise StatisticError(f"no token of the data counts{first}; expected one or more.")
        if self.out is not None:
            self._save(self.out)
        return self.found

    def _windows(self) -> Iterable[list[int]]:
        """The prompts, or the windows of documents."""
        for ids in self.prompts:
            window = self.asked.window
            if window is None:
                yield ids
                continue
            pieces = [ids[i : i + window] for i in range(0, len(ids) - window + 1, window)]
            self.found = replace(self.found, n_dropped=self.found.n_dropped + len(ids) - window * len(pieces))
            yield from pieces

    def _add(self, batch: list[list[int]]) -> None:
        values = run_batch(self.asked.model, self.asked.sites, batch, self.found.n_prompts)
        counts = torch.ones_like(values["position"], dtype=torch.bool)
        if not self.asked.keep_bos:
            counts = values["position"] > 0
        where = {key: values[key][counts] for key in ("example", "position", "token")}
        if not self.found.accumulators:
            self.found = replace(
                self.found, accumulators=self._made({s: values[str(s)].flatten(1) for s in self.asked.sites})
            )
        for site in self.asked.sites:
            self._update(str(site), values[str(site)].flatten(1)[counts], where)
        n = self.found.n_prompts + len(batch)
        self.found = replace(self.found, n_prompts=n, n_tokens=self.found.n_tokens + int(counts.sum()))
        self.done += len(batch)

    def _update(self, site: str, x: Tensor, where: Mapping[str, Tensor]) -> None:
        """Add the tokens of a batch at one site. Raises: StatisticError for numbers that are not finite, with prompt and position."""
        if not finite(x):
            token, unit = (~torch.isfinite(x)).nonzero()[0].tolist()
            prompt, position = (int(where[key][token]) for key in ("example", "position"))
            raise StatisticError(
                f"{site} is not finite at unit {unit}, prompt {prompt}, position {position}; try dtype float32, or look at the model with "
                "circuits verify."
            )
        for accumulator in self.found.accumulators[site].values():
            accumulator.update(x, where)

    def _made(self, values: Mapping[Any, Tensor]) -> dict[str, dict[str, Accumulator]]:
        """New accumulators for vectors of these widths. Raises: StatisticError where they take more than they may."""
        widths = {str(site): x.shape[1] for site, x in values.items()}
        settings = self.asked.settings
        need = sum(
            STATISTICS[s].accumulator.bytes_for(w, **own) for w in widths.values() for s, own in settings.items()
        )
        most = MOST_BYTES if self.max_memory is None else parse_bytes(self.max_memory)
        if need > most:
            raise StatisticError(
                f"{', '.join(settings)} at {len(widths)} sites take {need / 2**30:.3g} GiB, more than {most / 2**30:.3g} GiB; give fewer sites or "
                "statistics, or max_memory=."
            )
        return {s: {name: accumulator_for(name, w, **own) for name, own in settings.items()} for s, w in widths.items()}

    # ------------------------------------------------------------ a pass that goes on

    def _save(self, out: Path) -> None:
        self.found.save(out, {"asked": self.asked.described(), "done": self.done, "digest": self.seen.hexdigest()})

    def _take_up(self, out: Path) -> None:
        """Go on from a file, where a pass has begun there. Raises: StatisticError for one of other options."""
        found, known = opened(out)
        asked, mine = known.get("asked"), json.loads(json.dumps(self.asked.described()))
        if not isinstance(asked, dict) or asked.keys() != mine.keys():
            raise StatisticError(f"{str(out)!r} holds no pass that can go on; give another file.")
        if odd := [key for key, value in mine.items() if asked[key] != value]:
            raise StatisticError(f"{str(out)!r} holds a pass with other {', '.join(odd)}; give another file.")
        self.found, self.behind, self.digest = replace(found, n_dropped=0), known["done"], known["digest"]
        self.done = self.behind
