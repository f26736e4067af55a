"""How the sums of a block are made: what attention and MLP write, and where norms stand, found by rebuilding the block's output.

Of every way to put the pieces together, the one is taken whose result is the output of the block on the probe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import torch
from torch import Tensor, nn

from interp.model.modules.linear import mixes
from interp.model.probing.block_calls import BlockCalls, depends, passes, reads, same
from interp.model.probing.sample import setting
from interp.parts.block_layout import Place

#: The least factor that is looked for; the largest is one over it.
LEAST: Final = 0.001


@dataclass(frozen=True)
class Written:
    """What a sublayer may add: the output of `writer`, made from that of `raw` (an output projection, an MLP), times the parameter
    `gain`, plus the parameter `bias`."""

    raw: str
    writer: str
    place: Place
    value: Tensor
    gain: str | None = None
    bias: str | None = None


@dataclass(frozen=True)
class Step:
    """How a sublayer was found to change the stream `before`: `scale` times what is written is added to `keep` times the stream, which the
    parameter `keeper` multiplies too, and `around` is the norm on the sum."""

    written: Written
    scale: float
    around: str | None
    before: Tensor
    after: Tensor
    keep: float = 1.0
    keeper: str | None = None

    @property
    def place(self) -> Place:
        return "around" if self.around else self.written.place


def solve(blocks: Sequence[BlockCalls], projections: Sequence[str]) -> tuple[Step, ...]:
    """The steps of each attention of a block, seen from it (`blocks`), whose output projections are `projections`, and of the MLP, or of the
    MLP alone where nothing mixes positions; none where the output is not made of them (`further_sums` has more).

    Of several ways that rebuild the output, as far as one can tell by its rounding, the one without factors is taken, and of these
    the one that ends at the last module behind a sublayer.
    """
    block, *_ = blocks
    mlps = [made for raw in mlp_candidates(blocks, projections) for made in may_add(block, raw)]
    return _steps(block, [*(may_add(block, o) for o in projections), mlps])


def attention_alone(blocks: Sequence[BlockCalls], projections: Sequence[str]) -> Step | None:
    """The step of attention, or of what mixes positions in its place, of a block that has nothing else; None of others."""
    if len(projections) != 1:
        return None
    steps = _steps(blocks[0], [may_add(blocks[0], projections[0])])
    candidates = mlp_candidates(blocks, projections)
    return steps[0] if steps and _alone(blocks[0], steps[0].written, candidates) else None


def _steps(block: BlockCalls, sublayers: Sequence[Sequence[Written]]) -> tuple[Step, ...]:
    """The first steps that rebuild the output of the block, one of each sublayer; none without such."""
    for scales in (_no_scales, _stated_scales, _fitted_scales, _common_scales):
        for made in product(*sublayers):
            for own in scales(block, made):
                if found := _rebuilt(block, made, own):
                    return found
    return ()


def _alone(block: BlockCalls, written: Written, candidates: Sequence[str]) -> bool:
    """Whether no module that could be an MLP reaches the output of the block otherwise than through what attention writes; False where the
    forward has no gradients, which tell."""
    if block.own.made is None:
        return not candidates
    through = block.inside[written.writer].made
    return not any(depends(block.own.made, block.inside[raw].made, but_through=through) for raw in candidates)


def may_add(block: BlockCalls, raw: str) -> list[Written]:
    """What may be added of a module's output: what one or two norms or scales behind it make of it, the last first; it times a vector
    of the block's own; or itself."""
    call = block.inside[raw]
    found = [Written(raw, raw, "pre", call.y_value)]
    for name, gain in block.model.get_submodule(block.path).named_parameters(recurse=False):
        if gain.numel() in (1, call.y.shape[-1]):
            value = call.y_value * gain.detach().flatten()
            found.append(Written(raw, raw, "scaled", value, f"{block.path}.{name}"))
    place: Place = "scaled"
    for _ in range(2):
        path = _reader_of(block, call.y, raw)
        if path is None:
            break
        call = block.inside[path]
        place = "scaled" if place == "scaled" and _scales(block.model.get_submodule(path), call.x_value) else "after"
        found.append(Written(raw, path, place, call.y_value))
    return found[::-1]


def _reader_of(block: BlockCalls, y: Tensor, made_by: str) -> str | None:
    """The module that reads `y`, outside the module that made it, and mixes nothing: a norm or a scale behind attention or MLP."""
    for path, call in block.inside.items():
        outside = not f"{path}.".startswith(f"{made_by}.")
        if (
            outside
            and same(call.x, y)
            and not same(call.y, y)
            and call.y.numel() == y.numel()
            and not block.makes(path)
        ):
            return path
    return None


def _scales(module: nn.Module, x: Tensor) -> bool:
    """Whether a module multiplies every entry by a number of its own."""
    try:
        with torch.no_grad():
            one, two = module.forward(x), module.forward(2 * x)
    except (TypeError, ValueError, RuntimeError):
        return False
    return torch.allclose(two, 2 * one, rtol=1e-3, atol=0) and not mixes(module, x)


def mlp_candidates(blocks: Sequence[BlockCalls], projections: Sequence[str]) -> list[str]:
    """Modules that may be the MLP or its output projection: outside attention, with weights, of the stream's size; outer ones first."""
    block, attended = blocks[0], [path for own in blocks for path in own.mixing]
    found = []
    for path, call in block.inside.items():
        holds = any(f"{inner}.".startswith(f"{path}.") for inner in (*attended, *projections))
        within = any(own != block.path and path.startswith(f"{own}.") for own in attended)
        size = call.y.numel() == block.own.x.numel()
        if size and not holds and not within and not passes(call) and block.makes(path):
            found.append(path)
    return sorted(found, key=lambda path: path.count("."))


