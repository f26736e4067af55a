"""Which head follows a relation between words: from a word, the other word that it looks at most.

Axis words: `relation direction head example offset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from interp.errors import InterpError, TaskError, unknown
from interp.formatting.numbers import percent
from interp.formatting.table import Table, along, check_sizes, lines_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.heads.annotated import AnnotatedText, annotated_texts
from interp.heads.looking import Watched, looks, prompts_of
from interp.heads.words_of_tokens import Groups, over_words, tokens_of_words
from interp.tasks.pairs.token_pairs import Prompt
from interp.whole_numbers import whole

RESAMPLES: Final = 1000
#: From the word of a relation to the other, and back.
DIRECTIONS: Final = ("to the other", "from the other")
OFFSETS: Final = (-3, -2, -1, 1, 2, 3)
_COLUMNS: Final = (
    "relation", "n", "head", "direction", "accuracy", "low", "high", "offset", "offset_accuracy", "chosen_on", "chosen_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Followed:
    """The head that was chosen for a relation on one part of the texts, and how often it is right on the other.

    n, n_chosen: pairs of words held out, and chosen on. accuracy, low, high: held out, with a 95 % bootstrap interval over texts; chosen:
    where it was chosen, which is too good. offset, offset_accuracy: the best fixed offset, chosen and judged in the same way. None where a
    part has no such relation.
    """

    relation: str
    n: int
    n_chosen: int
    head: str | None
    direction: str | None
    accuracy: float | None
    low: float | None
    high: float | None
    chosen: float | None
    offset: int | None
    offset_accuracy: float | None


@dataclass(frozen=True, eq=False, repr=False)
class HeadRelations(Table):
    """How often each head follows each relation.

    hits: [relation direction head example], pairs of words where the head looks most at the right one; of offsets: [relation offset
    example]. total: pairs of words [relation example]. chosen_on: the texts that choose the head [example]; the others judge it.
    """

    relations: tuple[str, ...]
    heads: tuple[str, ...]
    hits: np.ndarray = field(metadata=along(0))
    total: np.ndarray = field(metadata=along(0))
    offset_hits: np.ndarray = field(metadata=along(0))
    chosen_on: tuple[bool, ...]
    word_level: bool
    model: str = ""

    def __post_init__(self) -> None:
        r, n = len(self.relations), len(self.chosen_on)
        check_sizes(
            self, hits=(self.hits.shape, (r, len(DIRECTIONS), len(self.heads), n)), total=(self.total.shape, (r, n))
        )
        check_sizes(self, offset_hits=(self.offset_hits.shape, (r, len(OFFSETS), n)))

    @property
    def rows(self) -> tuple[Followed, ...]:
        """A row for each relation, the most frequent first."""
        order = sorted(range(len(self.relations)), key=lambda i: (-int(self.total[i].sum()), self.relations[i]))
        return tuple(map(self._row, order))

    def row(self, relation: str) -> Followed:
        """That of one relation. Raises: InterpError with the near names."""
        if relation not in self.relations:
            raise InterpError(unknown("relation", relation, self.relations))
        return self._row(self.relations.index(relation))

    def _row(self, at: int) -> Followed:
        first = np.array(self.chosen_on)
        n, n_chosen = int(self.total[at, ~first].sum()), int(self.total[at, first].sum())
        name = self.relations[at]
        if not n or not n_chosen:
            return Followed(name, n, n_chosen, *[None] * 8)
        right = self.hits[at][..., first].sum(-1)
        direction, head = np.unravel_index(int(right.argmax()), right.shape)
        offset = int(self.offset_hits[at][:, first].sum(-1).argmax())
        hits, total = self.hits[at, direction, head][~first], self.total[at, ~first]
        low, high = _interval(hits, total)
        by_offset = float(self.offset_hits[at, offset, ~first].sum() / n)
        chosen = float(right[direction, head] / n_chosen)
        found = self.heads[head], DIRECTIONS[direction], float(hits.sum() / n), low, high, chosen
        return Followed(name, n, n_chosen, *found, OFFSETS[offset], by_offset)

    def to_pandas(self) -> Any:
        """A row per relation, in order: see `Followed`."""
        rows = [self._row(i) for i in range(len(self.relations))]
        lines = [
            (r.relation, r.n, r.head, r.direction, r.accuracy, r.low, r.high, r.offset, r.offset_accuracy, r.n_chosen, r.chosen)
            for r in rows
        ]  # fmt: skip
        return lines_of(_COLUMNS, lines).astype({"offset": "Int64"})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the rows."""
        return {"model": self.model, "word_level": self.word_level, "rows": [vars(row) for row in self.rows]}

    def __str__(self) -> str:
        lines = [f"HeadRelations({len(self.relations)} relations, {len(self.heads)} heads, {visible(self.model, 80)})"]
        for row in self.rows[:12]:
            said = f"{row.head} {row.direction}, {percent(row.accuracy)}; offset {row.offset}, {percent(row.offset_accuracy)}"
            lines.append(
                f"  {visible(row.relation, 40):<16} n {row.n:<5} {said if row.head else 'missing in one part'}"
            )
        return printed("\n".join(lines))


