"""What single neurons write to all logits, at the place that the answer is read at: one direction for each, and a size for each example.

A frozen norm only scales what one neuron writes, so that what it writes for different examples is parallel: its logits are made once, and
not for every example. Axis words: `example neuron d_model d_vocab`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from interp.effects.answer_ends import Ends
from interp.effects.neuron_check import weights_of
from interp.ledger import spend
from interp.lenses.effect_measures import log_probs
from interp.lenses.head_logits import Head
from interp.lenses.stream import Stream, in_front

#: Numbers of [example neuron d_model] that are made at once, and neurons whose logits are.
_NUMBERS: Final = 1 << 24
_AT_ONCE: Final = 64


@dataclass(frozen=True, eq=False)
class Written:
    """What neurons of one layer write under one run. ends: the run, stream: it behind the final norm that measures; head: of the model."""

    ends: Ends
    stream: Stream
    head: Head

    def before(self, layer: int) -> Tensor:
        """What the stream that the MLP of a layer reads gives the logits, before bias and soft cap [example d_vocab]."""
        return self.head.read(self.stream.normed(self.ends.values[in_front(self.ends.model.layout, "mlp", layer)]))

    def parts(self, layer: int, units: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """(some of the units, what they are behind the final norm [example neuron d_model])."""
        shape = len(self.ends.pairs) * self.ends.model.layout.d_model
        step = max(1, _NUMBERS // shape)
        for start in range(0, len(units), step):
            some = list(units[start : start + step])
            yield (
                some,
                self.stream.normed(self.stream.neurons(layer, torch.tensor(some, device=self.ends.logits.device))),
            )

    def linear(self, layer: int, units: Sequence[int], directions: Tensor) -> Tensor:
        """What units add along directions [direction example d_model], in logits [direction example neuron]."""
        found = [torch.einsum("end,ked->ken", parts, directions) for _, parts in self.parts(layer, units)]
        whole: Tensor = torch.cat(found, -1) * self.ends.model.layout.logits_scale
        return whole

    def log_prob(self, layer: int, units: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(log p with a neuron less that without [example neuron], what it adds to every logit, mean over examples [neuron d_vocab])."""
        answers, _ = weights_of(self.ends)
        before = self.before(layer)
        base = log_probs(self.head.logits(before)[:, None], answers)
        rows, means = [], []
        for some, parts in self.parts(layer, units):
            for at in range(0, len(some), _AT_ONCE):
                sizes, logits = self._apart(parts[:, at : at + _AT_ONCE])
                each = [
                    log_probs(self.head.logits(x + size[:, None] * logits)[None], own[None])[0]
                    for x, size, own in zip(before, sizes.to(logits.dtype), answers, strict=True)
                ]
                spend(len(each) * logits.numel())
                rows.append(torch.stack(each) - base)
                means.append(sizes.mean(0).to(logits.dtype)[:, None] * logits)
        return torch.cat(rows, 1), torch.cat(means)

    def _apart(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Sizes [example neuron] and the logits of one size [neuron d_vocab] of parts that are parallel over the examples [example neuron d_model]."""
        largest = parts.norm(dim=-1).argmax(0)
        own = parts[largest, torch.arange(parts.shape[1], device=parts.device)]
        squares = own.square().sum(-1)
        sizes = torch.einsum("end,nd->en", parts, own) / squares.where(squares > 0, 1.0)
        return sizes, self.head.read(own)

    def bound_directions(self, layer: int) -> Tensor:
        """The directions that bound what a part of what the MLP of a layer adds does to log p [answer example d_model].

        log p(x + part) - log p(x) <= max over answers a of part . (W_U[a] - sum_w p_w(x) W_U[w]), by Jensen's inequality.
        """
        W_U = self.head.W_U.double()
        expected = torch.softmax(self.head.logits(self.before(layer)).double(), -1) @ W_U.T
        most = max(len(pair.answers) for pair in self.ends.pairs)
        padded = [[*pair.answers, *[pair.answers[0]] * (most - len(pair.answers))] for pair in self.ends.pairs]
        chosen = torch.tensor(padded, device=W_U.device).T
        return W_U.T[chosen] - expected
