"""What stands before the first block and behind the last: embeddings, final norm and unembedding, found on the probe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.model.modules.linear import has_base, input_embedding, is_linear_map, mixes
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import has_matrix, same
from interp.model.probing.probe import Call, Probe
from interp.model.probing.sample import setting
from interp.model.probing.sublayers import check_kept


@dataclass(frozen=True)
class End:
    """The final norm, None without one, the unembedding, and what happens between it and the logits: a scale, or a soft cap."""

    ln_final: str | None
    unembed: str
    scale: float
    softcap: float | None


def read_end(model: Any, blocks: Sequence[str], seen: Probe) -> End:
    """How the logits come out of the last block. Raises: LayoutError where it is not by one norm, or none, and a linear map."""
    name, last = type(model).__name__, seen.calls[blocks[-1]]
    for path, call in _unembeddings(model, blocks, seen):
        scale, softcap = _transform(model, call.y_value, seen.logits) or (0.0, None)
        if scale and _reads(call, last):
            check_kept(seen.calls, [path])
            return End(None, path, scale, softcap)
        if scale and (norm := _norm_between(model, blocks, seen.calls, call, last)):
            check_kept(seen.calls, [norm, path])
            return End(norm, path, scale, softcap)
    raise LayoutError(
        f"{name}: no linear module was found that makes the logits of the final norm of the last block ({blocks[-1]}); expected "
        "logits = unembedding(norm(x)), scaled or soft-capped at most."
    )


def _unembeddings(model: Any, blocks: Sequence[str], seen: Probe) -> Iterator[tuple[str, Call]]:
    """Projections behind the blocks, the last called first, with as many outputs as there are logits."""
    for path, call in reversed(seen.calls.items()):
        module = model.get_submodule(path)
        if call.y.shape[-1] != seen.logits.shape[-1] or _in_blocks(path, blocks) or not path:
            continue
        alone = not any(other.startswith(f"{path}.") for other in seen.calls)
        if is_linear_map(module) or has_base(module) or (alone and mixes(module, call.x_value)):
            yield path, call


def _in_blocks(path: str, blocks: Sequence[str]) -> bool:
    return any(f"{path}.".startswith(f"{block}.") or block.startswith(f"{path}.") for block in blocks)


def _norm_between(model: Any, blocks: Sequence[str], calls: Mapping[str, Call], reader: Call, last: Call) -> str | None:
    """The module that reads the last block's output and makes what the unembedding reads, without mixing its entries."""
    for path, call in calls.items():
        between = _reads(call, last) and _reads(reader, call)
        if between and path and not _in_blocks(path, blocks) and not has_matrix(model.get_submodule(path)):
            return path
    return None


def _reads(reader: Call, made: Call) -> bool:
    """Whether a module reads what another makes, also where it writes into it."""
    return close(reader.x_value, made.y_value) or same(reader.x, made.y)


def _transform(model: Any, unembedded: Tensor, logits: Tensor) -> tuple[float, float | None] | None:
    """What happens between unembedding and logits: (scale, soft cap); None for anything else."""
    cap = setting(model, "final_logit_softcapping")
    if cap is not None and close(cap * torch.tanh(unembedded / cap), logits):
        return 1.0, float(cap)
    if torch.equal(unembedded, logits):
        return 1.0, None
    stated = (setting(model, "logit_scale"), 1 / setting(model, "logits_scaling", 1.0))
    for scale in (s for s in stated if s):
        if close(scale * unembedded, logits):
            return float(scale), None
    scale = float((logits.double() * unembedded.double()).sum() / unembedded.double().square().sum())
    if close(scale * unembedded, logits):
        return scale, None
    cap = _cap_of(unembedded, logits)
    caps = [] if cap is None else [float(f"{cap:.{digits}g}") for digits in (2, 3, 5)]
    return next(((1.0, c) for c in caps if close(c * torch.tanh(unembedded / c), logits)), None)


def _cap_of(unembedded: Tensor, logits: Tensor) -> float | None:
    """The c with c tanh(u / c) = logit at the largest u, which rises with c from 0 to u; None where there is none."""
    place = unembedded.abs().argmax()
    u, logit = (abs(float(x.flatten()[place])) for x in (unembedded, logits))
    low, high = 1e-6, 1e9
    if not 0 < logit < u or float(unembedded.flatten()[place]) * float(logits.flatten()[place]) < 0:
        return None
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if middle * math.tanh(u / middle) < logit else (low, middle)
    return high


def position_embedding(model: Any, blocks: Sequence[str], seen: Probe) -> str | None:
    """The module whose output, added to the token embedding, is what the first block reads; None without one."""
    embedding, entering = input_embedding(model), seen.calls[blocks[0]].x_value
    tokens = next((y for path, y in seen.embedded.items() if model.get_submodule(path) is embedding), None)
    if tokens is None or tokens.shape != entering.shape:
        return None
    made = {path: call.y_value for path, call in seen.calls.items() if not _in_blocks(path, blocks)} | seen.embedded
    for path, y in made.items():
        if y is not tokens and y.numel() == entering.numel() and close(tokens + y.reshape(entering.shape), entering):
            return path
    return None
