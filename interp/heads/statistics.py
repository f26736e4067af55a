"""What every head looks at on the whole, over many texts: a table of heads and measures, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.errors import InterpError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.heads.looking import Prompts, Watched, looks, prompts_of
from interp.heads.row_measures import Offset, keys_of, measured, offsets_of, token_sets
from interp.tasks.pairs.token_pairs import Prompt
from interp.tasks.task import Task
from interp.whole_numbers import count

RESAMPLES: Final = 1000


@dataclass(frozen=True, eq=False, repr=False)
class HeadStatistics(Table):
    """What every head looks at: a number for each text, head and measure.

    heads: names, layer by layer. measures: see `interp.heads.row_measures`. per_example: [example head measure], each the mean over the queries
    of one text that have such a key, so that long texts weigh as much as short ones; nan where no query of a text has one.
    Units: nats for entropies, attention weight (0 to 1) for all else.
    """

    heads: tuple[str, ...]
    measures: tuple[str, ...]
    per_example: np.ndarray = field(metadata=along(1, 2, finite=False))
    model: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        n = len(self.per_example)
        check_sizes(self, per_example=(self.per_example.shape, (n, len(self.heads), len(self.measures))))

    @property
    def n(self) -> np.ndarray:
        """How many texts have each measure [measure]."""
        return np.asarray(np.isfinite(self.per_example[:, 0]).sum(0))

    @property
    def mean(self) -> np.ndarray:
        """Mean over the texts that have it [head measure]; nan where none has."""
        return np.asarray(_means(self.per_example, np.ones((1, len(self.per_example))))[0])

    @cached_property
    def interval(self) -> np.ndarray:
        """95 % bootstrap interval of the mean, over texts [head measure end]; nan below two texts."""
        n = len(self.per_example)
        weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        found = np.full((*self.mean.shape, 2), np.nan)
        for at, texts in enumerate(self.n):
            if texts > 1:
                each = _means(self.per_example[:, :, at], weights)
                found[:, at] = np.nanquantile(each, [0.025, 0.975], axis=0).T
        return found

    def __getitem__(self, measure: str) -> np.ndarray:
        """The mean of one measure [head]. Raises: InterpError with the near names."""
        return np.asarray(self.mean[:, self._place(measure)])

    def largest(self, measure: str, k: int = 10) -> tuple[tuple[str, float], ...]:
        """The `k` heads with most of a measure, and how much. Raises: InterpError for an unknown one."""
        values, k = self[measure], count(k, "k")
        order = [int(i) for i in np.argsort(-values, kind="stable") if np.isfinite(values[i])]
        return tuple((self.heads[i], float(values[i])) for i in order[:k])

    def to_pandas(self) -> Any:
        """A row per head and measure: head, measure, mean, low, high (95 % interval), n (texts)."""
        places = [(h, m) for h in range(len(self.heads)) for m in range(len(self.measures))]
        ends = self.interval.reshape(-1, 2)
        found = {"head": [self.heads[h] for h, _ in places], "measure": [self.measures[m] for _, m in places]}
        return rows_of(
            {
                **found,
                "mean": self.mean.reshape(-1),
                "low": ends[:, 0],
                "high": ends[:, 1],
                "n": np.tile(self.n, len(self.heads)),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the rows, numbers that do not exist as null."""
        rows = self.to_pandas().astype(object)
        return {"model": self.model, "task": self.task, "rows": rows.where(rows.notna(), None).to_dict("records")}

    def __str__(self) -> str:
        lines = [f"HeadStatistics({len(self.heads)} heads, {len(self.per_example)} texts, {visible(self.model, 80)})"]
        for measure in self.measures[:12]:
            most = self.largest(measure, 3)
            shown = ", ".join(f"{head} {value:.3f}" for head, value in most) or "no text has it"
            lines.append(f"  {visible(measure, 40):<20} most: {shown}")
        return printed("\n".join(lines))

    def _place(self, measure: str) -> int:
        if measure not in self.measures:
            raise InterpError(unknown("measure", measure, self.measures))
        return self.measures.index(measure)


def _means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means over the examples that have a number: values [example ...], weights [row example] -> [row ...]."""
    known = np.isfinite(values)
    total = np.tensordot(weights, np.where(known, values, 0.0), 1)
    n = np.tensordot(weights, known.astype(float), 1)
    return np.asarray(np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0))


@kinds_checked
def head_statistics(
    model: Any,
    texts: Any,
    *,
    offsets: Sequence[Offset] | None = None,
    tokens: Mapping[str, Any] | None = None,
    layers: Sequence[int] | None = None,
    stack: str | None = None,
    prompts: Prompts = "clean",
    batch_size: int | None = None,
) -> HeadStatistics:
    """What every head looks at, over many texts: entropy, and the weight on the token itself, at fixed offsets, on sets of tokens, on an earlier
    copy of the token, on what followed that copy (induction), and on the first token (sink). See `interp.heads.row_measures`.

    texts: a list of texts or ids, a task (its `prompts`), or images or sounds as `model.run` takes them. offsets: whole numbers of tokens, or
    (rows, columns) of patches. tokens: names of sets, each a list of texts of one token or ids; by default `special`. stack: whose heads, by
    its prefix, of a model with several (`encoder`); by default the one that is read last.
    Cost: one forward for each text; memory: the patterns of a few texts, and one number for each text, head and measure.
    Source: Clark et al. 2019, "What does BERT look at?"; Olsson et al. 2022 (induction); Xiao et al. 2023 (sinks).
    Raises: TaskError for no texts, offsets that no query has, sets of no tokens; SiteError where there is no pattern to read.
    """
    watched, rows = Watched.of(model, layers, stack), prompts_of(model, texts, prompts)
    sets, causal = _sets(watched, tokens, rows), watched.causal
    found: list[Any] = [None] * len(rows)
    names: dict[str, None] = {}
    for look in looks(watched, rows, batch_size):
        grid = watched.grid(look.prompts[0])
        asked = offsets_of(offsets, grid, causal)
        keys = keys_of(
            look.weights.shape[-1], _ids(watched, look.prompts), causal=causal, offsets=asked, sets=sets, grid=grid
        )
        each = measured(look.weights.double(), keys, not causal and watched.starts_with_cls(look.prompts[0]))
        names |= dict.fromkeys(each)
        for b, place in enumerate(look.places):
            found[place] = {name: values[b].numpy() for name, values in each.items()}
    missing = np.full(len(watched.names), np.nan)
    table = np.array([[row.get(name, missing) for name in names] for row in found]).transpose(0, 2, 1)
    task = texts.name if isinstance(texts, Task) else ""
    return HeadStatistics(watched.names, tuple(names), np.ascontiguousarray(table), model.name, task)


def _ids(watched: Watched, prompts: Sequence[Prompt]) -> Tensor | None:
    """Token ids [batch pos]; None where the stack reads no text."""
    rows = [ids for prompt in prompts if (ids := watched.ids(prompt)) is not None]
    return torch.tensor(rows) if rows else None


def _sets(watched: Watched, tokens: Mapping[str, Any] | None, rows: Sequence[Prompt]) -> dict[str, tuple[int, ...]]:
    """The sets of tokens; the special ones, which nobody asked for, where some text has one."""
    found = token_sets(tokens, watched.model.tokenizer)
    seen = {i for row in rows for i in watched.ids(row) or ()}
    return found if tokens is not None else {name: ids for name, ids in found.items() if seen & set(ids)}
