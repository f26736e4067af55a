"""What a model was made of: the files that it was loaded from, and what was done to their weights on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dequantised:
    """A GGUF file whose tensors were turned into plain numbers.

    file: its name. file_type: what it calls itself, such as Q4_K_M; '' where it does not. tensors: how many are of each type.
    packed: how many of them were packed into blocks, so that their numbers are not those of the published weights.
    """

    file: str
    file_type: str
    tensors: Mapping[str, int]
    packed: int


@dataclass(frozen=True)
class Merged:
    """Adapters that were merged into the weights.

    folder: where they are. kind: their kind, as peft calls it. base: the model that their files say they were trained on; '' where
    they say none.
    """

    folder: str
    kind: str
    base: str


@dataclass(frozen=True)
class Origin:
    """path: the folder, or the GGUF file; '' for a model that was given in memory or came from the hub. left_out: the weights of
    the files that the model's class does not have."""

    path: str = ""
    dequantised: Dequantised | None = None
    merged: Merged | None = None
    left_out: tuple[str, ...] = ()
