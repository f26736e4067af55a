"""What is explained in place of a task's answers: a text of one token or several behind each prompt, a class, a token at the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.parts.named_inputs import Example
from interp.parts.texts import ids_of, n_unknown
from interp.tasks.metric import Metric
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.targets import Targets
from interp.tasks.task import Task
from interp.whole_numbers import is_whole, whole

#: A text or a class by its name, a token or class by its number; or one of these for each pair.
Target = str | int | Sequence[str] | Sequence[int]


def aimed(task: Task, target: Target, tokenizer: Any) -> Task:
    """The task with a target in place of the answers of each pair, and no wrong ones.

    Raises: TaskError for targets of another number than there are pairs, an empty one, one with words that the vocabulary lacks.
    """
    alone = isinstance(target, str) or is_whole(target)
    each: list[Any] = [target] * len(task) if alone else list(target)  # type: ignore[arg-type]
    if len(each) != len(task):
        raise TaskError(f"target: {len(each)} given for {len(task)} pairs; expected one, or one for each pair.")
    pairs = (_aimed(p, each[i], tokenizer, task.where(i)) for i, p in enumerate(task.pairs))
    return replace(task, pairs=tuple(pairs))


def _aimed(pair: Pair, target: Any, tokenizer: Any, where: str) -> Pair:
    if isinstance(target, str) and not target:
        raise TaskError(f"{where}: target is empty; expected text of at least one token.")
    if not isinstance(target, str):
        ids: tuple[int, ...] = (whole(target, f"{where}: target", TaskError),)
    elif pair.ids is not None:
        ids = _known(target, tokenizer, where)
    else:
        return replace(pair, answers=(target,), wrong=(), answer_ids=(), wrong_ids=(), where=where)
    if pair.ids is None:
        return replace(pair, answers=(), wrong=(), answer_ids=ids, wrong_ids=(), where=where)
    return replace(pair, answers=(), wrong=(), ids=_behind(pair.ids, ids), where=where)


def _known(target: str, tokenizer: Any, where: str) -> tuple[int, ...]:
    """The tokens of a text that stands behind ids. Raises: TaskError for words that the vocabulary lacks."""
    found = ids_of(tokenizer, target, special=False)
    if not found or n_unknown(tokenizer, target, found):
        raise TaskError(
            f"{where}: target {target!r} is not in the tokeniser's vocabulary. Expected tokens of the model."
        )
    return tuple(found)


def _behind(pair: TokenPair, ids: tuple[int, ...]) -> TokenPair:
    """A pair of ids with other tokens for its answer."""
    *forced, last = ids
    sides = [side if isinstance(side, Example) else (*side, *forced) for side in pair.prompts]
    return TokenPair(sides[0], sides[1], (last,), (), pair.spans, len(forced))


def tokens_of(pair: TokenPair) -> tuple[int, ...]:
    """The tokens of a pair's answer, or its class."""
    return pair.continuation or pair.answers


def of_token(k: int) -> Metric:
    """The log-probability of token `k` of an answer of several, behind those before it; 0 where it has fewer."""
    return Metric(
        f"log_prob of token {k}", _of_token(k), "nats", "log-probability of one token", needs_wrong=False, several=True
    )


def _of_token(k: int) -> Callable[[Tensor, Targets], Tensor]:
    def log_prob(logits: Tensor, t: Targets) -> Tensor:
        if t.forced is None:
            found = torch.log_softmax(logits, dim=-1)
            return torch.logsumexp(found.masked_fill(t.answers == 0, -torch.inf), dim=-1) * (k == 0)
        place = (t.forced < 0).sum(-1) + k
        found = torch.log_softmax(logits, dim=-1)
        own = torch.cat([t.forced.clamp(min=0), t.answers.argmax(-1, keepdim=True)], dim=1)
        each = found.gather(2, own[:, :, None]).squeeze(2)
        there = place < each.shape[1]
        taken = each.gather(1, place.clamp(max=each.shape[1] - 1)[:, None]).squeeze(1)
        return torch.where(there, taken, 0.0)

    return log_prob
