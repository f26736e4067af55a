"""A pair of prompts as a run shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interp.pictures.input_picture import Picture


@dataclass(frozen=True)
class Prompt:
    """One pair as it is shown, with `metric` measured on both prompts in `unit`.

    attributions: method -> one number per clean token, in the same unit. clean_picture, corrupt_picture: how both look, where they are
    no text; the tokens are then the names of positions. segments: of two texts as one input which of them each token belongs to, from 1.
    """

    clean_tokens: tuple[str, ...]
    corrupt_tokens: tuple[str, ...]
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    clean_metric: float
    corrupt_metric: float
    attributions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    metric: str = "logit_diff"
    unit: str = "logits"
    clean_picture: Picture | None = None
    corrupt_picture: Picture | None = None
    segments: tuple[int, ...] = ()
