"""What it costs the model that its activations are replaced: cross-entropy of the next token under replacements of a site.

Tokens that do not count (BOS, padding) keep what they have in every run, as they had no part in training; a BOS is never
predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_stream import encoded
from interp.dictionaries.evaluation.evaluated_text import Batch
from interp.model.edits import Edit
from interp.precision import wide

Make = Callable[[Tensor], Tensor]


def scored(batch: Batch, bos: int | None) -> Tensor:
    """Where the next token is predicted and compared [batch pos-1]: it is no padding and no BOS."""
    following = batch.ids[:, 1:]
    return batch.real[:, 1:] & (following != bos) if bos is not None else batch.real[:, 1:]


def cross_entropy(logits: Tensor, ids: Tensor, where: Tensor) -> float:
    """Sum over `where` [batch pos-1] of -log p(next token), from logits [batch pos d_vocab]. Units: nats."""
    chosen = wide(logits[:, :-1][where.to(logits.device)])
    targets = ids[:, 1:][where].to(logits.device)
    return float(torch.nn.functional.cross_entropy(chosen, targets, reduction="none").double().sum())


def reconstruction(dictionary: Dictionary, x: Tensor) -> Tensor:
    """What the dictionary makes of x [token d_in]: [token d_out], a few tokens at a time."""
    parts = [dictionary.decode(f, x[at].to(f.device)) for at, f in encoded(dictionary, x)]
    return torch.cat(parts) if parts else x.new_zeros(0, dictionary.d_out)


def splicing(dictionary: Dictionary, counted: Tensor) -> list[Edit]:
    """Edits that put the dictionary's output, without its error, at its target, of what its site holds in the same run."""
    entering: list[Tensor] = []

    def remember(x: Tensor) -> Tensor:
        entering.append(x.flatten(2)[counted])
        return x

    def put(y: Tensor) -> Tensor:
        x = entering.pop() if dictionary.transcoder else y.flatten(2)[counted]
        return _replaced(y, counted, reconstruction(dictionary, x))

    first = [Edit(dictionary.site, remember)] if dictionary.transcoder else []
    return [*first, Edit(dictionary.target, put)]


def replacing_by(dictionary: Dictionary, counted: Tensor, value: Tensor) -> list[Edit]:
    """Edits that put one vector [d_out] at the dictionary's target."""
    return [Edit(dictionary.target, lambda y: _replaced(y, counted, value))]


def _replaced(y: Tensor, counted: Tensor, value: Tensor) -> Tensor:
    new = y.flatten(2).clone()
    new[counted] = value.to(new)
    return new.view(y.shape)


def total_cross_entropy(model: Any, batch: Batch, edits: Sequence[Edit], bos: int | None) -> float:
    """The summed cross-entropy of one batch with some edits."""
    with torch.no_grad():
        logits = model.run(batch.ids, edits=list(edits)).logits
    return cross_entropy(logits, batch.ids, scored(batch, bos))
