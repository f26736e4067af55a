"""Token ids with their mask, and how text becomes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from interp.errors import TaskError


@dataclass(frozen=True)
class Tokens:
    """`ids` [batch pos], `mask` [batch pos] true where a token is real. Without padding the mask is all true."""

    ids: Tensor
    mask: Tensor

    @property
    def padded(self) -> bool:
        return not bool(self.mask.all())

    def last(self) -> Tensor:
        """Index of the last real token of every prompt [batch]."""
        positions = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (positions * self.mask).argmax(-1)

    def position_ids(self) -> Tensor:
        """Positions counted over real tokens only; padding has position 0."""
        return (self.mask.long().cumsum(-1) - 1).clamp_min(0)

    def to(self, device: Any) -> Tokens:
        return Tokens(self.ids.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Texts:
    """The texts of some token ids, as a value: called with an id it gives its text, or the id itself where it has none."""

    ids: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.texts):
            raise ValueError(f"{len(self.texts)} texts for {len(self.ids)} token ids")

    @classmethod
    def of(cls, decode: Callable[[int], str], ids: Iterable[int]) -> Texts:
        """What `decode` makes of some ids; nothing is kept of one that is its own text."""
        texts = {int(i): decode(int(i)) for i in ids}
        kept = {i: text for i, text in sorted(texts.items()) if text != str(i)}
        return cls(tuple(kept), tuple(kept.values()))

    def __call__(self, token: int) -> str:
        return self._known.get(int(token), str(int(token)))

    @cached_property
    def _known(self) -> dict[int, str]:
        return dict(zip(self.ids, self.texts, strict=True))


def pad(prompts: Sequence[Sequence[int]], pad_id: int = 0, side: Literal["left", "right"] = "left") -> Tokens:
    """Put prompts of different lengths into one batch."""
    longest = max(len(prompt) for prompt in prompts)
    rows, masks = [], []
    for prompt in prompts:
        fill = longest - len(prompt)
        ids, real = list(prompt), [True] * len(prompt)
        rows.append([pad_id] * fill + ids if side == "left" else ids + [pad_id] * fill)
        masks.append([False] * fill + real if side == "left" else real + [False] * fill)
    return Tokens(torch.tensor(rows), torch.tensor(masks))


def as_tokens(given: str | Sequence[str] | Sequence[int] | Tensor | Tokens, tokenizer: Any) -> Tokens:
    """Tokens from text (one prompt or several), ids (list, array or tensor, [pos] or [batch pos]), what a tokeniser
    returns (a mapping with `input_ids` and `attention_mask`), or tokens. Lists of ids of several lengths are padded.

    Raises: TaskError where text is given and there is no tokeniser, or where nothing is given.
    """
    if isinstance(given, Tokens):
        return given
    if isinstance(given, Mapping):
        return _from_mapping(given)
    if _is_rows(given):
        return pad(given)  # type: ignore[arg-type]
    if hasattr(given, "__array__") and not isinstance(given, Tensor):
        given = torch.as_tensor(given)
    if isinstance(given, Tensor):
        ids = given if given.ndim == 2 else given[None]
        if ids.ndim != 2 or ids.is_floating_point() or ids.numel() == 0:
            raise TaskError(
                f"tokens: given a tensor {tuple(given.shape)} {given.dtype}; expected integer ids [batch, pos]."
            )
        return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    if not isinstance(given, str) and given and isinstance(given[0], int):
        return as_tokens(torch.tensor(given), tokenizer)
    texts = [given] if isinstance(given, str) else list(given)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TaskError(f"tokens: given {given!r}; expected text, a list of texts, token ids or Tokens.")
    return pad([encode(tokenizer, text) for text in texts], pad_id(tokenizer))  # type: ignore[arg-type]


def _is_rows(given: Any) -> bool:
    """Several prompts as lists of ids."""
    rows = (
        isinstance(given, (list, tuple))
        and bool(given)
        and all(isinstance(row, (list, tuple)) and row for row in given)
    )
    return rows and all(isinstance(i, int) for row in given for i in row)


def _from_mapping(given: Mapping[str, Any]) -> Tokens:
    """What a tokeniser returns: `input_ids` and, with padding, `attention_mask`."""
    if "input_ids" not in given:
        raise TaskError(f"tokens: given a mapping with {', '.join(map(str, given))}; expected 'input_ids'.")
    tokens = as_tokens(given["input_ids"], None)
    mask = given.get("attention_mask")
    return tokens if mask is None else Tokens(tokens.ids, as_tokens(mask, None).ids.bool())


def encode(tokenizer: Any, text: str, *, special: bool = True) -> list[int]:
    """Token ids of one text, with the special tokens that the tokeniser itself puts around a prompt."""
    if tokenizer is None:
        raise TaskError(
            f"text {text!r} given, but the model has no tokeniser: pass tokenizer=... to interp.load, or token ids."
        )
    ids = tokenizer.encode(text, add_special_tokens=special)
    if not ids:
        raise TaskError(f"text {text!r} has no tokens.")
    return [int(i) for i in ids]


def pad_id(tokenizer: Any) -> int:
    """An id to pad with; its value never matters, because padding is masked."""
    for name in ("pad_token_id", "eos_token_id"):
        if (found := getattr(tokenizer, name, None)) is not None:
            return int(found)
    return 0