def _rebuilt(block: BlockCalls, made: Sequence[Written], scales: Sequence[float]) -> tuple[Step, ...] | None:
    """The steps whose result is the output of the block, if there are such."""
    x = block.own.x_value
    parts = [_scaled(written, scale, x) for written, scale in zip(made, scales, strict=True)]
    return next((steps for steps in _ways(block, x, made, scales) if _same_step(block, steps[-1].after, parts)), None)


def _ways(block: BlockCalls, x: Tensor, made: Sequence[Written], scales: Sequence[float]) -> Iterator[tuple[Step, ...]]:
    """Every way from the stream `x` through what is written, one sublayer after the other."""
    for step in _after(block, x, made[0], scales[0]):
        if len(made) == 1:
            yield (step,)
        else:
            yield from ((step, *rest) for rest in _ways(block, step.after, made[1:], scales[1:]))


def _scaled(written: Written, scale: float, x: Tensor) -> Tensor:
    return scale * written.value.reshape(x.shape)


def _after(block: BlockCalls, x: Tensor, written: Written, scale: float) -> Iterator[Step]:
    """What the stream is behind a sublayer: the sum; or what a norm makes of it that all goes through, where one reads the sum."""
    for around, after in behind(block, x + _scaled(written, scale, x)):
        yield Step(written, scale, around, x, after)


def behind(block: BlockCalls, total: Tensor) -> Iterator[tuple[str | None, Tensor]]:
    """What goes on of a sum: itself; or what a norm makes of it that all goes through, with the norm, where one reads it."""
    norms = [path for path in block.cutting if reads(block.inside[path], total)]
    if not norms or block.own.made is None:
        yield None, total
    for path in norms:
        yield path, block.inside[path].y_value.reshape(total.shape)


Scales = Iterator[tuple[float, ...]]


def _no_scales(block: BlockCalls, made: Sequence[Written]) -> Scales:
    yield (1.0,) * len(made)


def _stated_scales(block: BlockCalls, made: Sequence[Written]) -> Scales:
    """The factor that the configuration states."""
    if (stated := float(setting(block.model, "residual_multiplier", 1.0))) != 1.0:
        yield (stated,) * len(made)


def _fitted_scales(block: BlockCalls, made: Sequence[Written], x: Tensor | None = None) -> Scales:
    """Factors that make of the stream what a module of the block reads, one sublayer after the other."""
    x = block.own.x_value if x is None else x
    for scale in _fits(block, x, made[0]):
        if len(made) == 1:
            yield (scale,)
            continue
        for step in _after(block, x, made[0], scale):
            yield from ((scale, *rest) for rest in _fitted_scales(block, made[1:], step.after))


def _common_scales(block: BlockCalls, made: Sequence[Written]) -> Scales:
    """Factors of sublayers that are added at once."""
    parts = torch.stack([written.value.double().flatten() for written in made], dim=1)
    step = (block.own.y_value.double() - block.own.x_value.double()).reshape(-1, 1)
    found = torch.linalg.lstsq(parts.cpu(), step.cpu()).solution.flatten().tolist()
    if all(LEAST < abs(scale) < 1 / LEAST for scale in found):
        yield tuple(meant(block, scale) for scale in found)


def _fits(block: BlockCalls, x: Tensor, written: Written) -> Iterator[float]:
    """The factors s with x + s * written being what the block gives, or what a module of it reads."""
    w = written.value.double().reshape(x.shape)
    goals = [block.own.y_value, *(call.x_value for call in block.inside.values() if call.x.numel() == x.numel())]
    seen: list[float] = []
    for goal in goals:
        way = goal.double().reshape(x.shape) - x.double()
        scale = float((way * w).sum() / w.square().sum().clamp_min(1e-300))
        near = (way - scale * w).abs().max() <= 1e-3 * abs(scale) * w.abs().max()
        if bool(near) and LEAST < abs(scale) < 1 / LEAST and not any(abs(scale - s) <= 1e-4 * abs(s) for s in seen):
            seen.append(scale)
            yield meant(block, scale)


def meant(block: BlockCalls, scale: float, tolerance: float = 1e-4) -> float:
    """The number that a factor is meant to be: an attribute of the block or of the configuration, where one is so near."""
    module, config = block.model.get_submodule(block.path), getattr(block.model, "config", None)
    known = [
        value for owner in (module, config) for value in vars(owner or object()).values() if isinstance(value, float)
    ]
    return next((value for value in (1.0, *known) if abs(value - scale) <= tolerance * abs(scale)), scale)


def _same_step(block: BlockCalls, after: Tensor, parts: list[Tensor]) -> bool:
    """Whether the block's output is `after`: to rounding, entry by entry, and to a small share of the smaller part that is added, so that
    none is too small to be seen beside the other."""
    return near(after, block.own.y_value, block.own.x_value, parts)


def near(after: Tensor, y: Tensor, x: Tensor, parts: Sequence[Tensor]) -> bool:
    """Whether a sum of x and parts that is `after` is y in the same way."""
    sizes = sum((part.double().abs() for part in (*parts, y)), x.double().abs())
    rounding = 4 * torch.finfo(y.dtype).eps * sizes
    smaller = min(float(part.double().abs().max()) for part in parts)
    return bool(((after.double() - y.double()).abs() <= 1e-3 * smaller + rounding).all())
