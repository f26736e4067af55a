"""Two texts as one input of a model that reads both, such as premise and hypothesis: their ids, and of each token the type of its segment.

Axis words: `batch pos`. Ids with their types are one tensor [batch pos 2], so that what carries ids carries them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.parts.named_inputs import TEXT, Example


def encode_segments(tokenizer: Any, first: str, second: str) -> tuple[list[int], list[int] | None]:
    """The ids of two texts as the tokeniser joins them, and the type of each, None where it gives none.

    Raises: TaskError without a tokeniser, and for one that puts nothing between two texts, so that nobody could tell them apart.
    """
    if tokenizer is None:
        raise TaskError(
            f"two texts {first!r:.40} and {second!r:.40} given, but the model has no tokeniser: pass tokenizer=... to interp.load."
        )
    try:
        one, two = (tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
        found = tokenizer(first, second)
    except Exception as error:  # of a library below, such as one without a token for what its vocabulary lacks
        raise TaskError(
            f"two texts {first!r:.40} and {second!r:.40}: the tokeniser fails: {str(error) or type(error).__name__:.200}."
        ) from error
    if two <= one:
        raise TaskError(
            f"two texts {first!r:.40} and {second!r:.40}: this tokeniser puts nothing between them. Write them as one text, as the model was "
            "trained on them."
        )
    types = found.get("token_type_ids")
    return list(map(int, found["input_ids"])), None if types is None else list(map(int, types))


def segmented(ids: Sequence[int], types: Sequence[int] | None, n_types: int) -> tuple[int, ...] | Example:
    """A prompt of two texts for a model that tells `n_types` of tokens apart: ids alone where it tells none, else ids with their types.

    Raises: TaskError where the tokeniser gives none or more than the model tells apart.
    """
    if not n_types or (n_types == 1 and not any(types or ())):
        return tuple(ids)
    if types is None:
        raise TaskError(
            f"this model tells {n_types} types of tokens apart, and its tokeniser gives none: let its model_input_names have 'token_type_ids'."
        )
    if max(types) >= n_types:
        raise TaskError(
            f"the tokeniser gives token types 0 to {max(types)}, and this model tells {n_types} apart: leave 'token_type_ids' out of its "
            "model_input_names."
        )
    return Example({TEXT: with_types(torch.tensor(ids), torch.tensor(types))}, TEXT, len(ids), {"": len(ids)})


def with_types(ids: Tensor, types: Tensor) -> Tensor:
    """Ids and types, each [... pos], as one tensor [... pos 2]. Raises: TaskError where they are not of one shape."""
    if ids.shape != types.shape:
        raise TaskError(
            f"token_type_ids has shape {list(types.shape)} and input_ids {list(ids.shape)}; expected the same."
        )
    return torch.stack([ids, types.to(ids)], -1)


def check_segments(clean: Example, corrupt: Example, row: str) -> None:
    """Raises: TaskError where two prompts do not have as many tokens of each segment, so that a position of one is not that of the other."""
    types = [side.tensors[TEXT][:, 1].tolist() for side in (clean, corrupt)]
    if types[0] != types[1]:
        clean_n, corrupt_n = (f"{of.count(0)} + {len(of) - of.count(0)}" for of in types)
        raise TaskError(
            f"{row}: the texts of clean have {clean_n} tokens and those of corrupt {corrupt_n}; patching needs equal lengths of each text."
        )
