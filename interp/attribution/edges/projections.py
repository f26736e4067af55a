"""How attention reads the residual stream: which columns of its input projections belong to which reader.

The linear maps that read what the norm makes (q, k and v apart, or fused in any order) give y [... column]; a reader is a
channel of a head, and sees some of the columns. Which ones is read off the model: y is replaced by random numbers, and the
gradient of the reader's q, k or v tells. Where a norm mixes the columns of several heads (OLMo 2), a reader sees them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules import attention
from interp.model.modules.calling import on_inputs
from interp.model.modules.linear import affine, linear
from interp.model.modules.lock import frozen
from interp.model.modules.tensors import activation_in, activation_out, with_activation, with_output
from interp.model.vocabulary import Columns
from interp.parts.graph import Graph
from interp.parts.nodes import Node


@dataclass(frozen=True)
class Projections:
    """The reading side of one layer's attention.

    `paths`: the linear maps, `widths` their output sizes. `columns`: for every reader of `Graph.attention_readers` the
    columns that it sees, counted through all maps. `passes`: the readers in sets that share no column; the readers of
    one set can go through the maps together.
    """

    paths: tuple[str, ...]
    widths: tuple[int, ...]
    readers: tuple[Node, ...]
    columns: tuple[Tensor, ...]
    passes: tuple[tuple[int, ...], ...]

    @property
    def one_pass(self) -> bool:
        """Whether every column belongs to one reader, so that the model's own forward and backward keep them apart."""
        return len(self.passes) == 1

    def of_channel(self, channel: str) -> list[int]:
        """The readers of one channel, by their place in `readers`."""
        return [i for i, reader in enumerate(self.readers) if reader.kind == channel]

    @cached_property
    def of_map(self) -> dict[str, dict[int, Tensor]]:
        """By path, the readers that see any of its columns, by their place in `readers`, and which: counted within the map."""
        found: dict[str, dict[int, Tensor]] = {}
        for path, start, end in self.starts():
            own = {i: x[(x >= start) & (x < end)] - start for i, x in enumerate(self.columns)}
            found[path] = {i: x for i, x in own.items() if len(x)}
        return found

    def weight(self, model: Any, path: str) -> Tensor:
        """W [column d_model] of one map, a view of the model's own."""
        return linear(model, path)[0].T

    def starts(self) -> Iterator[tuple[str, int, int]]:
        """(path, first column, one past its last column) of every map."""
        start = 0
        for path, width in zip(self.paths, self.widths, strict=True):
            yield path, start, start + width
            start += width


def find_projections(model: Any, graph: Graph) -> dict[int, Projections]:
    """The projections of every layer that has heads, from one forward with random numbers in their place.

    Raises: LayoutError where attention does not go through AttentionInterface, or reads the stream by other ways than
    linear maps into q, k and v.
    """
    blocks = model.layout.blocks
    if parted := [block.path for block in blocks if block.path in (part.entry for part in block.sublayers)]:
        raise LayoutError(
            f"edges: several modules of {parted[0]} read the stream at once, not one of attention and one of the MLP."
        )
    if graph.attentions and not model.layout.attention_function:
        raise LayoutError(
            f"edges of {type(model.hf).__name__}: its attention does not go through transformers' AttentionInterface, so "
            "what q, k and v of a head read cannot be told apart. Level 'heads' works."
        )
    if graph.attentions and model.layout.pattern != "edit":
        raise LayoutError(
            f"edges of {type(model.hf).__name__}: its z is not the pattern times the values of a group, so what a head takes from whom is not "
            "known. Level 'heads' works."
        )
    seen = {layer: _Seen(blocks[layer].attn.entry, blocks[layer].attn.module) for layer in graph.attentions}
    with torch.enable_grad():
        _watch(model, list(seen.values()))
        return {layer: _read(layer, found, graph) for layer, found in seen.items()}


# ---------------------------------------------------------------- the probe


