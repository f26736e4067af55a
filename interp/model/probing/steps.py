"""How the sums of a block are made: what attention and MLP write, and where norms stand, found by rebuilding the block's output.

Of every way to put the pieces together, the one is taken whose result is the output of the block on the probe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from interp.errors import LayoutError, some
from interp.model.modules.linear import mixes
from interp.model.probing.block_calls import BlockCalls, passes, reads, same
from interp.model.probing.sample import setting
from interp.parts.layout import Place


@dataclass(frozen=True)
class Written:
    """What a sublayer may add: the output of `writer`, made from that of `raw` (an output projection, an MLP), times the parameter
    `gain`."""

    raw: str
    writer: str
    place: Place
    value: Tensor
    gain: str | None = None


@dataclass(frozen=True)
class Step:
    """How a sublayer was found to change the stream: `scale` times what is written is added, and `around` is the norm on the sum."""

    written: Written
    scale: float
    around: str | None
    after: Tensor

    @property
    def place(self) -> Place:
        return "around" if self.around else self.written.place


def solve(block: BlockCalls, o: str) -> tuple[Step, Step]:
    """The steps of attention, whose output projection is `o`, and of the MLP.

    Raises: LayoutError naming the block whose output is not made of them.
    """
    attention = list(_written(block, o))
    mlps = [made for raw in _mlps(block, o) for made in _written(block, raw)]
    for first, second in product(attention, mlps):
        if found := _rebuilt(block, first, second):
            return found
    candidates = some(dict.fromkeys(made.raw for made in mlps)) or "no module that could be one"
    raise LayoutError(
        f"{block.path}: its output is not input + attention output + MLP output, nor with norms in front, behind or around the sums. "
        f"Found: attention with output projection {o}; MLP: {candidates}."
    )


def _written(block: BlockCalls, raw: str) -> Iterator[Written]:
    """What may be added of a module's output: itself, times a vector of the block's own, or what one or two norms or scales behind it
    make of it."""
    call = block.inside[raw]
    yield Written(raw, raw, "pre", call.y_value)
    for name, gain in block.model.get_submodule(block.path).named_parameters(recurse=False):
        if gain.numel() == call.y.shape[-1]:
            yield Written(raw, raw, "scaled", call.y_value * gain.detach().flatten(), f"{block.path}.{name}")
    place: Place = "scaled"
    for _ in range(2):
        path = _reader_of(block, call.y, raw)
        if path is None:
            return
        call = block.inside[path]
        place = "scaled" if place == "scaled" and _scales(block.model.get_submodule(path), call.x_value) else "after"
        yield Written(raw, path, place, call.y_value)


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


def _mlps(block: BlockCalls, o: str) -> list[str]:
    """Modules that may be the MLP or its output projection: outside attention, with weights, of the stream's size; outer ones first."""
    size, attended = block.own.x.numel(), block.attended.path
    found = []
    for path, call in block.inside.items():
        holds = any(f"{inner}.".startswith(f"{path}.") for inner in (attended, o))
        within = attended != block.path and path.startswith(f"{attended}.")
        if call.y.numel() == size and not holds and not within and not passes(call) and block.makes(path):
            found.append(path)
    return sorted(found, key=lambda path: path.count("."))


def _rebuilt(block: BlockCalls, first: Written, second: Written) -> tuple[Step, Step] | None:
    """The two steps whose result is the output of the block, if there are such."""
    x, y = block.own.x_value, block.own.y_value
    for scale in _scales_of(block, first, second):
        for one in _after(block, x, first, scale[0]):
            for two in _after(block, one.after, second, scale[1]):
                if _same_step(two.after, x, y):
                    return one, two
    return None


def _after(block: BlockCalls, x: Tensor, written: Written, scale: float) -> Iterator[Step]:
    """What the stream may be behind a sublayer: the sum, or what a norm makes of it."""
    total = x + scale * written.value.reshape(x.shape)
    yield Step(written, scale, None, total)
    for path, call in block.inside.items():
        if call.y.numel() == total.numel() and reads(call, total) and not passes(call) and not block.makes(path):
            yield Step(written, scale, path, call.y_value.reshape(x.shape))


def _scales_of(block: BlockCalls, first: Written, second: Written) -> Iterator[tuple[float, float]]:
    """The factors that attention and MLP may be added with: none, the one that the configuration states, or what fits."""
    yield 1.0, 1.0
    if (stated := float(setting(block.model, "residual_multiplier", 1.0))) != 1.0:
        yield stated, stated
    parts = torch.stack([written.value.double().flatten() for written in (first, second)], dim=1)
    step = (block.own.y_value.double() - block.own.x_value.double()).reshape(-1, 1)
    found = torch.linalg.lstsq(parts.cpu(), step.cpu()).solution.flatten().tolist()
    if all(0.001 < abs(scale) < 1000 for scale in found):
        yield _stated(block, found[0]), _stated(block, found[1])


def _stated(block: BlockCalls, scale: float) -> float:
    """The number that a factor is meant to be: an attribute of the block or of the configuration, where one is so near."""
    module, config = block.model.get_submodule(block.path), getattr(block.model, "config", None)
    known = [
        value for owner in (module, config) for value in vars(owner or object()).values() if isinstance(value, float)
    ]
    return next((value for value in (1.0, *known) if abs(value - scale) <= 1e-4 * abs(scale)), scale)


def _same_step(after: Tensor, x: Tensor, y: Tensor) -> bool:
    """Whether the block's output y is `after`, measured against the step it takes so that a small step hides nothing."""
    step = (y.double() - x.double()).abs().max()
    rounding = 4 * torch.finfo(y.dtype).eps * y.double().abs().max()
    return bool((after.double() - y.double()).abs().max() <= 1e-3 * step + rounding)
