"""Which pairs of tokens make two texts similar: a number for every token of the one with every token of the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch

from interp.attribution.embedding_paths import Embedder, Path, check_reference, unique_paths
from interp.errors import InterpError, LayoutError, TaskError, unknown
from interp.formatting.table import Table, check_sizes, lines_of
from interp.formatting.text import token, visible
from interp.given import kinds_checked
from interp.heads.looking import prompts_of
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Example
from interp.parts.texts import token_text
from interp.tasks.pairs.token_pairs import Prompt
from interp.whole_numbers import count

SIMILARITIES: Final = ("dot", "cosine")
#: The four similarities of a pair, in order: of the texts, of the reference with the other text, and of both references.
FOUR: Final = ("text, text", "reference, text", "text, reference", "reference, reference")


Four = tuple[float, float, float, float]
#: Values of token with token, a row for each token of the first text.
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, repr=False)
class PairAttribution(Table):
    """A matrix of tokens for each pair of texts: what a token of the first and one of the second add to their similarity together.

    tokens_a, tokens_b: of each pair. matrices: [token_a token_b] of each, a row for every token of the first text. similarities: of each pair
    s(a, b), s(r_a, b), s(a, r_b), s(r_a, r_b), r the references. delta: s(a, b) - s(r_a, b) - s(a, r_b) + s(r_a, r_b) minus the sum of
    the matrix, 0 but for the quadrature. Where the similarities with references are large, the matrix speaks of a small part of s(a, b).

    similarity: `dot` or `cosine`; all four of a pair, and its matrix, are then divided by the lengths of e(a) and e(b).
    """

    tokens_a: tuple[tuple[str, ...], ...]
    tokens_b: tuple[tuple[str, ...], ...]
    matrices: tuple[Matrix, ...]
    similarities: tuple[Four, ...]
    delta: tuple[float, ...]
    similarity: str
    pooling: str
    layer: int
    reference: str
    steps: int
    model: str = ""

    def __post_init__(self) -> None:
        n = (len(self.matrices),)
        sizes = [(len(m), *map(len, m[:1])) for m in self.matrices]
        check_sizes(self, similarities=((len(self.similarities),), n), delta=((len(self.delta),), n))
        wanted = [(len(a), len(b)) for a, b in zip(self.tokens_a, self.tokens_b, strict=True)]
        check_sizes(self, matrices=([x for s in sizes for x in s], [x for s in wanted for x in s]))

    def __len__(self) -> int:
        """How many pairs of texts there are."""
        return len(self.matrices)

    def matrix(self, pair: int = 0) -> np.ndarray:
        """[token_a token_b] of one pair. Raises: InterpError where there is none."""
        return np.array(self.matrices[self._place(pair)])

    def largest(self, pair: int = 0, k: int = 10) -> tuple[tuple[str, str, float], ...]:
        """The `k` pairs of tokens that add or take most, the largest in size first. Raises: InterpError where there is no such pair."""
        found = self.matrix(pair)
        order = np.argsort(-np.abs(found), axis=None, kind="stable")[: count(k, "k")]
        places = [np.unravel_index(int(i), found.shape) for i in order]
        return tuple((self.tokens_a[pair][i], self.tokens_b[pair][j], float(found[i, j])) for i, j in places)

    def to_pandas(self) -> Any:
        """A row per pair of tokens: pair, position_a, token_a, position_b, token_b, value."""
        return lines_of(("pair", "position_a", "token_a", "position_b", "token_b", "value"), list(self._lines()))

    def _lines(self) -> Iterator[tuple[int, int, str, int, str, float]]:
        for pair, matrix in enumerate(self.matrices):
            for i, row in enumerate(matrix):
                for j, value in enumerate(row):
                    yield pair, i, self.tokens_a[pair][i], j, self.tokens_b[pair][j], value

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        said = (
            f"{len(self)} pairs, {self.similarity}, layer {self.layer}, reference {self.reference}, {self.steps} points"
        )
        lines = [f"PairAttribution({said}, {visible(self.model, 80)})"]
        for pair in range(min(3, len(self))):
            most = ", ".join(f"{token(a)} {token(b)} {value:+.3f}" for a, b, value in self.largest(pair, 3))
            lines.append(f"  s = {self.similarities[pair][0]:.3f}: {most}")
        return "\n".join(lines)

    def _place(self, pair: int) -> int:
        if not 0 <= pair < len(self):
            raise InterpError(f"pair {pair}: there are pairs 0 to {len(self) - 1}.")
        return pair


@kinds_checked
def attribute_pairs(
    model: Any,
    texts_a: Any,
    texts_b: Any,
    *,
    similarity: Literal["dot", "cosine"] = "cosine",
    pooling: str = "mean",
    layer: int = 0,
    reference: Literal["pad", "mask", "zero"] = "pad",
    steps: int = 32,
    model_b: Any = None,
) -> PairAttribution:
    """What each token of one text and each of another add to the similarity of their embeddings, together.

        A_ij = u_i(a) . u_j(b)        u_i = integral de/dx_i (x_i - r_i) along the line from the reference r to the text x
        sum A = s(a, b) - s(r_a, b) - s(a, r_b) + s(r_a, r_b)

    which is the integrated Jacobian of Moeller et al. contracted from both ends, so that it takes tokens instead of dimensions.

    texts_a, texts_b: a text each, or as many of both, paired in order; ids, or images where the model takes them. pooling: of hidden states,
    the `mean` over tokens or the `first`. layer: the stream that enters this block is moved; 0 is the embedding. reference: a text of
    the same length in which all but special tokens are `pad` or `mask`, or the `zero` vector. steps: Gauss-Legendre points; `delta` says
    whether they were enough (8 are from the middle layers on). model_b: what embeds texts_b, where it is another model, such as the other tower of CLIP.

    Units: those of the similarity. Cost: per text steps x tokens directional derivatives (about 2F each); without forward derivatives steps x d_embedding (F + B).
    Source: Moeller, Nikolaev & Pado 2023, "An attribution method for Siamese encoders"; 2024, "Approximate attributions for off-the-shelf
    Siamese transformers". Raises: LayoutError for a model that gives no embedding, or two of different widths; TaskError for texts that are no
    pairs, an unknown option, or an embedding without a direction; SiteError for a layer that does not exist.
    """
    if similarity not in SIMILARITIES:
        raise TaskError(unknown("similarity", similarity, SIMILARITIES))
    check_reference(reference)
    points, sides = count(steps, "steps"), [(model, texts_a), (model if model_b is None else model_b, texts_b)]
    embedders = [Embedder(each, layer, pooling) for each, _ in sides]
    for embedder in embedders:
        embedder.check()
    prompts = [prompts_of(each, texts) for each, texts in sides]
    if len(prompts[0]) != len(prompts[1]):
        raise TaskError(f"{len(prompts[0])} and {len(prompts[1])} texts; expected as many of both, paired in order.")
    with settled(model.device):
        paths = [unique_paths(e, own, reference, points) for e, own in zip(embedders, prompts, strict=True)]
    found = [_matrix(a, b, similarity == "cosine") for a, b in zip(*paths, strict=True)]
    tokens_a, tokens_b = (tuple(_texts(e.model, p) for p in own) for e, own in zip(embedders, prompts, strict=True))
    matrices, similarities, delta = zip(*found, strict=True)
    said = similarity, pooling, layer, reference, points, model.name
    return PairAttribution(tokens_a, tokens_b, matrices, similarities, delta, *said)


def _matrix(a: Path, b: Path, cosine: bool) -> tuple[Matrix, Four, float]:
    """The matrix of a pair, its four similarities and what is left of the sum. Raises: LayoutError, TaskError."""
    if len(a.own) != len(b.own):
        raise LayoutError(
            f"attribute_pairs: embeddings of {len(a.own)} and {len(b.own)} numbers; expected as many of both models."
        )
    lengths = float(a.own.norm() * b.own.norm()) if cosine else 1.0
    if not lengths > 0:
        raise TaskError("attribute_pairs: an embedding is 0, so it has no direction; use similarity='dot'.")
    four = (
        float(a.own @ b.own) / lengths,
        float(a.reference @ b.own) / lengths,
        float(a.own @ b.reference) / lengths,
        float(a.reference @ b.reference) / lengths,
    )
    matrix = a.parts @ b.parts.T / lengths
    if not bool(torch.isfinite(matrix).all()):
        raise TaskError("attribute_pairs: some numbers are not finite; give the model in a wider dtype.")
    delta = four[0] - four[1] - four[2] + four[3] - float(matrix.sum())
    return tuple(map(tuple, matrix.tolist())), four, delta


def _texts(model: Any, prompt: Prompt) -> tuple[str, ...]:
    """What the positions of a prompt are called."""
    if isinstance(prompt, Example):
        return model.positions(prompt)  # type: ignore[no-any-return]
    return tuple(token_text(model.tokenizer, i) for i in prompt)