@dataclass
class _Seen:
    """What the probe saw of one attention: its input, the random outputs of the maps that read it, and q, k, v.

    `entry`, `module`: the paths of the layout.
    """

    entry: str
    module: str
    x: Tensor | None = None
    y: dict[str, Tensor] = field(default_factory=dict)
    qkv: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Random weights of q, k and v, so that no gradient is zero by chance."""
        generator = torch.Generator().manual_seed(1)
        return {c: torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x) for c, x in self.qkv.items()}


def _watch(model: Any, seen: Sequence[_Seen]) -> None:
    """Run what the model is tried on with random numbers at the outputs of every map that reads an attention's input."""
    hf, generator = model.hf, torch.Generator().manual_seed(0)
    by_module = {id(hf.get_submodule(found.module)): found for found in seen}

    def around(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if (own := by_module.get(id(module))) is not None:  # layers behind what a metric reads are none of the graph
            own.qkv = {"q": q, "k": k, "v": v}
        return native(q.detach(), k.detach(), v.detach())

    with ExitStack() as stack:
        stack.enter_context(frozen(hf))
        stack.enter_context(attention.selected(hf, around))
        for found in seen:
            module = hf.get_submodule(found.entry)
            stack.callback(module.register_forward_pre_hook(_entry(found), with_kwargs=True).remove)
            for path in _maps(model, found.entry):
                hook = _exchange(found, path, generator)
                stack.callback(hf.get_submodule(path).register_forward_hook(hook, with_kwargs=True).remove)
        Columns.of(model, torch.zeros(1, dtype=torch.long)).logits(hf, on_inputs(hf, model.probed))


def _maps(model: Any, attn: str) -> Iterator[str]:
    """Modules inside an attention that may read its input: those without parts, and those that are one linear map with
    their parts (a LoRA around a projection)."""
    whole = ""
    for path, part in model.hf.get_submodule(attn).named_modules(prefix=attn):
        if whole and path.startswith(whole):
            continue
        if any(True for _ in part.children()):
            if path == attn or affine(part, model.layout.d_model, model.hf) is None:
                continue
            whole = f"{path}."
        yield path


def _entry(found: _Seen) -> Callable[..., Any]:
    """Remember the attention's input, and let gradients tell whether q, k or v depend on it in another way."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        found.x = activation_in(args, kwargs).detach().requires_grad_()
        return with_activation(args, kwargs, found.x)

    return hook


def _exchange(found: _Seen, path: str, generator: torch.Generator) -> Callable[..., Any]:
    """Put a random leaf in the place of what a module makes of the attention's input."""

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        try:
            x, y = activation_in(args, kwargs), activation_out(output)
        except TypeError:
            return output
        if found.x is None or x.data_ptr() != found.x.data_ptr() or x.numel() != found.x.numel():
            return output
        noise = torch.randn(y.shape, generator=generator, dtype=torch.float32).to(y).requires_grad_()
        found.y[path] = noise
        return with_output(output, noise)

    return hook


def _read(layer: int, found: _Seen, graph: Graph) -> Projections:
    readers = graph.attention_readers(layer)
    for channel, x in found.qkv.items():
        if (
            found.x is None
            or torch.autograd.grad(x.sum(), found.x, retain_graph=True, allow_unused=True)[0] is not None
        ):
            raise LayoutError(f"{found.entry}: {channel} depends on the stream by another way than a linear map.")
    columns = _columns(readers, found, graph)
    widths = tuple(y.shape[-1] for y in found.y.values())
    covered = torch.zeros(sum(widths), dtype=torch.bool)
    for found_columns in columns:
        covered[found_columns] = True
    if not bool(covered.all()):
        blind = int((~covered).sum())
        raise LayoutError(
            f"{found.entry}: {blind} of {sum(widths)} columns of {', '.join(found.y)} are read by no q, k or v (a gate of the "
            "output?), so edges into this attention would miss a part of what it reads."
        )
    return Projections(tuple(found.y), widths, readers, columns, _passes(columns, sum(widths)))


def _columns(readers: Sequence[Node], found: _Seen, graph: Graph) -> tuple[Tensor, ...]:
    """The columns that each reader's channel depends on.

    Whose a column is tell two backward passes for each binary digit of the readers' numbers, from 1: one from those that have it, one
    from the others. Where both come to a column, several readers see it, and there is a pass for each reader.
    """
    numbered = list(enumerate(readers, 1))
    owner, shared = torch.zeros((), dtype=torch.long), torch.zeros((), dtype=torch.bool)
    for digit in range(len(readers).bit_length()):
        having, others = (
            _touched([reader for i, reader in numbered if i >> digit & 1 == own], found, graph) for own in (1, 0)
        )
        owner, shared = owner + (having.long() << digit), shared | (having & others)
    if bool(shared.any()):
        return tuple(_touched([reader], found, graph).nonzero().squeeze(1) for reader in readers)
    return tuple((owner == i).nonzero().squeeze(1) for i, _ in numbered)


def _touched(readers: Sequence[Node], found: _Seen, graph: Graph) -> Tensor:
    """Whether the channel of any of the readers depends on a column: bool [column]."""
    weights = dict[str, Tensor]()
    for channel, x in found.qkv.items():
        if own := [entry(reader, graph) for reader in readers if reader.kind == channel]:
            weights[channel] = torch.zeros_like(x)
            weights[channel][:, own] = found.weights[channel][:, own]
    leaves, outputs = list(found.y.values()), [found.qkv[channel] for channel in weights]
    grads = torch.autograd.grad(outputs, leaves, list(weights.values()), retain_graph=True, allow_unused=True)
    seen = [torch.zeros_like(y) if g is None else g for y, g in zip(leaves, grads, strict=True)]
    return torch.cat([(g != 0).flatten(0, -2).any(0) for g in seen]).cpu()


def entry(reader: Node, graph: Graph) -> int:
    """Where a reader is in q, k or v as the attention function gets them: its head, or the K/V head of its group."""
    unit = reader.unit or 0
    return unit if reader.kind == "q" or reader.grouped else unit // graph.group


def _passes(columns: Sequence[Tensor], width: int) -> tuple[tuple[int, ...], ...]:
    """Sets of readers without a column in common: each goes to the first set that has room."""
    taken: list[tuple[list[int], Tensor]] = []
    for i, own in enumerate(columns):
        place = next((t for t in taken if not bool(t[1][own].any())), None)
        if place is None:
            place = ([], torch.zeros(width, dtype=torch.bool))
            taken.append(place)
        place[0].append(i)
        place[1][own] = True
    return tuple(tuple(members) for members, _ in taken)
