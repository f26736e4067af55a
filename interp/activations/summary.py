"""What is true of the activations of a corpus: statistics by site, in one value that is a file too."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor

import interp
from interp.errors import unknown
from interp.files import replacing
from interp.formatting.showing import card, figure
from interp.formatting.table import rows_of
from interp.parts.sites import Site
from interp.statistics.accumulator import Accumulator, StatisticError, accumulator_for

FORMAT: Final = 1
#: What two summaries must have in common to be merged.
_COMMON: Final = ("model", "keep_bos", "window")


@dataclass(frozen=True, eq=False, repr=False)
class Summary(Mapping[str, Mapping[str, dict[str, Tensor]]]):
    """Statistics of the activations of a corpus: `summary["mlp_post.3"]["moments"]["mean"]`.

    accumulators: by site and by the name of the statistic. n_tokens: tokens that count; n_prompts: prompts, or windows of documents; n_dropped: tokens
    of documents that filled no window. keep_bos: whether the first token of each prompt counts. window: the tokens of a window.
    """

    model: str
    accumulators: Mapping[str, Mapping[str, Accumulator]]
    n_tokens: int = 0
    n_prompts: int = 0
    n_dropped: int = 0
    keep_bos: bool = False
    window: int | None = None

    def __getitem__(self, site: str | Site) -> Mapping[str, dict[str, Tensor]]:
        if str(site) not in self.accumulators:
            raise StatisticError(unknown("site of the summary", str(site), self.accumulators))
        return _Results(self.accumulators[str(site)])

    def __iter__(self) -> Iterator[str]:
        return iter(self.accumulators)

    def __len__(self) -> int:
        return len(self.accumulators)

    def merge(self, other: Summary) -> Summary:
        """One of what both have seen. Of sums it is that of one pass over both corpora. Raises: StatisticError for those of other models, sites,
        statistics, windows, or rules for first tokens."""
        for name in _COMMON:
            if getattr(self, name) != getattr(other, name):
                raise StatisticError(
                    f"merging summaries with {name} {getattr(self, name)!r} and {getattr(other, name)!r}; expected the same."
                )
        own = {site: tuple(found) for site, found in self.accumulators.items()}
        if own != {site: tuple(found) for site, found in other.accumulators.items()}:
            raise StatisticError("merging summaries of other sites or statistics; expected the same in both.")
        joined = copy.deepcopy(dict(self.accumulators))
        for site, found in joined.items():
            for name, accumulator in found.items():
                accumulator.merge(other.accumulators[site][name])
        counts = {name: getattr(self, name) + getattr(other, name) for name in ("n_tokens", "n_prompts", "n_dropped")}
        return replace(self, accumulators=joined, **counts)

    def to_pandas(self) -> Any:
        """A row for each site and unit (of what is one number for the site, unit is missing): site, unit, and a column for each statistic of a unit."""
        import pandas as pd

        frames = []
        for site in self:
            units: dict[str, Any] = {}
            for found in self[site].values():
                units |= {key: x.numpy() for key, x in found.items() if x.ndim == 1 and len(x) == self.width(site)}
            if units:
                frames.append(rows_of({"site": [site] * self.width(site), "unit": range(self.width(site)), **units}))
        return pd.concat(frames, ignore_index=True) if frames else rows_of({"site": [], "unit": []})

    def numbers(self) -> Any:
        """A row for each site: what statistics say of a site in one number."""
        rows = []
        for site in self:
            row: dict[str, Any] = {"site": site}
            for found in self[site].values():
                row |= {key: x.item() for key, x in found.items() if x.ndim == 0}
            rows.append(row)
        import pandas as pd

        return pd.DataFrame(rows)

    def width(self, site: str) -> int:
        """How many units a site has."""
        return next(iter(self.accumulators[site].values())).width

    def plot(self, **options: Any) -> Any:
        """A plotly figure."""
        return figure(self, **options)

    def _repr_html_(self) -> str:
        return str(card(self))

    def __str__(self) -> str:
        names = ", ".join(next(iter(self.accumulators.values()), {}))
        dropped = f", {self.n_dropped} in no window" if self.n_dropped else ""
        return f"Summary({self.model!r}, {len(self)} sites, {self.n_tokens} tokens of {self.n_prompts} prompts{dropped}: {names})"

    __repr__ = __str__

    # ------------------------------------------------------------ files

    def save(self, path: str | Path, beside: Mapping[str, Any] | None = None) -> None:
        """Write a safetensors file whose header says the rest, in one step. beside: plain data to keep with it."""
        from safetensors.torch import save_file

        tensors = {
            f"{site}|{name}|{key}": x.contiguous()
            for site, found in self.accumulators.items()
            for name, accumulator in found.items()
            for key, x in accumulator.state().items()
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(tensors, temporary, {"summary": json.dumps(self._header() | {"beside": dict(beside or {})})})

    def _header(self) -> dict[str, Any]:
        kept = ("model", "n_tokens", "n_prompts", "n_dropped", "keep_bos", "window")
        sites = {
            site: {name: {"width": a.width, **a.settings} for name, a in found.items()}
            for site, found in self.accumulators.items()
        }
        return {"format": FORMAT, "version": interp.__version__, **{k: getattr(self, k) for k in kept}, "sites": sites}

    @classmethod
    def load(cls, path: str | Path) -> Summary:
        """Read what `save` wrote. Raises: StatisticError for a file that is not whole, or of something else."""
        return opened(path)[0]


def opened(path: str | Path) -> tuple[Summary, dict[str, Any]]:
    """A summary of a file, and what was kept beside it. Raises: StatisticError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            written = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = json.loads(written["summary"])
        beside = header.pop("beside")
        if header.pop("format") != FORMAT:
            raise StatisticError(f"{str(path)!r} holds a summary of another format; expected {FORMAT}.")
        header.pop("version")
        accumulators = {
            site: {name: _restored(f"{site}|{name}|", name, dict(given), tensors) for name, given in own.items()}
            for site, own in header.pop("sites").items()
        }
        return Summary(accumulators=accumulators, **header), dict(beside)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise StatisticError(
            f"{str(path)!r} holds no whole summary ({type(error).__name__}: {error!s:.120})."
        ) from error


class _Results(Mapping[str, dict[str, Tensor]]):
    """What the statistics of one site have found, worked out when it is asked for."""

    def __init__(self, accumulators: Mapping[str, Accumulator]) -> None:
        self._accumulators = accumulators

    def __getitem__(self, name: str) -> dict[str, Tensor]:
        if name not in self._accumulators:
            raise StatisticError(unknown("statistic of the summary", name, self._accumulators))
        return self._accumulators[name].result()

    def __iter__(self) -> Iterator[str]:
        return iter(self._accumulators)

    def __len__(self) -> int:
        return len(self._accumulators)


def _restored(prefix: str, name: str, given: dict[str, Any], tensors: Mapping[str, Tensor]) -> Accumulator:
    found = accumulator_for(name, given.pop("width"), **given)
    found.load({key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)})
    return found
