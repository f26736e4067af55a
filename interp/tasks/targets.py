"""What a metric measures against: the answer sets of a batch as columns, and the logits of other runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from interp.tasks.task import TokenPair


@dataclass(frozen=True)
class Targets:
    """What a batch is measured against.

    `answers`, `wrong` [batch d_vocab]: 1 / size on the tokens of the set, 0 elsewhere. `source`, `base`: logits of
    the two runs where the metric reads them, [batch d_vocab] or [batch pos d_vocab], without gradient. For a metric that
    reads the answers only, d_vocab may be some tokens, in the same order everywhere. `all_wrong`: every example has wrong tokens;
    the row of one without is 0.
    """

    answers: Tensor
    wrong: Tensor
    source: Tensor | None = None
    base: Tensor | None = None
    all_wrong: bool = True

    @cached_property
    def answered(self) -> Tensor:
        """The columns that are an answer of any example [column]: a sum over these few is much cheaper than over all."""
        return self.answers.any(0).nonzero().squeeze(1)


def answer_columns(pairs: list[TokenPair], device: torch.device) -> Tensor:
    """The token ids of all answers and wrong tokens of a batch [column], in order and each once."""
    ids = {token for pair in pairs for token in (*pair.answers, *pair.wrong)}
    return torch.tensor(sorted(ids), device=device)


def make_targets(pairs: list[TokenPair], d_vocab: int, device: torch.device, columns: Tensor | None = None) -> Targets:
    """The answer sets of a batch, without the runs: [batch d_vocab], or [batch column] for these token ids only."""
    ids = range(d_vocab) if columns is None else columns.tolist()
    place = {token: i for i, token in enumerate(ids)}
    answers, wrong = torch.zeros(2, len(pairs), len(ids), device=device, dtype=torch.float64)
    for i, pair in enumerate(pairs):
        answers[i, [place[token] for token in pair.answers]] = 1 / len(pair.answers)
        if pair.wrong:
            wrong[i, [place[token] for token in pair.wrong]] = 1 / len(pair.wrong)
    return Targets(answers, wrong, all_wrong=all(pair.wrong for pair in pairs))
