"""What stands before the first block and behind the last: embeddings, final norm and unembedding, found on the probe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.model.modules.linear import has_base, input_embedding, is_linear_map, mixes
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import depends, has_matrix, passes, same
from interp.model.probing.probe import Call, Probe
from interp.model.probing.sample import setting
from interp.model.probing.sublayers import check_kept
from interp.parts.layout import HeadStep
from interp.parts.outputs import Kind


@dataclass(frozen=True)
class End:
    """How the output comes out of the last block: the final norm, None without one; the map whose output, scaled or soft-capped, it is,
    None without one; whether these two are all; and of which positions a prompt's output is made. `before`: what of the scale stands
    in front of the unembedding."""

    ln_final: str | None
    unembed: str | None
    linear: bool
    readout: Kind
    head: tuple[HeadStep, ...]
    scale: float = 1.0
    softcap: float | None = None
    before: float = 1.0


def read_end(model: Any, blocks: Sequence[str], seen: Probe) -> End:
    """How the output comes out of the last block. Raises: LayoutError where the last block has no part in it."""
    kind, last = check_end(model, blocks, seen), seen.calls[blocks[-1]]
    head, found = _head(model, blocks, seen, last), None
    for path, call in _unembeddings(model, blocks, seen):
        scale, softcap = _transform(model, call.y_value, seen.output.detach()) or (0.0, None)
        if not scale:
            continue
        norm, factor = _norm_between(model, blocks, seen, call, last), 1.0
        linear = norm is not None or _reads(call, last)
        if not linear and softcap is None and (behind := _multiplied(model, blocks, seen, path)) is not None:
            norm, factor = behind
            linear, scale = True, scale * factor
        if linear:
            check_kept(seen.calls, [p for p in (norm, path) if p])
            return End(norm, path, True, kind, head, scale, softcap, factor)
        found = found or End(norm_behind(model, blocks, seen), path, False, kind, head, scale, softcap)
    return found or End(norm_behind(model, blocks, seen), None, False, kind, head)


def check_end(model: Any, blocks: Sequence[str], seen: Probe) -> Kind:
    """Which positions of a stack's stream a prompt's output depends on. Raises: LayoutError where it depends on none, or on the stream
    before the last block otherwise than through that."""
    last, name = seen.calls[blocks[-1]], type(model).__name__
    kind = _readout(seen, last, f"{name}: {blocks[-1]}")
    if depends(seen.output.grad_fn, seen.calls[blocks[0]].read, but_through=last.made):
        raise LayoutError(
            f"{name}: what comes out is made of more than the last block's output ({blocks[-1]}), of the stream before it too; "
            "expected a head that reads the last block alone."
        )
    return kind


def _head(model: Any, blocks: Sequence[str], seen: Probe, last: Call) -> tuple[HeadStep, ...]:
    """The modules from the last block's stream to the output, each the outermost that reads what the one before makes; none where a step
    between them is no module."""
    steps: list[HeadStep] = []
    made, output = last.y_value, seen.output.detach()
    paths = [path for path in sorted(seen.calls, key=lambda p: p.count(".")) if path and not _in_blocks(path, blocks)]
    while not _transform(model, made, output):
        for path in paths:
            call = seen.calls[path]
            if (at := _read_at(call.x_value, made)) is not None and not passes(call):
                break
        else:
            return ()
        steps.append(HeadStep(path, None if at == "all" else int(at)))
        made, paths = call.y_value, [p for p in paths if not f"{p}.".startswith(f"{path}.")]
    return tuple(steps)


def _read_at(x: Tensor, made: Tensor) -> str | None:
    """What a module reads of a tensor [1 pos d]: `all`, the first position ("0") or the last ("-1"); None where it reads another."""
    if close(x, made):
        return "all"
    one = made.ndim == 3 and x.numel() == made[:, 0].numel()
    return next((str(at) for at in (0, -1) if one and close(x, made[:, at])), None)


def _readout(seen: Probe, last: Call, name: str) -> Kind:
    """Which positions of the last block's stream a prompt's output depends on, from its gradient there."""
    n = last.y.shape[1]
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(seen.output.shape, generator=generator, dtype=torch.float32).to(seen.output)
    if not seen.output.requires_grad or seen.output.shape[1] == n > 1:
        return "each"
    (grad,) = torch.autograd.grad((seen.output * weights).sum(), [last.y], retain_graph=True, allow_unused=True)
    if grad is None:
        raise LayoutError(f"{name}: what comes out does not depend on its stream.")
    used = grad[0].abs().amax(-1) > 0
    if seen.output.shape[1:] == (1, n) and _one_each(seen.output, last.y):
        raise LayoutError(
            f"{name}: what comes out is one number for each position; expected [batch pos output] or [batch output]."
        )
    if int(used.sum()) == 1:
        return "first" if bool(used[0]) else "last" if bool(used[-1]) else "whole"
    same = bool(used.all()) and close(grad[0], grad[0].mean(0).expand_as(grad[0]))
    return "mean" if same else "whole"


def _one_each(output: Tensor, stream: Tensor) -> bool:
    """Whether each of as many outputs [1 1 pos] as there are positions depends on its own position of the stream alone."""
    for i, y in enumerate(output[0, 0]):
        (grad,) = torch.autograd.grad(y, [stream], retain_graph=True)
        if (grad[0].abs().amax(-1) > 0).nonzero().flatten().tolist() != [i]:
            return False
    return True


def norm_behind(model: Any, blocks: Sequence[str], seen: Probe) -> str | None:
    """The norm that reads the last block's output and that all of what comes out goes through, whatever follows it; none that is called elsewhere
    too."""
    last = seen.calls[blocks[-1]]
    for path, call in seen.calls.items():
        once = path and seen.counts[path] == 1
        outside = once and not _in_blocks(path, blocks) and not has_matrix(model.get_submodule(path))
        norms = outside and _reads(call, last) and not passes(call) and call.y.shape == call.x.shape
        if norms and not depends(seen.output.grad_fn, last.made, but_through=call.made):
            return path
    return None


def _unembeddings(model: Any, blocks: Sequence[str], seen: Probe) -> Iterator[tuple[str, Call]]:
    """Projections behind the blocks, the last called first, with as many outputs as there are logits."""
    for path, call in reversed(seen.calls.items()):
        module = model.get_submodule(path)
        if call.y.shape[-1] != seen.output.shape[-1] or _in_blocks(path, blocks) or not path:
            continue
        alone = not any(other.startswith(f"{path}.") for other in seen.calls)
        if is_linear_map(module) or has_base(module) or (alone and mixes(module, call.x_value)):
            yield path, call


def _in_blocks(path: str, blocks: Sequence[str]) -> bool:
    return any(f"{path}.".startswith(f"{block}.") or block.startswith(f"{path}.") for block in blocks)


def _multiplied(model: Any, blocks: Sequence[str], seen: Probe, path: str) -> tuple[str, float] | None:
    """The norm behind the last block and the factor, a number, that make what an unembedding without a bias reads, as T5's does; None where
    it reads something else."""
    norm, call = norm_behind(model, blocks, seen), seen.calls[path]
    with torch.no_grad():
        if norm is None or bool(model.get_submodule(path)(torch.zeros_like(call.x_value)).any()):
            return None
    x, y = call.x_value.double(), seen.calls[norm].y_value.double()
    if x.numel() != y.numel():
        return None
    factor = float((x.flatten() * y.flatten()).sum() / y.square().sum().clamp_min(1e-300))
    return (norm, factor) if factor and close((factor * y).to(call.x_value), call.x_value.reshape(y.shape)) else None


def _norm_between(model: Any, blocks: Sequence[str], seen: Probe, reader: Call, last: Call) -> str | None:
    """The module that reads the last block's output and makes what the unembedding reads, without mixing its entries, called once."""
    for path, call in seen.calls.items():
        between = _reads(call, last) and _reads(reader, call) and not passes(call) and call.x.numel() == call.y.numel()
        if (
            between
            and path
            and seen.counts[path] == 1
            and not _in_blocks(path, blocks)
            and not has_matrix(model.get_submodule(path))
        ):
            return path
    return None


def _reads(reader: Call, made: Call) -> bool:
    """Whether a module reads what another makes, all of it or one position, also where it writes into it."""
    x, y = reader.x_value, made.y_value
    if close(x, y) or same(reader.x, made.y):
        return True
    return y.ndim == 3 and x.numel() == y[:, 0].numel() and any(close(x, own) for own in y.unbind(1))


def _transform(model: Any, unembedded: Tensor, logits: Tensor) -> tuple[float, float | None] | None:
    """What happens between unembedding and logits: (scale, soft cap); None for anything else."""
    cap = setting(model, "final_logit_softcapping")
    if cap is not None and close(cap * torch.tanh(unembedded / cap), logits):
        return 1.0, float(cap)
    if unembedded.numel() != logits.numel():
        return None
    unembedded = unembedded.detach().reshape(logits.shape)
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