def _interval(hits: np.ndarray, total: np.ndarray) -> tuple[float | None, float | None]:
    """95 % bootstrap interval of sum(hits) / sum(total) over texts [example]; None for fewer than two with a pair."""
    hits, total = hits[total > 0], total[total > 0]
    if (n := len(total)) < 2:
        return None, None
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    low, high = np.quantile((weights @ hits) / (weights @ total), [0.025, 0.975])
    return float(low), float(high)


@kinds_checked
def head_relations(
    model: Any,
    annotated: Sequence[Any],
    *,
    word_level: bool = True,
    layers: Sequence[int] | None = None,
    stack: str | None = None,
    held_out: float = 0.5,
    seed: int = 0,
    batch_size: int | None = None,
) -> HeadRelations:
    """For each relation between words the head that follows it: that from the one word looks most at the other, in either direction.

    A head is right for a pair of words if, of all other words (special tokens and the word itself are none), the one looked at most is
    the right one. Head and direction are chosen on one part of the texts and judged on the other (Clark et al. choose and judge on the
    same). Beside it the best fixed offset, in words: a head that only looks one word back follows many relations.

    annotated: texts as words with relations (`interp.AnnotatedText`, (words, relations), or mappings with both). word_level: weights between
    words, summed to a word and averaged from it; else from the last token of the one word to the one token that gets most. held_out: the
    share of the texts that judge. stack: as for `head_statistics`. Units: shares of pairs. Cost: one forward for each text. Source: Clark et al. 2019, section 4.
    Raises: TaskError for fewer than two texts, a place without a word, no fast tokeniser; SiteError where there is no pattern.
    """
    texts, watched = annotated_texts(annotated), Watched.of(model, layers, stack)
    first = _parts(len(texts), held_out, whole(seed, "seed"))
    names = tuple(sorted({relation.name for text in texts for relation in text.relations}))
    if not names:
        raise InterpError("no text has a relation; expected one or more.")
    heads, rows = watched.names, prompts_of(model, [text.text for text in texts])
    hits = np.zeros((len(names), len(DIRECTIONS), len(heads), len(texts)), dtype=np.int64)
    for look in looks(watched, rows, batch_size):
        for weights, place in zip(look.weights, look.places, strict=True):
            groups = tokens_of_words(model.tokenizer, texts[place].words, _ids(watched, rows[place]))
            looked_at = most_looked_at(weights.double().numpy(), groups, word_level)
            for at, word, other in _pairs(texts[place], names):
                hits[at, 0, :, place] += looked_at[:, word] == other
                hits[at, 1, :, place] += looked_at[:, other] == word
    return HeadRelations(names, heads, hits, *_counted(texts, names), tuple(first), word_level, model.name)


def _ids(watched: Watched, prompt: Prompt) -> tuple[int, ...]:
    if (found := watched.ids(prompt)) is None:
        raise TaskError("this stack reads no text, so it has no words; give one that does (stack=).")
    return found


def _parts(n: int, held_out: float, seed: int) -> list[bool]:
    """For each text whether it chooses: a part of each, drawn by `seed`. Raises: InterpError for a share that is none."""
    if not 0 < held_out < 1:
        raise InterpError(f"held_out={held_out}: expected a share of the texts between 0 and 1, for example 0.5.")
    judging = min(n - 1, max(1, round(held_out * n)))
    found = np.ones(n, dtype=bool)
    found[np.random.default_rng(seed).permutation(n)[:judging]] = False
    return [bool(one) for one in found]


def _pairs(text: AnnotatedText, names: Sequence[str]) -> list[tuple[int, int, int]]:
    return [(names.index(relation.name), relation.word, relation.other) for relation in text.relations]


def _counted(texts: Sequence[AnnotatedText], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """How many pairs of words each text has [relation example], and how many stand at each offset [relation offset example]."""
    total = np.zeros((len(names), len(texts)), dtype=np.int64)
    at_offset = np.zeros((len(names), len(OFFSETS), len(texts)), dtype=np.int64)
    for place, text in enumerate(texts):
        for at, word, other in _pairs(text, names):
            total[at, place] += 1
            if other - word in OFFSETS:
                at_offset[at, OFFSETS.index(other - word), place] += 1
    return total, at_offset


def most_looked_at(weights: np.ndarray, groups: Groups, word_level: bool) -> np.ndarray:
    """From each word the other word that a head looks at most [head word], -1 where it looks at none. weights: [head q_pos k_pos]."""
    if word_level:
        between = over_words(weights, groups)
    else:
        last = weights[:, [tokens[-1] for tokens in groups]]
        between = np.stack([last[..., list(tokens)].max(-1) for tokens in groups], axis=-1)
    words = range(len(groups))
    between[:, words, words] = -1.0
    return np.where(between.max(-1) > 0, between.argmax(-1), -1)
