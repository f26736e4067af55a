"""How much memory scoring will take above the model itself, and the batch size that fits what is allowed.

The estimate counts the tensors of one batch: activations kept for the backward pass, or the recording of a replay; values
of the runs; what the level says that it needs itself; the table of scores per example. It is meant to be near the measured peak and
rather above it. What grows with the number of prompts is the table, and for methods that need all batches at once the values of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from interp.attribution.batching.batch_sizes import MEMORY_BUDGET, parse_bytes
from interp.attribution.exact.sweep import REPLAY_BYTES, patch_bytes
from interp.attribution.protocol.registry import Method
from interp.attribution.protocol.spaces import Footprint, Space
from interp.attribution.scoring.run_streams import Stream, streams_of
from interp.errors import MethodError
from interp.formatting.numbers import several
from interp.parts.layout import Extent
from interp.tasks.metric import Metric
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.targets import positions_read

LARGEST_BATCH: Final = 256
#: Whatever is scored: libraries that are loaded when they are first needed, and small tensors.
AT_LEAST: Final = 24 << 20
#: The least that a replay works in; with less, it would redo one patch after the other anyway.
LEAST_REPLAY: Final = 1 << 20
#: The allocator keeps pieces between tensors; measured on the CPU it takes 1.1 to 1.6 times what tensors need.
SLACK: Final = 1.3
#: Tensors of all parts that a learning run keeps to mix constants in; of the log-probabilities of its answers at once; bytes of each part of
#: a pair that are drawn; and tensors of all values that the steps hold.
_MIXED: Final = 6
_DIVERGENCE: Final = 8
_DRAWN: Final = 6
_OF_VALUES: Final = 10


@dataclass(frozen=True)
class Memory:
    """Bytes above the model: `per_prompt` for each prompt of a batch, `fixed` whatever the batch; with a batch size.

    `replay`: what the patches that go through a replay at once may take, part of `fixed`.
    """

    per_prompt: int
    fixed: int
    batch_size: int
    replay: int = REPLAY_BYTES

    @property
    def total(self) -> int:
        """Bytes that scoring is expected to take."""
        return self.fixed + self.batch_size * self.per_prompt

    def __str__(self) -> str:
        return f"about {self.total / 2**20:,.0f} MiB above the model, {several(self.batch_size, 'prompt')} per batch"


@dataclass(frozen=True)
class Work:
    """What is to be scored. `streams`: those of the model on the longest prompts; `length`: tokens of the longest; `columns`: parts at all their positions; `learned_at`: how many
    positions of a prompt values of an ablation are learned at, 0 where none are."""

    model: Any
    space: Space
    methods: Sequence[Method]
    metric: Metric
    streams: tuple[Stream, ...]
    length: int
    columns: int
    examples: int
    read: int = 1
    keep: bool = True
    learned_at: int = 0

    @classmethod
    def of(
        cls,
        model: Any,
        space: Space,
        methods: Sequence[Method],
        metric: Metric,
        pairs: Sequence[TokenPair],
        labels: int,
        keep: bool = True,
        learns: bool = False,
    ) -> Work:
        """The work of scoring these pairs, with so many labels of positions; keep: what norms make of copies in masked runs; learns:
        whether values of the ablation are learned first."""
        longest = max(pair.longest for pair in pairs)
        answers = positions_read(pairs)
        read = longest if metric.positions == "all" else answers
        columns, learned_at = space.n_parts * labels, answers if learns else 0
        streams = streams_of(model.layout, pairs)
        return cls(model, space, methods, metric, streams, longest, columns, len(pairs), read, keep, learned_at)

    @property
    def table(self) -> int:
        """Bytes of the scores per example, and of what checks and normalises them."""
        return len(self.methods) * self.columns * self.examples * (9 + 8 * self.metric.normalised)

    @property
    def size(self) -> Extent:
        """The sizes of the model, over all its stacks."""
        found: Extent = self.model.layout.extent
        return found

    @property
    def level(self) -> Footprint:
        """What the level says of its own memory."""
        return self.space.footprint(self.model.layout)

    @property
    def exact(self) -> bool:
        return any(m.exact for m in self.methods)

    # ------------------------------------------------------------ a prompt of a batch

    def per_prompt(self) -> int:
        """Bytes of one prompt of a batch: the largest of what the methods need in turn, and what they share."""
        need = max(self._gradients(m) if _uses_gradients(m) else 0 for m in self.methods)
        need = max(need, self._replay() if self.exact else 0, self._forward())
        need += self._masked() if any(m.of_masks for m in self.methods) else 0
        shared = self._values() + self._readers() + 4 * self._width * self.read * self.size.d_vocab
        return int(SLACK * max(need + shared, self.learning())) + 16 * self.columns

    @property
    def _width(self) -> int:
        """Bytes of a number; half precision is counted as float32, in which many modules compute."""
        return 8 if "64" in str(self.model.dtype) else 4

    def _values(self) -> int:
        """Values of both runs and gradients at them; along a path also their sums, and those of one step beside the next."""
        copies = 13 if any(m.uses_steps for m in self.methods) else 3
        level = self.level
        apart = {stream.stack.name: stream.length for stream in self.streams if stream.length < self.length}
        numbers = self.length * level.sites
        numbers -= sum((self.length - n) * level.sites_of.get(name, 0) for name, n in apart.items())
        return copies * self._width * numbers + self.length * level.entries

    def _pattern(self) -> int:
        """The attention patterns of one layer, of the stack where they are largest."""
        return self._width * max(stream.pattern for stream in self.streams)

    def _patterns(self) -> int:
        """Those of all layers."""
        return self._width * sum(stream.patterns for stream in self.streams)

    def _layers(self) -> int:
        """Activations of all layers without their patterns."""
        return self._width * sum(stream.layers for stream in self.streams)

    def _forward(self) -> int:
        """A run without gradients: one layer at a time."""
        return self._width * max(stream.layer + 4 * stream.pattern for stream in self.streams) + self._net()

    def _net(self) -> int:
        """What the modules of a net without blocks make."""
        return int(self._width * self.length * self.model.layout.held)

    def _gradients(self, method: Method) -> int:
        """A run with gradients keeps every layer; with eager attention also its patterns, twice where they are also read
        with a gradient or capped, or computed in another dtype."""
        config, each, level = self.model.config, self._patterns(), self.level
        ruled, capped = method.rules.in_attention, bool(getattr(config, "attn_logit_softcapping", None))
        eager = level.eager or self.exact or ruled or getattr(config, "_attn_implementation", "") == "eager"
        twice = ruled or capped or self.model.dtype.itemsize < 4
        star = 2 * (method.unsigned and level.patterns)  # patterns are read, and their gradients kept
        patterns = (1 + twice + star) * each + 4 * self._pattern() if eager else 0
        # Scores and patterns of both runs and their means, and a dozen for the points of one layer.
        if method.rules.secants:
            patterns = (5 + 2 * capped) * each + 14 * self._pattern()
        kept = 1 + bool(method.rules.secants)  # of the other run, as much again
        return kept * (self._layers() + self._net()) + patterns

    def learning(self) -> int:
        """A run that values are learned by, before anything is scored: every layer with its patterns and with what its parts are mixed
        from; log-probabilities with what their divergence and its gradient are made of; and which parts are replaced."""
        if not self.learned_at:
            return 0
        layers = self._layers() + 2 * self._patterns()
        mixed = _MIXED * self._width * self.length * self.level.sites
        return (
            layers
            + mixed
            + _DIVERGENCE * self._width * self.learned_at * int(self.size.d_vocab)
            + 2 * self.space.n_parts
        )

    def learned(self) -> int:
        """What learning holds of all pairs: the model's own log-probabilities of both prompts, and which parts are replaced; and of
        each value its gradient, the means of these, the mean of late steps, and where it is."""
        if not self.learned_at:
            return 0
        of_pair = 2 * self._width * self.learned_at * int(self.size.d_vocab) + _DRAWN * self.space.n_parts
        return of_pair * self.examples + _OF_VALUES * self._width * self.level.sites

    def _replay(self) -> int:
        """The recording; a layer of it while it is made; and one patch of this prompt, which is never split."""
        recording = self._width * sum(stream.recording for stream in self.streams)
        return int(recording + self._forward() + patch_bytes(self.model.layout, 1, self.length, 0, self._width))

    def _readers(self) -> int:
        """What the readers of one layer need."""
        return int(self._width * self.length * self.level.readers * self.size.d_model)

    def _masked(self) -> int:
        """What a masked run holds beside the model's own: what writers change and get back, and readers that wait or are kept; the
        slopes of each part."""
        level, d_model = self.level, self.size.d_model
        vectors = level.masked + self.keep * level.kept
        return int(self._width * (self.length * vectors * d_model + 2 * self.columns))

    # ------------------------------------------------------------ whatever the batch

    def fixed(self, replay: int) -> int:
        """Bytes whatever the batch size, with `replay` bytes for the patches that go through at once."""
        size = self.size
        weights = 4 * size.d_model * (4 * size.n_heads * size.d_head + (size.d_mlp or 4 * size.d_model))
        # All batches of such a method are there at once, each with the values of both runs.
        held = self._values() * self.examples if any(m.together for m in self.methods) else 0
        if any(m.masked for m in self.methods):
            held += self._width * self.length * self.level.held * self.examples
        # What was learned with is gone when scoring begins.
        while_scoring = self.table + self.level.buffers + held + self._share * replay
        return int(AT_LEAST + weights + max(while_scoring, self.learned()))

    @property
    def _share(self) -> float:
        """How many times a replay's bytes are in use at once: rows of the stream, logits, and readers' copies."""
        return 1.5 + self.level.replay if self.exact else 0.0

    def replay(self, allowed: int) -> int:
        """Bytes for the patches that go through a replay at once, at most a quarter of what is allowed in all."""
        if not self.exact:
            return REPLAY_BYTES
        return int(min(REPLAY_BYTES, max(LEAST_REPLAY, (allowed - self.fixed(0)) / (4 * self._share))))


def _uses_gradients(method: Method) -> bool:
    """Whether a method may run backward passes; exact patching and drawing lots do not."""
    return method.uses_gradients or not (method.exact or method.joint or method.name == "random")


def plan_memory(work: Work, *, batch_size: int | None, limit: int | str | None) -> Memory:
    """The memory of scoring, and the batch size.

    batch_size: the user's, or None for the largest that fits `limit` (bytes, or text such as '2GiB'), which without a
    limit is what batches of about `MEMORY_BUDGET` allow. Raises: MethodError where not even one prompt fits.
    """
    per_prompt = work.per_prompt()
    if limit is None:
        fit = MEMORY_BUDGET // per_prompt
        return Memory(
            per_prompt, work.fixed(REPLAY_BYTES), batch_size or int(max(1, min(LARGEST_BATCH, fit, work.examples)))
        )
    allowed = parse_bytes(limit)
    replay = work.replay(allowed)
    fixed = work.fixed(replay)
    fit = (allowed - fixed) // per_prompt
    found = Memory(per_prompt, fixed, batch_size or int(max(1, min(LARGEST_BATCH, work.examples, fit))), replay)
    if found.total > allowed:
        learning = ", what learning values of the ablation holds" if work.learned_at else ""
        raise MethodError(
            f"max_memory={limit}: scoring needs {found}. Of that {fixed / 2**20:,.0f} MiB are the table of "
            f"{work.columns * len(work.methods):,} scores for {work.examples} pairs{learning} and fixed buffers. "
            "Allow more, use fewer pairs, or shorter prompts."
        )
    return found


def learning_batch(work: Work, batch_size: int, limit: int | str) -> int:
    """The prompts per batch, at most as many as given, that values of an ablation can be learned on in `limit`. Raises: MethodError where
    not even one prompt fits."""
    per_prompt, held = int(SLACK * work.learning()), AT_LEAST + work.learned()
    fit = (parse_bytes(limit) - held) // per_prompt
    if fit < 1:
        raise MethodError(
            f"max_memory={limit}: learning values of the ablation needs {(held + per_prompt) / 2**20:,.0f} MiB above the model for "
            f"{work.examples} pairs. Allow more, use fewer pairs, or mean ablation."
        )
    return int(min(batch_size, fit))
