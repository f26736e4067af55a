"""What a metric measures against: the answer sets of a batch as columns, and the logits of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from interp.tasks.pairs.token_pairs import TokenPair


@dataclass(frozen=True)
class Targets:
    """What a batch is measured against.

    `answers`, `wrong` [batch d_vocab]: 1 / size on the tokens of the set, 0 elsewhere. `source`, `base`: logits of
    the two runs where the metric reads them, [batch d_vocab] or [batch pos d_vocab], without gradient. For a metric that
    reads the answers only, d_vocab may be some tokens, in the same order everywhere. `all_wrong`: every example has wrong tokens;
    the row of one without is 0. `forced`: where an answer is several tokens, the token that each position read but the last is
    to give [batch pos], -1 where none; the last one gives `answers`.
    """

    answers: Tensor
    wrong: Tensor
    source: Tensor | None = None
    base: Tensor | None = None
    all_wrong: bool = True
    forced: Tensor | None = None

    @property
    def n_read(self) -> int:
        """How many positions, counted from the last, give the answers."""
        return 1 if self.forced is None else 1 + self.forced.shape[1]

    @cached_property
    def answered(self) -> Tensor:
        """The columns that are an answer of any example [column]: a sum over these few is much cheaper than over all."""
        return self.answers.any(0).nonzero().squeeze(1)


def positions_read(pairs: Sequence[TokenPair]) -> int:
    """How many positions, counted from the last, give the answers of a batch: 1, and one more for each further token."""
    return 1 + max(pair.forced for pair in pairs)


def at_answers(logits: Tensor, pairs: Sequence[TokenPair]) -> Tensor:
    """The logits that give the answers, of runs on these pairs: [batch d_vocab] of the last position, or [batch pos d_vocab]
    where an answer is several tokens."""
    return last_of(logits, positions_read(pairs))


def last_of(logits: Tensor, n: int) -> Tensor:
    """The logits at the last `n` positions of [batch pos d_vocab]; without that axis where it is one."""
    return logits[:, -1] if n == 1 else logits[:, -n:]


def _forced(pairs: Sequence[TokenPair], device: torch.device) -> Tensor | None:
    """The tokens of the answers that stand in the runs, each at the position before it [batch pos]."""
    n = positions_read(pairs) - 1
    rows = [[-1] * (n - pair.forced) + list(pair.continuation[:-1]) for pair in pairs]
    return torch.tensor(rows, device=device) if n else None


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
    return Targets(answers, wrong, all_wrong=all(pair.wrong for pair in pairs), forced=_forced(pairs, device))
