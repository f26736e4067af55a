"""What is at the place where the answers of a task are read, for all prompts together, and what the model's head makes of it.

Axis words: `example part d_model d_vocab`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import InterpError, TaskError, unknown
from interp.lenses.stream import FINAL, Stream, at_place, read_place
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.task import Task

Prompts = Literal["clean", "corrupt"]


@dataclass(frozen=True, eq=False)
class Ends:
    """One run of all prompts at the place that is read. values: site -> [example ...] in float64; logits: the model's own [example d_vocab]."""

    model: Any
    pairs: tuple[TokenPair, ...]
    values: Mapping[Site, Tensor]
    logits: Tensor

    @property
    def stream(self) -> Stream:
        """What parts add here, norms frozen at this run."""
        return Stream(self.model, self.values)

    def seen_by(self, base: Ends) -> Stream:
        """What parts add here, behind the final norm of another run."""
        return Stream(self.model, {**self.values, FINAL: base.values[FINAL]})

    @property
    def has_wrong(self) -> bool:
        """Whether every pair has wrong answers."""
        return all(pair.wrong for pair in self.pairs)


def ends_of(
    model: Any,
    task: Task,
    sites: Sequence[Site],
    *,
    what: str,
    prompts: Prompts = "clean",
    edits: Sequence[Edit] = (),
    batch_size: int | None = None,
) -> Ends:
    """Run the prompts of a task and keep `sites`, and what enters the final norm, where the answers are read. Cost: F.

    what: who needs it, for messages. Raises: TaskError for answers of several tokens; LayoutError where norms act on sums, or the output is no
    norm and linear map of one position; InterpError for numbers that are not finite.
    """
    pairs, place = task_pairs(model, task, what, prompts), read_place(model, what)
    wanted = list(dict.fromkeys([*sites, FINAL]))
    kept: dict[Site, list[Tensor]] = {site: [] for site in wanted}
    logits, order = [], []
    lengths = [pair.length for pair in pairs]
    with settled(model.device), torch.no_grad():
        for index in by_length(lengths, batch_size or default_batch_size(model, max(lengths))):
            ids = run_of([getattr(pairs[i], prompts) for i in index])
            run = model.run(ids, reads=wanted, edits=list(edits), logits_to_keep=1)
            for site, x in at_place(run.reads, place).items():
                kept[site].append(x)
            logits.append(run.logits[:, -1].double() if run.logits.ndim == 3 else run.logits.double())
            order += [int(i) for i in index]
        back = torch.tensor(order, device=logits[0].device).argsort()
        values = {site: torch.cat(parts)[back] for site, parts in kept.items()}
        found = torch.cat(logits)[back]
    if not bool(torch.isfinite(found).all()):
        raise InterpError(f"{what}: the model gives logits that are not finite; run it in a wider dtype.")
    return Ends(model, tuple(pairs), values, found)


def task_pairs(model: Any, task: Task, what: str, prompts: str = "clean") -> list[TokenPair]:
    """The pairs of a task. Raises: TaskError for answers of several tokens, and for prompts of another name."""
    if prompts not in ("clean", "corrupt"):
        raise TaskError(unknown("prompts", prompts, ("clean", "corrupt")))
    model.layout.check_sum(what)
    return list(task.tokenize(model.tokenizer, model.outputs))
