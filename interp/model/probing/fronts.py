"""What stands in front of attention and MLP on the probe: the norm, and the module that reads what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.errors import LayoutError, some
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import BlockCalls, depends, passes, reads, same


@dataclass(frozen=True)
class Front:
    """The norm in front of a sublayer, the module that reads what it makes, or the stream (the block, where several do), and the one
    whose input is the sublayer's own copy of the stream, if there is such."""

    norm: str | None
    entry: str
    reader: str | None


def output_projection(block: BlockCalls) -> str | None:
    """The map that reads z: the first behind the attention whose input is z or is computed from it; an adapter with what is inside."""
    behind = [path for path in block.later if block.projects(path)]
    z = block.attended.made
    reading = [path for path in behind if block.attended.kv_heads and close(block.later[path].x_value, z)]
    reading = reading or [path for path in behind if depends(block.later[path].read, z.grad_fn)]
    if not reading:
        return None
    whole = [path for path in block.parents(reading[0]) if block.projects(path)]
    return whole[-1] if whole else reading[0]


def heads_apart(block: BlockCalls, o: str) -> bool:
    """Whether the entries of z of one head stand side by side, head after head, in what the output projection reads: whether they depend
    on the attention of that head, give or take a norm over all."""
    z, made, axis = block.inside[o].x, block.attended.made, block.attended.heads_axis
    n = block.attended.heads
    if z.shape[-1] % n or (axis == 2 and torch.equal(block.inside[o].x_value.flatten(), made.detach().flatten())):
        return z.shape[-1] % n == 0
    if not z.requires_grad:  # a forward without gradients does not tell
        return False
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(z.shape, generator=generator, dtype=torch.float32).to(z)
    weights[..., z.shape[-1] // n :] = 0
    (grad,) = torch.autograd.grad((z * weights).sum(), [made], retain_graph=True)
    sizes = grad.movedim(axis, 0).flatten(1).norm(dim=1)
    return bool(sizes[0] > 0) and bool(sizes[0] >= 2 * sizes[1:].max()) if n > 1 else True


def attention_front(block: BlockCalls, o: str, mlp: str | None, stream: Tensor, *, alone: bool = False) -> Front | None:
    """What stands in front of attention, if it reads this value of the stream [batch pos d_model]. mlp: the module that writes for the
    MLP, where there is one. alone: only what reads the stream as a whole, for attention whose keys and values are of another."""
    caller = block.attended.path
    around = [] if caller == block.path else [caller, *block.parents(caller)]
    for entry in (path for path in around if path in block.inside):
        call, last = block.inside[entry], block.inside[o]
        whole = same(call.y, last.y) or (entry == caller and close(call.y_value, last.x_value))
        if found := _front(block, entry, stream, whole):
            return found
    return None if alone else _read_by(block, feeding(block, o, mlp), stream, apart=False)


def feeding(block: BlockCalls, o: str, mlp: str | None) -> list[str]:
    """The projections that q, k and v are made of, not those of an MLP before them."""
    z, written = block.inside[o].read, None if mlp is None else block.inside[mlp].made
    return [p for p in block.projections() if p != o and depends(z, block.inside[p].made, but_through=written)]


def mlp_modules(seen: Sequence[BlockCalls], raw: str, projections: Sequence[str]) -> tuple[str, str | None]:
    """The module of an MLP, the block where it has none, and its output projection, None where it has none; `raw` is what writes, which may be
    a norm of what two of them make."""
    block = seen[0]
    if not block.makes(raw):
        return block.path, None
    if not block.projects(raw):
        made = block.inside[raw]
        below = (path for path in block.projections(f"{raw}.") if same(block.inside[path].y, made.y))
        return raw, next((path for path in below if close(block.inside[path].y_value, made.y_value)), None)
    for path in block.parents(raw):
        others = [own for own in block.projections(f"{path}.") if own != raw]
        if any(
            f"{own}.".startswith(f"{path}.") for own in (*projections, *(path for own in seen for path in own.mixing))
        ):
            break
        if others:
            return path, raw
    return block.path, raw


def mlp_front(
    seen: Sequence[BlockCalls], module: str, writes: str, projections: Sequence[str], stream: Tensor
) -> Front | None:
    """What stands in front of the MLP whose output is that of `writes`, if it reads this value of the stream [batch pos d_model]."""
    block, prefix = seen[0], f"{module}."
    made = block.inside[writes]
    own = () if module == block.path else (path for path in block.inside if f"{path}.".startswith(prefix))
    below = sorted(own, key=lambda path: path.count("."))
    for entry in (path for path in below if not block.projects(path) and block.makes(path)):
        if found := _front(block, entry, stream, same(block.inside[entry].y, made.y)):
            return found
    attentions = zip(seen, projections, strict=bool(block.mixing))
    feeds = (path for view, o in attentions for path in feeding(view, o, writes))
    attending = {writes, *projections, *feeds}
    inner = [p for p in block.projections(prefix) if p not in attending and depends(made.read, block.inside[p].made)]
    return _read_by(block, inner, stream, apart=True)


def unknown_front(block: BlockCalls, what: str) -> Front:
    """The front of a sublayer that reads the stream through code of the block, such as a norm by function: nobody has its copy.

    Raises: LayoutError where a norm of the block is called several times, so that what it made there is not known.
    """
    if twice := [
        path
        for path in block.inside
        if block.counts[path] > 1 and not (block.makes(path) or passes(block.inside[path]))
    ]:
        raise LayoutError(
            f"{block.path}: what its {what} reads was not found, and {some(twice)} is called more than once in a forward pass; "
            "expected a norm of its own for each sublayer."
        )
    return Front(None, block.path, None)


def _front(block: BlockCalls, entry: str, stream: Tensor, alone: bool) -> Front | None:
    """The front of a module that reads the stream, or what a norm makes of it. `alone`: its output is the sublayer's, and no sum."""
    call = block.inside[entry]
    norm = block.feeder(call)
    if norm is not None and reads(block.inside[norm], stream):
        return Front(norm, entry, norm)
    inside = (own for path, own in block.inside.items() if path.startswith(f"{entry}.") and not block.makes(path))
    if alone and reads(call, stream) and not any(reads(own, stream) and not passes(own) for own in inside):
        return Front(None, entry, entry)
    return None


def _read_by(block: BlockCalls, projections: list[str], stream: Tensor, *, apart: bool) -> Front | None:
    """The front of projections without a module around them. `apart`: one alone is the whole entry."""
    found: dict[str, str | None] = {}
    for path in projections:
        norm = block.feeder(block.inside[path])
        if norm is not None and reads(block.inside[norm], stream):
            found[path] = norm
        elif reads(block.inside[path], stream):
            found[path] = None
    if not found:
        return None
    (path, norm), single = next(iter(found.items())), len(found) == 1
    return Front(norm, path if apart and single else block.path, norm or (path if single else None))
