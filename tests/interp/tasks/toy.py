"""Tasks of random tokens, for models that know no words; their prompts, and what their metric is, by hand."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from tests.interp.model.tiny import VOCAB


def toy_task(n: int = 4, lengths: Sequence[int] = (6,), seed: int = 0, changed: int = 1) -> Task:
    """Pairs of random ids that differ in `changed` tokens; lengths cycle; one span `head` and one `tail`."""
    rng = random.Random(seed)
    pairs = []
    for i in range(n):
        length = lengths[i % len(lengths)]
        clean = [rng.randrange(3, VOCAB) for _ in range(length)]
        corrupt = list(clean)
        for at in rng.sample(range(length - 1), changed):
            corrupt[at] = rng.choice([t for t in range(3, VOCAB) if t != clean[at]])
        answer, wrong = rng.sample(range(3, VOCAB), 2)
        spans = {"head": (0, 2), "tail": (length - 1, length)}
        found = TokenPair(tuple(clean), tuple(corrupt), (answer,), (wrong,), spans)
        pairs.append(Pair("", "", (), (), spans, found))
    return Task("toy", tuple(pairs))


def answered(model: Any, task: Task) -> Task:
    """The task with the answers that tell clean from corrupt prompts best on this model, so that m(full) > m(empty)."""
    pairs = []
    for pair in task.pairs:
        ids = pair.ids
        assert ids is not None
        clean, corrupt = (model.run(torch.tensor([list(p)])).logits[0, -1] for p in (ids.clean, ids.corrupt))
        best, worst = int((clean - corrupt).argmax()), int((clean - corrupt).argmin())
        pairs.append(dataclasses.replace(pair, ids=dataclasses.replace(ids, answers=(best,), wrong=(worst,))))
    return Task(task.name, tuple(pairs))


def with_twins(model: Any, task: Task) -> Task:
    """The task with corrupt prompts of other tokens that are the same to the model: from now on it embeds tokens 2i and 2i + 1 alike."""
    weight = model.hf.get_input_embeddings().weight
    with torch.no_grad():
        weight[1::2] = weight[::2]
    pairs = [(pair, pair.ids) for pair in task.pairs]
    twins = [(p, dataclasses.replace(i, corrupt=tuple(t ^ 1 for t in i.clean))) for p, i in pairs if i is not None]
    return dataclasses.replace(task, pairs=tuple(dataclasses.replace(p, ids=i) for p, i in twins))


def pairs_of(task: Task) -> list[TokenPair]:
    """The pairs of token ids."""
    return task.tokenize(None, VOCAB)


def ends(pairs: Sequence[TokenPair], direction: str) -> tuple[Tensor, Tensor]:
    """Ids of the base and of the source run [batch pos], of pairs of one length."""
    clean, corrupt = torch.tensor([p.clean for p in pairs]), torch.tensor([p.corrupt for p in pairs])
    return (corrupt, clean) if direction == "denoise" else (clean, corrupt)


def measured(logits: Tensor, pairs: Sequence[TokenPair]) -> Tensor:
    """Logit difference at the last position [batch], by hand."""
    return torch.stack([row[-1, p.answers[0]] - row[-1, p.wrong[0]] for row, p in zip(logits, pairs, strict=True)])
