"""Which keys each measure of a head counts, and how much of a row goes to them.

Every measure but the entropies is the weight on some keys, averaged over the queries that have such a key among those that they may look at.
A key outside of a sliding window counts with the weight that it has, 0.

| measure | keys of the query at position i |
| --- | --- |
| `entropy`, `entropy_from_cls` | all: -sum p log p of the row, in nats (0 log 0 = 0); of every query, or of the first token alone |
| `to_self` | i |
| `to_offset(k)` | i + k; in an image `to_offset(r,c)`: the patch r rows down and c columns to the right |
| `to_token(name)` | tokens of a set |
| `previous_duplicate` | j < i with the token of i |
| `induction` | j + 1 < i, where j has the token of i |
| `sink` | the first token, for later queries; with what goes to no token, where the model has a learned sink |

Axis words: `batch head q_pos k_pos measure`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.whole_numbers import is_whole

Offset = int | tuple[int, int]
CLS: Final = "entropy_from_cls"
SINK: Final = "sink"
_PATCH: Final = re.compile(r"[rf](\d+)[ct](\d+)")


def grid_of(names: Sequence[str]) -> Tensor | None:
    """Row and column of every position [pos 2], -1 of one that is no patch; None where no position is one.

    names: as `model.positions` has them, `r0c1` or `f0t1`.
    """
    found = [_PATCH.fullmatch(name) for name in names]
    if not any(found):
        return None
    return torch.tensor([[int(match[1]), int(match[2])] if match else [-1, -1] for match in found])


def offsets_of(given: Sequence[Offset] | None, grid: Tensor | None, causal: bool) -> tuple[Offset, ...]:
    """The offsets to measure: by default the three before, those behind too where positions look at later ones, or the four neighbours of a patch.

    Raises: TaskError for one that no query may look at, or of the other number of axes.
    """
    if given is None and grid is not None:
        return ((0, -1), (0, 1), (-1, 0), (1, 0))
    if given is None:
        return (-3, -2, -1) if causal else (-3, -2, -1, 1, 2, 3)
    found = tuple(_checked_offset(one, grid is not None, causal) for one in given)
    return tuple(dict.fromkeys(found))


def _checked_offset(given: Any, image: bool, causal: bool) -> Offset:
    if image and isinstance(given, (tuple, list)) and len(given) == 2 and all(map(is_whole, given)):
        found: Offset = (int(given[0]), int(given[1]))
    elif not image and is_whole(given):
        found = int(given)
    else:
        raise TaskError(
            f"offset {given!r:.40}: expected {'(rows, columns) of patches' if image else 'whole numbers of tokens'}."
        )
    if found in (0, (0, 0)):
        raise TaskError("offset 0 is the position itself, which to_self has; leave it out.")
    if causal and isinstance(found, int) and found > 0:
        raise TaskError(f"offset {found}: no position of this model looks at later ones; expected -1 or less.")
    return found


def named_offset(offset: Offset) -> str:
    """What the measure of an offset is called."""
    inner = ",".join(map(str, offset)) if isinstance(offset, tuple) else offset
    return f"to_offset({inner})"


def keys_of(
    length: int,
    ids: Tensor | None,
    *,
    causal: bool,
    offsets: Sequence[Offset],
    sets: Mapping[str, Sequence[int]],
    grid: Tensor | None = None,
) -> dict[str, Tensor]:
    """The keys that each measure counts, for each query, [batch q_pos k_pos] or [1 q_pos k_pos]: those alone that it may look at."""
    at = torch.arange(length)
    before = at[None] < at[:, None]
    found = {"to_self": (at[None] == at[:, None])[None]}
    found |= {named_offset(offset): _at_offset(at, offset, grid)[None] for offset in offsets}
    if ids is not None:
        for name, members in sets.items():
            found[f"to_token({name})"] = torch.isin(ids, torch.tensor(list(members)))[:, None].expand(-1, length, -1)
        same = (ids[:, :, None] == ids[:, None]) & before
        found["previous_duplicate"] = same
        # A key counts where the position before it counts for `previous_duplicate`; the query itself never.
        found["induction"] = torch.nn.functional.pad(same, (1, 0))[..., :length] & before
    found[SINK] = (before & (at == 0)[None])[None]
    visible = before | (at[None] == at[:, None]) if causal else torch.ones_like(before)
    return {name: keys & visible for name, keys in found.items()}


def _at_offset(at: Tensor, offset: Offset, grid: Tensor | None) -> Tensor:
    """[q_pos k_pos]: whether the key stands at this offset of the query."""
    if grid is None:
        return torch.eq(at[None] - at[:, None], int(offset))  # type: ignore[arg-type]
    patch = (grid >= 0).all(-1)
    apart = grid[None] - grid[:, None] == torch.tensor(offset)
    return apart.all(-1) & patch[None] & patch[:, None]


def entropies(weights: Tensor) -> Tensor:
    """-sum p log p of each row [... q_pos k_pos] in nats; of a row that sums to less than 1, of its shares."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    found: Tensor = torch.special.entr(shares).sum(-1)
    return found


def measured(weights: Tensor, keys: Mapping[str, Tensor], cls: bool) -> dict[str, Tensor]:
    """Every measure of every head [batch head], nan of a prompt where no query has such a key. weights: [batch head q_pos k_pos] in float64."""
    entropy = entropies(weights)
    found = {"entropy": entropy.mean(-1)} | ({CLS: entropy[..., 0]} if cls else {})
    for name, mask in keys.items():
        rows = torch.einsum("bhqk,bqk->bhq", weights, mask.expand(len(weights), -1, -1).to(weights))
        if name == SINK:
            rows = rows + (1 - weights.sum(-1)).clamp_min(0)
        has = mask.any(-1)[:, None].expand_as(rows)
        found[name] = torch.where(has, rows, 0).sum(-1) / has.sum(-1)
    return found


def token_sets(tokens: Mapping[str, Any] | None, tokenizer: Any) -> dict[str, tuple[int, ...]]:
    """Names of sets of tokens with their ids; by default `special`, those of the tokeniser. Texts are the tokens that the tokeniser makes of them.

    Raises: TaskError for an empty set, a text of several tokens, or text without a tokeniser.
    """
    if tokens is None:
        special = tuple(sorted(set(getattr(tokenizer, "all_special_ids", None) or ())))
        return {"special": special} if special else {}
    found = {
        str(name): tuple(_id(one, name, tokenizer) for one in _several(members)) for name, members in tokens.items()
    }
    if empty := [name for name, members in found.items() if not members]:
        raise TaskError(f"tokens: the set {empty[0]!r:.60} is empty; expected texts of one token each, or ids.")
    return found


def _several(members: Any) -> list[Any]:
    return [members] if isinstance(members, str) or is_whole(members) else list(members)


def _id(given: Any, name: str, tokenizer: Any) -> int:
    if is_whole(given):
        return int(given)
    if tokenizer is None or not isinstance(given, str):
        raise TaskError(f"tokens: {given!r:.60} in the set {name!r:.60}; expected a token id, or text and a tokeniser.")
    ids = tokenizer.encode(given, add_special_tokens=False)
    if len(ids) != 1:
        raise TaskError(f"tokens: {given!r:.60} in the set {name!r:.60} is {len(ids)} tokens; expected one.")
    return int(ids[0])
