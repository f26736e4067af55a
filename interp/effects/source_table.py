"""`FeatureSources`: where what a feature of attention reads comes from; and what its sources have in common.

Axis words: `example feature part`; a part is a source position, a head, a writer into the stream, or a feature of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from interp.errors import InterpError
from interp.formatting.numbers import several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, token, visible
from interp.parts.tokens import Texts

#: Where a prompt has no token.
NO_TOKEN: Final = -1
TOKENS: Final = "tokens"
#: Up to so many tokens back a source is near.
NEAR: Final = 4
_SHOWN: Final = 3


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSources(Table):
    """The pre-activation of features, each at one position of each example, as a sum over parts.

    per_example: what each part adds [example feature part]; constants: what no part adds (biases) [example feature]; pre_activations: their sum,
    as the encoder makes it [example feature]. positions: where [example feature]. ids: of the prompts, -1 behind their end
    [example source]. parts: names of the last axis; for split `tokens` the source positions.
    """

    features: tuple[int, ...]
    parts: tuple[str, ...]
    per_example: np.ndarray = field(metadata=along(0, 1))
    constants: np.ndarray = field(metadata=along(0, 1))
    pre_activations: np.ndarray = field(metadata=along(0, 1))
    positions: np.ndarray = field(metadata=along(0, 1))
    ids: np.ndarray
    split: str = TOKENS
    site: str = ""
    texts: Texts = field(default_factory=Texts)
    model: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.ids), len(self.features))
        names = ("constants", "pre_activations", "positions")
        check_sizes(self, per_example=(self.per_example.shape, (*shape, len(self.parts))))
        check_sizes(self, **{name: (getattr(self, name).shape, shape) for name in names})

    @property
    def largest_gap(self) -> float:
        """The largest |sum over parts + constant - pre-activation|: rounding, or a part that was missed."""
        gaps = np.abs(self.per_example.sum(-1) + self.constants - self.pre_activations)
        return float(gaps.max(initial=0.0))

    def part_name(self, example: int, part: int) -> str:
        """What a part is called: of a source token its position and its text."""
        if self.split != TOKENS:
            return self.parts[part]
        own = int(self.ids[example, part])
        return f"{part} {token(self.texts(own))}" if own != NO_TOKEN else str(part)

    def to_pandas(self) -> Any:
        """A row per example and feature: example, feature, position, token, pre_activation, constant, first (the part that adds most), adds."""
        n, m = self.positions.shape
        at = [(i, j) for i in range(n) for j in range(m)]
        first = [int(self.per_example[i, j].argmax()) if self.parts else 0 for i, j in at]
        found: dict[str, Any] = {"example": [i for i, _ in at], "feature": [self.features[j] for _, j in at]}
        found |= {"position": self.positions.reshape(-1)}
        found["token"] = [self.texts(int(self.ids[i, self.positions[i, j]])) for i, j in at]
        found |= {"pre_activation": self.pre_activations.reshape(-1), "constant": self.constants.reshape(-1)}
        found["first"] = [self.part_name(i, p) for (i, _), p in zip(at, first, strict=True)]
        found["adds"] = [float(self.per_example[i, j, p]) for (i, j), p in zip(at, first, strict=True)]
        return rows_of(found)

    def parts_of(self, example: int, feature: int) -> Any:
        """A row per part of one feature at one example, the largest first: part, adds. Raises: InterpError for one that is not here."""
        if feature not in self.features or not 0 <= example < len(self.ids):
            raise InterpError(
                f"example {example}, feature {feature}: expected one of {len(self.ids)} examples and of the features {list(self.features)[:20]}."
            )
        row = self.per_example[example, self.features.index(feature)]
        real = [p for p in range(len(row)) if self.split != TOKENS or self.ids[example, p] != NO_TOKEN]
        order = sorted(real, key=lambda p: -row[p])
        return rows_of({"part": [self.part_name(example, p) for p in order], "adds": row[order]})

    def families(self) -> Any:
        """What the source tokens of each feature have in common: a row per feature, shares of sum over sources of |what they add|, mean over examples.

        own, previous, near (2 to 4 back), first (position 0): by distance, where a source counts for each that it is; induction: at a token
        behind an earlier copy of the current one; distance: mean over the sources, in tokens; entropy: over the sources, in nats.
        Raises: InterpError for another split than tokens.
        """
        if self.split != TOKENS:
            raise InterpError(
                f"families of sources are those of tokens; these are split by {self.split!r}: use split='tokens'."
            )
        names = ("own", "previous", "near", "first", "induction", "distance", "entropy")
        sums = np.zeros((len(self.features), len(names)))
        for i in range(len(self.ids)):
            for j in range(len(self.features)):
                sums[j] += _family(self.per_example[i, j], self.ids[i], int(self.positions[i, j]))
        columns = (sums / max(1, len(self.ids))).T
        return rows_of({"feature": self.features, **dict(zip(names, columns, strict=True))})

    def __str__(self) -> str:
        n = several(len(self.ids), "example")
        lines = [
            f"FeatureSources({several(len(self.features), 'feature')} of {self.site} by {self.split}, {n}, {visible(self.model, 80)})"
        ]
        for j, feature in enumerate(self.features[:10]):
            i = int(self.pre_activations[:, j].argmax()) if len(self.ids) else 0
            order = np.argsort(-self.per_example[i, j])[:_SHOWN]
            said = ", ".join(f"{self.part_name(i, p)} {self.per_example[i, j, p]:+.3f}" for p in order)
            lines.append(
                f"  feature {feature} at {self.positions[i, j]} of example {i}: {self.pre_activations[i, j]:+.3f} = {said}, ..."
            )
        return printed("\n".join(lines))


def _family(adds: np.ndarray, ids: np.ndarray, at: int) -> np.ndarray:
    """Own, previous, near, first, induction (shares), mean distance and entropy of what sources add [source] to position `at`."""
    sizes = np.abs(adds)
    total = sizes.sum()
    shares = sizes / total if total else sizes
    back = at - np.arange(len(ids))
    copies = np.zeros(len(ids), dtype=bool)
    copies[1:] = (ids[:-1] == ids[at]) & (back[:-1] > 0)
    real = shares[shares > 0]
    picked = [shares[where].sum() for where in (back == 0, back == 1, (back > 1) & (back <= NEAR), back == at, copies)]
    return np.array([*picked, (shares * np.abs(back)).sum(), -(real * np.log(real)).sum()])
