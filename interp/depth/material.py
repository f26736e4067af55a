"""What a model is run on to look at its layers: texts, whose tokens it predicts, or the prompts of a task with their answers.

Axis words: `batch pos d_vocab`. Prompts of one length run together, so that none sees padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.errors import TaskError
from interp.heads.looking import prompts_of
from interp.parts.named_inputs import Example
from interp.parts.outputs import NextToken
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import Prompt, TokenPair, ids_of, run_of
from interp.tasks.task import Task
from interp.whole_numbers import count

#: Numbers that the logits, and the streams of all layers, of one batch may be; and the most prompts of one.
_LOGITS: Final = 1 << 26
_STREAMS: Final = 1 << 27
_PROMPTS: Final = 64


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts of one length that run together. places: among all; run: what `model.run` takes; length: positions of the stream; first: the
    first position that counts; pairs: of a task."""

    places: tuple[int, ...]
    run: Any
    length: int
    first: int
    pairs: tuple[TokenPair, ...] = ()

    @property
    def keep(self) -> int:
        """How many positions' logits are needed: the last one of a task, all of a text."""
        return 1 if self.pairs else 0

    def read(self, logits: Tensor) -> Tensor:
        """The logits that say something [batch read d_vocab]: of a task the last, of a text those in front of a token."""
        return logits[:, -1:] if self.pairs else logits[:, :-1]

    @cached_property
    def answers(self) -> Tensor:
        """The token ids that are right [batch read answer]; -1 where one has fewer answers than another."""
        if not self.pairs:
            return torch.as_tensor(self.run)[:, 1:, None]
        most = max(len(pair.answers) for pair in self.pairs)
        return torch.tensor([[[*pair.answers, *[-1] * (most - len(pair.answers))]] for pair in self.pairs])


@dataclass(frozen=True, eq=False)
class Material:
    """All that is run. name: that of the task, '' for texts; documents: a number for each prompt, equal for those that belong together."""

    model: Any
    prompts: tuple[Prompt, ...]
    pairs: tuple[TokenPair, ...]
    name: str
    keep_bos: bool
    batch_size: int | None

    @classmethod
    def of(
        cls, model: Any, given: Any, *, keep_bos: bool = False, batch_size: int | None = None, what: str = "depth"
    ) -> Material:
        """Texts, ids or other inputs as `model.run` takes them, or a task. keep_bos: the first position counts too.

        Raises: LayoutError for a net without blocks or a model with several stacks; TaskError for nothing to run, and for texts of one token.
        """
        model.layout.check_blocks(what)
        model.layout.check_single(what)
        size = None if batch_size is None else count(batch_size, "batch_size")
        if isinstance(given, Task):
            pairs = tuple(given.tokenize(model.tokenizer, model.outputs))
            return cls(model, tuple(pair.clean for pair in pairs), pairs, given.name, keep_bos, size)
        prompts = tuple(prompts_of(model, [given] if isinstance(given, str) else given))
        if short := [
            i
            for i, prompt in enumerate(prompts)
            if not isinstance(prompt, Example) and len(prompt) < 2 + (not keep_bos)
        ]:
            raise TaskError(
                f"{what}: text {short[0] + 1} of {len(prompts)} has {len(ids_of(prompts[short[0]]))} tokens; expected {2 + (not keep_bos)} "
                "or more, as the first is left out and the next is predicted. Leave it out, or join texts."
            )
        return cls(model, prompts, (), "", keep_bos, size)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def task(self) -> bool:
        """Whether it is a task."""
        return bool(self.pairs)

    def check_predicts(self, what: str) -> None:
        """Raises: TaskError where there is nothing that the model's outputs could be compared with, naming what needs it."""
        if not self.task and not isinstance(self.model.outputs, NextToken):
            raise TaskError(f"{what}: {type(self.model.hf).__name__} predicts no next tokens of a text; give a task.")

    def at(self, places: Sequence[int]) -> Material:
        """Some of the prompts."""
        pairs = tuple(self.pairs[i] for i in places) if self.pairs else ()
        return replace(self, prompts=tuple(self.prompts[i] for i in places), pairs=pairs)

    @property
    def tokens(self) -> int:
        """How many positions all prompts have together."""
        return sum(p.length if isinstance(p, Example) else len(p) for p in self.prompts)

    def __iter__(self) -> Iterator[Prompts]:
        shapes = [p.shape if isinstance(p, Example) else (len(p),) for p in self.prompts]
        order = {shape: i for i, shape in enumerate(sorted(set(shapes)))}
        longest = max(p.longest if isinstance(p, Example) else len(p) for p in self.prompts)
        batches = list(by_length([order[shape] for shape in shapes], self.batch_size or self._fitting(longest)))
        for i in np.random.default_rng(0).permutation(len(batches)):  # short ones first would be no sample of all
            places = batches[i]
            own = tuple(self.prompts[i] for i in places)
            first = own[0]
            length = first.length if isinstance(first, Example) else len(first)
            pairs = tuple(self.pairs[i] for i in places) if self.pairs else ()
            yield Prompts(tuple(places), run_of(own), length, 0 if self.keep_bos else 1, pairs)

    def _fitting(self, length: int) -> int:
        size = self.model.layout
        logits = _LOGITS // (size.d_vocab * (1 if self.pairs else length))
        return int(max(1, min(_PROMPTS, logits, _STREAMS // (length * size.d_model * (size.n_layers + 1) * 3))))
