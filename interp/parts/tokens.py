"""Token ids with their mask, and how what users have becomes them."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.parts.named_inputs import Example, Inputs
from interp.parts.text_pairs import with_types
from interp.parts.texts import TokenWarning, encode, encode_document, n_unknown, pad_id
from interp.whole_numbers import is_whole


@dataclass(frozen=True)
class Tokens:
    """`ids` [batch pos], `mask` [batch pos] true where a token is real. Without padding the mask is all true. `types` [batch pos]: of which
    segment each token is, where two texts are one input; None where all are of the first."""

    ids: Tensor
    mask: Tensor
    types: Tensor | None = None

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
        types = None if self.types is None else self.types.to(device)
        return Tokens(self.ids.to(device), self.mask.to(device), types)


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


def as_tokens(
    given: str | Sequence[str] | Sequence[int] | Tensor | Tokens | Example | Inputs,
    tokenizer: Any,
    *,
    whole: bool = False,
) -> Tokens:
    """Tokens from text (one prompt or several), ids (list, array or tensor, [pos] or [batch pos]; with the types of segments [batch pos 2]), what a
    tokeniser returns (a mapping with `input_ids`, `attention_mask` and `token_type_ids`), or tokens. Lists of ids of several lengths are padded on the left.

    whole: for models that look at a whole text at once: texts end as the tokeniser ends them, and padding is on the right.

    Raises: TaskError where text is given and there is no tokeniser, or where nothing is given.
    """
    if isinstance(given, Tokens):
        return given
    if isinstance(given, (Example, Inputs)):
        given = given.batched().alone if isinstance(given, Example) else given.alone
    if isinstance(given, Mapping):
        return _from_mapping(given, whole)
    if hasattr(given, "__array__") and not isinstance(given, Tensor):
        given = torch.as_tensor(given)
    if isinstance(given, Tensor):
        return _from_tensor(given)
    if rows := _rows(given):
        return pad(rows, side="right" if whole else "left")
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TaskError(f"tokens: given {given!r}; expected text, a list of texts, token ids or Tokens.")
    return _from_texts(texts, tokenizer, whole)  # type: ignore[arg-type]


def _rows(given: Any) -> list[list[int]]:
    """One prompt as a list of ids, or several as lists, arrays or tensors of them; none where it is neither. Numbers of numpy and
    torch are whole numbers too."""
    if not isinstance(given, (list, tuple)):
        return []
    found: list[Any] = [given] if all(map(is_whole, given)) else list(given)
    found = [row.tolist() if getattr(row, "ndim", 0) == 1 else row for row in found]
    whole = all(isinstance(row, (list, tuple)) and row and all(map(is_whole, row)) for row in found)
    return [list(map(operator.index, row)) for row in found] if whole else []


def _from_tensor(given: Tensor) -> Tokens:
    """Ids [pos] or [batch pos], or with the type of each [batch pos 2]. Raises: TaskError for anything else."""
    if given.ndim == 3 and given.shape[-1] == 2:
        return replace(_from_tensor(given[..., 0]), types=given[..., 1].long())
    ids = given if given.ndim == 2 else given[None]
    odd = ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool
    if ids.ndim != 2 or odd or ids.numel() == 0:
        raise TaskError(
            f"tokens: given a tensor {tuple(given.shape)} {given.dtype}; expected integer ids [batch, pos]."
        )
    ids = ids if ids.dtype in (torch.int64, torch.int32) else ids.long()
    return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))


def _from_texts(texts: Sequence[str], tokenizer: Any, whole: bool) -> Tokens:
    """Prompts, with a warning where the vocabulary lacks words of theirs."""
    found = [encode_document(tokenizer, text) if whole else encode(tokenizer, text) for text in texts]
    if lacking := [text for text, ids in zip(texts, found, strict=True) if n_unknown(tokenizer, text, ids)]:
        warnings.warn(
            f"text {lacking[0]!r:.80} has words that the tokeniser's vocabulary lacks: the model sees its unknown token there.",
            TokenWarning,
            stacklevel=4,
        )
    return pad(found, pad_id(tokenizer), "right" if whole else "left")


def _from_mapping(given: Mapping[str, Any], whole: bool) -> Tokens:
    """What a tokeniser returns: `input_ids`, with padding `attention_mask`, and of two texts `token_type_ids`."""
    if "input_ids" not in given:
        raise TaskError(f"tokens: given a mapping with {', '.join(map(str, given))}; expected 'input_ids'.")
    tokens = as_tokens(given["input_ids"], None, whole=whole)
    mask, types = given.get("attention_mask"), given.get("token_type_ids")
    tokens = tokens if mask is None else Tokens(tokens.ids, _mask(mask, tokens.ids))
    types = None if types is None else as_tokens(types, None, whole=whole).ids
    return (
        tokens
        if types is None or not bool(types.any())
        else replace(tokens, types=with_types(tokens.ids, types)[..., 1])
    )


def _mask(given: Any, ids: Tensor) -> Tensor:
    """True where a token is real [batch pos]. Raises: TaskError for another shape than that of the ids, or a prompt without any."""
    try:
        several = isinstance(given, (list, tuple)) and isinstance(given[0], (list, tuple))
        found = (pad(given).ids if several else torch.as_tensor(given)).bool()
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise TaskError(f"attention_mask {given!r:.80}; expected one number for each token.") from error
    found = found if found.ndim == 2 else found[None]
    if found.shape != ids.shape:
        raise TaskError(
            f"attention_mask has shape {list(found.shape)} and input_ids {list(ids.shape)}; expected the same."
        )
    if not bool(found.any(-1).all()):
        raise TaskError("attention_mask: a prompt has no real token; expected at least one in each.")
    return found
