"""The answer before and after each half of the last block: does the end of a model suppress what it knows?

Axis words: `example half`; the halves are attention and MLP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.effects.answer_ends import Ends, Prompts, ends_of
from interp.effects.neuron_check import weights_of
from interp.errors import LayoutError
from interp.formatting.numbers import several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.lenses.effect_measures import log_probs
from interp.lenses.head_logits import Head
from interp.lenses.stream import FINAL, Stream
from interp.model.modules.lock import settled
from interp.model.modules.tensors import close
from interp.parts.sites import Site
from interp.tasks.task import Task

HALVES: Final = ("attention", "mlp")


@dataclass(frozen=True, eq=False, repr=False)
class LastBlock(Table):
    """What the two halves of the last block do to the answer.

    log_prob_before, log_prob_after: of the answers, the stream on either side of a half read with the final norm at its own scale
    [example half]. logits: what the half adds to the mean logit of the answers, and increases: to their log-probability, the norm frozen at the run
    [example half]; an increase is logit + others, where others is what it takes from, or leaves to, all other tokens (minus
    the change of log sum exp).
    """

    log_prob_before: np.ndarray = field(metadata=along(1))
    log_prob_after: np.ndarray = field(metadata=along(1))
    logits: np.ndarray = field(metadata=along(1))
    increases: np.ndarray = field(metadata=along(1))
    layer: int
    model: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.logits), len(HALVES))
        names = ("log_prob_before", "log_prob_after", "logits", "increases")
        check_sizes(self, **{name: (getattr(self, name).shape, shape) for name in names})

    @property
    def others(self) -> np.ndarray:
        """What of the increase is not the answer's own logit [example half]."""
        return np.asarray(self.increases - self.logits)

    @property
    def share_lowered(self) -> float:
        """Of the prompts, those whose answer is less probable behind the block than in front of it."""
        return float((self.log_prob_after[:, -1] < self.log_prob_before[:, 0]).mean())

    def to_pandas(self) -> Any:
        """A row per half: half, p_before, p_after, logit, logit_lowered (share of prompts), increase (nats), increase_lowered, others."""
        found: dict[str, Any] = {"half": HALVES}
        found |= {"p_before": np.exp(self.log_prob_before).mean(0), "p_after": np.exp(self.log_prob_after).mean(0)}
        found |= {"logit": self.logits.mean(0), "logit_lowered": (self.logits < 0).mean(0)}
        found |= {"increase": self.increases.mean(0), "increase_lowered": (self.increases < 0).mean(0)}
        return rows_of({**found, "others": self.others.mean(0)})

    def __str__(self) -> str:
        said = f"lower behind it on {self.share_lowered:.0%} of prompts"
        lines = [
            f"LastBlock(layer {self.layer}, {several(len(self.logits), 'prompt')}, {visible(self.model, 80)}; {said})"
        ]
        for row in self.to_pandas().itertuples():
            probability = f"p {row.p_before:.3f} -> {row.p_after:.3f}"
            logit = f"logit {row.logit:+.3f} (lowered on {row.logit_lowered:.0%})"
            lines.append(
                f"  {row.half:<9} {probability}  {logit}  log p {row.increase:+.3f} (lowered on {row.increase_lowered:.0%})"
            )
        return printed("\n".join(lines))


@kinds_checked
def last_block(model: Any, task: Task, *, prompts: Prompts = "clean", batch_size: int | None = None) -> LastBlock:
    """The probability and the logit of the answer before and after attention and MLP of the last block.

    Both units are always given: an MLP may raise the answer's logit and lower its probability. Of parallel halves the MLP is counted second.
    Units: nats, logits before a soft cap. Cost: F. Source: the claim is of Lv et al. 2024, "Interpreting key mechanisms of
    factual recall in transformer-based language models".
    Raises: LayoutError where a norm acts on sums, or the block is not attention and one MLP; TaskError for answers of several tokens.
    """
    what, layout = "the last block", model.layout
    layout.check_blocks(what)
    layer = layout.n_layers - 1
    if layout.blocks[layer].attn is None or layout.blocks[layer].mlp is None:
        raise LayoutError(f"{what} of {model.name} is not attention and an MLP, so there are no two halves of it.")
    sites = [Site(kind, layer) for kind in ("resid_pre", "attn_out", "mlp_out")]
    ends = ends_of(model, task, sites, what=what, prompts=prompts, batch_size=batch_size)
    with settled(model.device), torch.no_grad():
        start, attention, mlp = (ends.values[site] for site in sites)
        places = [start, start + attention, ends.values[FINAL]]
        if not close((places[1] + mlp).to(model.dtype), places[2].to(model.dtype)):
            raise LayoutError(
                f"{what} of {model.name} adds more to the stream than attention and MLP; it has no two halves."
            )
        before, after, logits, increases = _measured(ends, places, [attention, mlp])
    return LastBlock(before, after, logits, increases, layer, model.name, task.name)


def _measured(ends: Ends, places: list[Tensor], parts: list[Tensor]) -> list[np.ndarray]:
    """log p before and after, logit, increase [example half each]. places: the stream before, between and behind; parts: what the halves add."""
    head, answers = Head.of(ends.model), weights_of(ends)[0]

    def log_p(x: Tensor, stream: Stream) -> Tensor:
        return log_probs(head.logits(head.read(stream.normed(x)))[:, None], answers)[:, 0]

    own = torch.stack([log_p(x, Stream(ends.model, {FINAL: x})) for x in places], 1)
    frozen = torch.stack([log_p(x, ends.stream) for x in places], 1)
    logits = [(head.read(ends.stream.normed(part)).double() * answers).sum(-1) for part in parts]
    found = own[:, :-1], own[:, 1:], torch.stack(logits, 1), frozen.diff(dim=1)
    return [x.double().cpu().numpy() for x in found]
