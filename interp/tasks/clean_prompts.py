"""The clean prompts of a data set, as an ablation with fixed values looks at them: values by key, their means, what is learned on.

Axis words: `batch pos token`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.errors import MethodError
from interp.learning.optimal import Replacing, Sides
from interp.parts.named_inputs import Inputs
from interp.precision import wide
from interp.statistics.moments import Mean
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.targets import positions_read

See = Callable[[Any], Mapping[Any, Tensor]]


@dataclass(frozen=True)
class Prompts:
    """The clean prompts of a data set, as an ablation with fixed values looks at them.

    `see`: token ids [batch pos] -> values by key [batch pos ...], or their sums over both axes [1 1 ...]; `every`: the values
    of each token, whatever that costs. The keys are sites, or parts of sites at level `features`. `replacing`: how the model is run with
    parts at constants, None where it cannot be; `seed`: of what is drawn.
    """

    pairs: Sequence[TokenPair]
    batch_size: int
    see: See
    every: See
    replacing: Replacing | None = None
    seed: int = 0

    def means(self) -> dict[Any, Tensor]:
        """Mean over all positions of all prompts, by key: [1 1 ...], in float32 or better."""
        found: dict[Any, Mean] = {}
        like: dict[Any, Tensor] = {}
        for index, ids in zip(self._index(), self._batches(), strict=True):
            tokens = sum(self.pairs[i].length for i in index)
            for key, value in self.see(ids).items():
                like[key] = wide(value[:1, :1])
                own = found.setdefault(key, Mean(like[key].numel()))
                if value.shape[:2] == (1, 1):  # sums over the tokens, or the one token that there is
                    own.add(value.flatten().cpu(), tokens)
                else:  # and streams of other stacks have positions of their own
                    own.update(value.flatten(0, 1).flatten(1))
        return {key: own.result()["mean"].to(like[key]).view_as(like[key]) for key, own in found.items()}

    def tokens(self) -> dict[Any, Tensor]:
        """The values at all positions of all prompts, by key: [token ...], in float32 or better. All are held at once."""
        found: dict[Any, list[Tensor]] = defaultdict(list)
        for ids in self._batches():
            for key, value in self.every(ids).items():
                found[key].append(wide(value).flatten(0, 1))
        return {key: torch.cat(values) for key, values in found.items()}

    def sides(self) -> list[Sides]:
        """The prompts of both sides, in batches of one length."""
        found = []
        for index, clean in zip(self._index(), self._batches(), strict=True):
            some = [self.pairs[i] for i in index]
            corrupt = run_of([pair.corrupt for pair in some])
            if isinstance(clean, Inputs) or isinstance(corrupt, Inputs):
                raise MethodError(
                    "optimal ablation is learned on single texts; of two texts, images and sound use mean, zero or resample."
                )
            found.append(Sides(index, torch.stack([clean, corrupt]), positions_read(some)))
        return found

    def _batches(self) -> list[Tensor | Inputs]:
        """Token ids [batch pos] of clean prompts of one length, or their inputs that are no text."""
        return [run_of([self.pairs[i].clean for i in index]) for index in self._index()]

    def _index(self) -> list[list[int]]:
        return list(by_length([pair.shape for pair in self.pairs], self.batch_size))
