"""The streams of a run, one for each stack of a model, and how many numbers a layer of each makes: a decoder's few tokens are not the
positions of its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interp.parts.layout import Layout
from interp.parts.named_inputs import Example
from interp.parts.stack_layout import Stack
from interp.tasks.pairs.token_pairs import TokenPair


@dataclass(frozen=True)
class Stream:
    """One stack and the positions of its longest prompt. `source`: positions of what its blocks attend to besides, 0 for none."""

    stack: Stack
    length: int
    source: int = 0

    @property
    def layer(self) -> int:
        """Activations of one layer without its patterns: about 8 vectors of d_model and 4 of d_mlp per token, and two for each position
        that it attends to besides."""
        d_model, d_mlp = self.stack.d_model, self.stack.d_mlp
        return int(self.length * (8 * d_model + 4 * (d_mlp or 4 * d_model)) + 2 * self.source * d_model)

    @property
    def pattern(self) -> int:
        """The attention patterns of one layer."""
        return int(self.length * (self.length + self.source) * self.stack.n_heads)

    @property
    def layers(self) -> int:
        """`layer` of all layers."""
        return self.stack.n_layers * self.layer

    @property
    def patterns(self) -> int:
        """`pattern` of all layers."""
        return self.stack.n_layers * self.pattern

    @property
    def recording(self) -> int:
        """What a replay keeps of all layers: 8 vectors of d_model per token of each, and the mask."""
        return int(self.length * (8 * self.stack.n_layers * self.stack.d_model + self.length))


def streams_of(layout: Layout, pairs: Sequence[TokenPair]) -> tuple[Stream, ...]:
    """The streams of a model on these pairs; what a decoder attends to is the longest of the others."""
    lengths = {stack.name: _longest(stack.name, pairs) for stack in layout.stacks}
    source = max((lengths[stack.name] for stack in layout.others), default=0)
    return tuple(Stream(stack, lengths[stack.name], source if stack.crosses else 0) for stack in layout.stacks)


def _longest(stack: str, pairs: Sequence[TokenPair]) -> int:
    """Positions of the longest prompt in the stream of a stack; in the longest one where that is not known."""
    own = [pair.clean.lengths if isinstance(pair.clean, Example) else {} for pair in pairs]
    return max(lengths.get(stack, pair.longest) for lengths, pair in zip(own, pairs, strict=True))
