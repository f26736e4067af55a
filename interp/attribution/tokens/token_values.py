"""`TokenAttribution`: what each token, or each group of them, adds to the metric, with all that must be known to make it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interp.formatting.showing import figure
from interp.formatting.table import Table, check_sizes, lines_of
from interp.formatting.text import token, visible


@dataclass(frozen=True, repr=False)
class TokenAttribution(Table):
    """A number per token of every clean prompt, in the metric's unit, or per group of tokens.

    tokens, values: per pair, one text and one number per token, or per group. clean_metric: the metric of each clean prompt, in
    the same unit (a normalised one is divided by its span, not shifted).
    delta: m(clean) - m(baseline) - sum of the values, per pair, where the method promises that this is 0; else None.
    steps: points on the path, for integrated gradients. rules: the propagation rules of a relevance method.
    features: what is scored together; places: per pair the group of each position, where these are others than the tokens. target: per pair the
    texts of the target's tokens, where one was given; per_token: per pair and token of the target the values of its log-probability.
    samples, window, noise, seed: of methods that take them.
    """

    tokens: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float, ...], ...]
    clean_metric: tuple[float, ...]
    delta: tuple[float, ...] | None
    method: str
    metric: str
    unit: str
    baseline: str
    steps: int | None
    rules: str
    model: str
    task: str
    features: str = "tokens"
    places: tuple[tuple[int, ...], ...] = ()
    target: tuple[tuple[str, ...], ...] = ()
    per_token: tuple[tuple[tuple[float, ...], ...], ...] | None = None
    samples: int | None = None
    window: int | None = None
    noise: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        n = (len(self.tokens),)
        check_sizes(self, values=(list(map(len, self.values)), list(map(len, self.tokens))))
        check_sizes(self, clean_metric=((len(self.clean_metric),), n), delta=((len(self.delta or self.tokens),), n))
        check_sizes(
            self, places=((len(self.places or self.tokens),), n), target=((len(self.target or self.tokens),), n)
        )

    @property
    def totals(self) -> tuple[float, ...]:
        """The sum over the tokens of each pair."""
        return tuple(sum(row) for row in self.values)

    def to_pandas(self) -> Any:
        """A table: pair, position, token, value."""
        rows = [
            (pair, position, own, value)
            for pair, (tokens, values) in enumerate(zip(self.tokens, self.values, strict=True))
            for position, (own, value) in enumerate(zip(tokens, values, strict=True))
        ]
        return lines_of(("pair", "position", "token", "value"), rows)

    def plot(self, example: int = 0, **options: Any) -> Any:
        """A plotly figure of one prompt."""
        return figure(self, example=example, **options)

    def __str__(self) -> str:
        head = f"TokenAttribution({self.method}, {len(self.tokens)} prompts, {self.metric} in {self.unit}, baseline {self.baseline})"
        if not self.tokens:
            return visible(head)
        pairs = zip(self.tokens[0], self.values[0], strict=True)
        first = " ".join(f"{token(t)} {v:+.3f}" for t, v in list(pairs)[-12:])
        return f"{visible(head)}\n  first prompt: {'… ' if len(self.tokens[0]) > 12 else ''}{first}"
