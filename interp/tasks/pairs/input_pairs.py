"""Pairs of inputs that are no text: two images or sounds that differ in one fact, and the classes that tell the two apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.parts.named_inputs import Example
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import Spans
from interp.whole_numbers import is_whole

Answers = str | int | Sequence[str] | Sequence[int]


def InputPair(
    clean: Mapping[str, Any] | Tensor,
    corrupt: Mapping[str, Any] | Tensor,
    answers: Answers,
    wrong: Answers = (),
    *,
    names: tuple[str, str] | None = None,
    spans: Spans | None = None,
    decoder: str | tuple[str, str] | None = None,
) -> Pair:
    """A pair of images or sounds for a `Task`.

    clean, corrupt: what the processor makes of one input each, names of `forward` to tensors with a batch axis of one, or the main input
    alone; both of one shape, so that a position of one means the same as that of the other. Of a model of text the token ids of one text, whole
    numbers [pos] or [1 pos], alone or as `input_ids`; answers are ids then too, or classes. answers, wrong: classes by their names
    (`config.id2label`) or numbers; of a model that writes text behind an encoder they are tokens, what follows `decoder`: what its decoder has been
    given already, of both or of each. names: what messages and reports call both, by default a hash of their numbers. spans: ranges of positions
    `(start, end)` with a name, as `model.positions()` counts them.

    Raises: TaskError for what is no tensor, and for classes that are neither all names nor all numbers. What a model does not take is refused where the
    task meets it.
    """
    sides = tuple(_example(given, what) for given, what in ((clean, "clean"), (corrupt, "corrupt")))
    shown = tuple(f"input {side.content}" for side in sides) if names is None else tuple(names)
    if len(shown) != 2 or not all(isinstance(name, str) and name for name in shown):
        raise TaskError(f"InputPair: names is {names!r:.80}; expected two texts, of clean and corrupt.")
    right, other = _classes(answers, "answers"), _classes(wrong, "wrong")
    return Pair(
        shown[0],
        shown[1],
        answers=tuple(a for a in right if isinstance(a, str)),
        wrong=tuple(a for a in other if isinstance(a, str)),
        spans=dict(spans or {}),
        answer_ids=tuple(a for a in right if not isinstance(a, str)),
        wrong_ids=tuple(a for a in other if not isinstance(a, str)),
        inputs=(sides[0], sides[1]),
        decoder=(decoder, decoder) if isinstance(decoder, str) else decoder,
    )


def _example(given: Any, what: str) -> Example:
    """Raises: TaskError for anything but tensors by name, or one."""
    named = given if isinstance(given, Mapping) else {"": given}
    tensors = {}
    for name, x in named.items():
        try:
            tensors[str(name)] = x.detach() if isinstance(x, Tensor) else torch.as_tensor(x)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TaskError(
                f"InputPair: {what} is {type(given).__name__} with {type(x).__name__}; expected tensors by name, as a processor returns them "
                "(return_tensors='pt'), or one tensor."
            ) from error
    if not tensors:
        raise TaskError(f"InputPair: {what} is empty; expected tensors by name, or one tensor.")
    return Example(tensors)


def _classes(given: Any, what: str) -> tuple[str | int, ...]:
    """Classes, all by name or all by number. Raises: TaskError."""
    values = (given,) if isinstance(given, str) or is_whole(given) else tuple(given)
    if not (all(isinstance(v, str) for v in values) or all(map(is_whole, values))):
        raise TaskError(f"InputPair: {what} is {given!r:.80}; expected names of classes, or their numbers.")
    return tuple(v if isinstance(v, str) else int(v) for v in values)
