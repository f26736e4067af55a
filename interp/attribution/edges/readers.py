"""The gradient at every reader's own copy of the residual stream, from one backward pass.

As the backward pass comes by a layer, the gradient at its projections (or at q, k and v) holds every reader's channel
apart; it is pulled back through W and the norm to the stream, handed on, and forgotten. Under propagation rules the
coefficients of the rule take the place of the gradient, the norm's among them.

Axis words: `reader batch pos column d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.edges.projections import Projections
from interp.attribution.edges.workspace import Workspace
from interp.model.modules.linear import norm_at
from interp.model.modules.tensors import activation_in, activation_out, with_activation
from interp.model.operands import Operands
from interp.parts.graph import Graph
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import Norm, Rules
from interp.rules.secants import norm_middle

Fill = Callable[[Tensor], None]
Consume = Callable[[Sequence[int], Fill], None]
AtColumns = Callable[[int, str, Tensor, Tensor, "Callable[[], Pullback]"], None]


@dataclass(frozen=True)
class Pullback:
    """From the gradient at what a norm makes of the stream to the gradient at the stream, with the norm's own rule.

    Full gradient: g -> (g' - mean(g') - y' mean(g' y')) / sigma with g' = w g and y' = (x - mean(x)) / sigma; frozen scale:
    without the last term; averaged between two runs: `norm_middle`. Without a norm the gradient is what it is; an RMSNorm
    subtracts no mean.
    """

    norm: Norm | None
    weight: Tensor | float
    inverse_sigma: Tensor | float
    normed: Tensor | None

    @classmethod
    def of(cls, model: Any, path: str | None, x: Tensor, rules: Rules, other: Tensor | None = None) -> Pullback:
        """The pullback through the norm at `path` for the stream `x` [batch pos d_model]; for rules with secants also for the
        stream of the `other` run."""
        if path is None:
            return NO_NORM
        norm, x = norm_at(model, path), wide(x.detach())
        weight = norm.weight(model.hf.get_submodule(path))
        if other is not None:
            return cls(norm, weight, *norm_middle(norm, x, wide(other)))
        inverse_sigma = norm.inverse_sigma(x)
        normed = None
        if rules.norm == "gradient":
            normed = (x - x.mean(-1, keepdim=True) if norm.centred else x) * inverse_sigma
        return cls(norm, weight, inverse_sigma, normed)

    def for_readers(self, chosen: Sequence[int]) -> Pullback:
        """The way back of some of the readers: the same for all."""
        return self

    def into(self, place: Tensor, g: Tensor) -> None:
        """Write to `place` the gradient at the norm's input, from g [reader batch pos d_model] at its output."""
        if self.norm is None:
            place.copy_(g)
            return
        torch.mul(g, self.weight * self.inverse_sigma, out=place)
        if self.norm.centred:
            place.sub_(place.mean(-1, keepdim=True))
        self._less_scale(place)

    def through(self, place: Tensor, g: Tensor, W: Tensor, workspace: Workspace) -> None:
        """The same from g [reader batch pos column] at the output of W [reader column d_model], which reads the norm.

        The weight of the norm goes into W, its scale into g, and the mean is a further column of g with a further row of
        ones in W, so that one product writes what takes four passes over `place` otherwise.
        """
        if self.norm is None:
            torch.bmm(g.flatten(1, 2), W, out=place.flatten(1, 2))
            return
        g, n = (g * self.inverse_sigma).flatten(1, 2), W.shape[1]
        wider = _laid_out_as(W, n + self.norm.centred, workspace)
        torch.mul(W, self.weight, out=wider[:, :n])
        wider[:, n:] = 1.0
        if self.norm.centred:
            g = torch.cat([g, -(g @ wider[:, :n].mean(-1, keepdim=True))], dim=-1)
        torch.bmm(g, wider, out=place.flatten(1, 2))
        self._less_scale(place)

    def _less_scale(self, place: Tensor) -> None:
        """Take off the part that goes through the norm's scale, unless a rule freezes it."""
        if self.normed is not None:
            along = torch.einsum("rbpd,bpd->rbp", place, self.normed) / place.shape[-1]
            place.addcmul_(along[..., None], self.normed, value=-1)


NO_NORM: Final = Pullback(None, 1.0, 1.0, None)


@dataclass
class Stream:
    """Hooks on one forward pass, and what they saw: the stream before each norm, and the outputs of the projections.

    `consume` gets the readers of one place (their numbers in `Graph.readers`) in the order of the backward pass, and a
    function that writes their gradients to a tensor [reader batch pos d_model]. Readers that it never gets have no gradient.
    `at_columns` gets the gradients at the outputs of projections in its stead: layer, path, output, gradient, pullback.
    `toward`: the operands of the other run, for rules with secants.
    """

    model: Any
    graph: Graph
    projections: Sequence[Projections]
    rules: Rules
    batch: int
    consume: Consume
    workspace: Workspace
    at_columns: AtColumns | None = None
    toward: Operands | None = None
    streams: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    returning: bool = False
    listening: list[Any] = field(default_factory=list)

    def attach(self, stack: ExitStack) -> None:
        """Watch one forward pass; the hooks go with `stack`."""
        blocks = self.model.layout.blocks
        for path in dict.fromkeys(p for b in blocks for p in (b.attn_norm, b.mlp_norm) if p):
            module = self.model.hf.get_submodule(path)
            stack.callback(module.register_forward_pre_hook(self._keep_input(path), with_kwargs=True).remove)
        for layer, block in enumerate(blocks):
            entry = self.model.hf.get_submodule(block.mlp_entry)
            stack.callback(entry.register_forward_pre_hook(self._mlp(layer), with_kwargs=True).remove)
            for path in self.projections[layer].paths:
                module = self.model.hf.get_submodule(path)
                stack.callback(module.register_forward_hook(self._keep_output(path)).remove)

    def reads(self) -> list[Site]:
        """The sites that the run must read: the final stream; q, k, v where the projections' columns are shared."""
        mixed = [layer for layer, p in enumerate(self.projections) if not p.one_pass]
        return [Site("resid_final"), *(Site(channel, layer) for layer in mixed for channel in "qkv")]

    def listen(self, reads: Any) -> None:
        """After the forward pass: take part in the backward pass."""
        final, last = reads[Site("resid_final")], len(self.graph.readers) - 1
        if final.requires_grad:
            self._on_gradient(final, lambda g: self.consume([last], partial(NO_NORM.into, g=wide(g)[None])))
        for layer, projections in enumerate(self.projections):
            if projections.one_pass:
                self._listen_columns(layer, projections)
            else:
                self._listen_channels(layer, projections, reads)

    def close(self) -> None:
        """Let go of the graph: hooks on its tensors hold this object, which no garbage collector sees through."""
        for handle in self.listening:
            handle.remove()
        self.streams.clear()
        self.outputs.clear()

    def _on_gradient(self, x: Tensor, see: Callable[[Tensor], None]) -> None:
        """Call `see` with the gradient at `x` when the backward pass comes by."""
        self.listening.append(x.register_hook(see))  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------ the forward pass

    def _keep_input(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.streams[path] = activation_in(args, kwargs).detach()

        return hook

    def _keep_output(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            self.outputs[path] = activation_out(output)

        return hook

    def _mlp(self, layer: int) -> Callable[..., Any]:
        """The MLP reads a view of its own, at which its gradient is taken."""
        block = self.model.layout.blocks[layer]
        reader = self.graph.mlp_reader(layer)

        def backward(g: Tensor) -> None:
            g = wide(g).reshape(1, self.batch, -1, g.shape[-1])
            self.consume([reader], partial(self._pullback(block.mlp_norm).into, g=g))

        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            x = activation_in(args, kwargs)
            x = x.view_as(x)
            if x.requires_grad:
                self._on_gradient(x, backward)
            return with_activation(args, kwargs, x)

        return hook

    # ------------------------------------------------------------ the backward pass

    def _pullback(self, path: str | None) -> Pullback:
        if path is None:
            return NO_NORM
        x = self.streams[path]
        other = None if self.toward is None else self.toward.of(path, 0, x)
        shape = self.batch, -1, x.shape[-1]
        return Pullback.of(
            self.model, path, x.reshape(shape), self.rules, None if other is None else other.reshape(shape)
        )

    def _listen_columns(self, layer: int, projections: Projections) -> None:
        """Every column belongs to one reader: the gradient at the projections' outputs has them all apart."""
        for path, start, end in projections.starts():
            y, inside = self.outputs.pop(path), projections.inside(start, end)
            value = y.detach()  # a hook on y that held y itself would never go

            def backward(
                g: Tensor, path: str = path, inside: list[int] = inside, start: int = start, value: Tensor = value
            ) -> None:
                if self.at_columns is None:
                    self._pull(layer, inside, g, projections.weight(self.model, path), start)
                else:
                    norm = self.model.layout.blocks[layer].attn_norm
                    self.at_columns(layer, path, value, g, lambda: self._pullback(norm))

            if y.requires_grad:
                self._on_gradient(y, backward)

    def _listen_channels(self, layer: int, projections: Projections, reads: Any) -> None:
        """Readers share columns: each set of `passes` is taken back to the projections apart from the others."""
        outputs = [self.outputs.pop(path) for path in projections.paths]
        W = torch.cat([projections.weight(self.model, path) for path in projections.paths])
        for channel in "qkv":
            x, members = reads[Site(channel, layer)], projections.of_channel(channel)
            sets = [own for chosen in projections.passes if (own := [i for i in chosen if i in members])]

            def backward(g: Tensor, x: Tensor = x, sets: list[list[int]] = sets) -> None:
                if self.returning:  # the gradient that is taken below passes by x too
                    return
                for inside in sets:
                    units = [projections.readers[i].unit for i in inside]
                    only = torch.zeros_like(g)
                    only[:, :, units] = g[:, :, units]
                    self.returning = True
                    found = torch.autograd.grad(x, outputs, only, retain_graph=True, allow_unused=True)
                    self.returning = False
                    parts = [torch.zeros_like(y) if d is None else d for d, y in zip(found, outputs, strict=True)]
                    self._pull(layer, inside, torch.cat(parts, dim=-1), W, 0)

            if x.requires_grad:
                self._on_gradient(x, backward)

    def _pull(self, layer: int, inside: Sequence[int], g: Tensor, W: Tensor, start: int) -> None:
        """Hand on the readers `inside`, from the gradient g [batch pos column] at the output of W, columns from `start`."""
        own = [self.projections[layer].columns[i] - start for i in inside]
        pullback, first = self._pullback(self.model.layout.blocks[layer].attn_norm), self.graph.first_reader(layer)
        g = wide(g).reshape(self.batch, -1, g.shape[-1])
        hand_on([first + i for i in inside], own, g, wide(W), pullback, self.workspace, self.consume)


def hand_on(
    readers: Sequence[int],
    columns: Sequence[Tensor],
    g: Tensor,
    W: Tensor,
    pullback: Pullback,
    workspace: Workspace,
    consume: Consume,
) -> None:
    """Give readers to `consume`, from the gradient g [batch pos column] at the output of W [column d_model]; `columns`: those
    of each reader."""
    for size in dict.fromkeys(map(len, columns)):
        same = [k for k, own in enumerate(columns) if len(own) == size]
        chosen = torch.stack([columns[k] for k in same])
        own = gathered(g, 2, chosen).permute(2, 0, 1, 3)
        way = pullback.for_readers(same)
        consume([readers[k] for k in same], partial(way.through, g=own, W=gathered(W, 0, chosen), workspace=workspace))


def _laid_out_as(W: Tensor, columns: int, workspace: Workspace) -> Tensor:
    """Memory [reader column d_model] with the axis innermost that is so in `W`: copies between both run along it."""
    readers, _, d_model = W.shape
    if W.stride(-1) == 1:
        return workspace.take("W", (readers, columns, d_model), W)
    return workspace.take("W", (d_model, readers, columns), W).permute(1, 2, 0)


def gathered(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """`x` with its axis `dim` replaced by the two axes of `index`; a view where the index runs through without a gap."""
    first, n = int(index[0, 0]), index.numel()
    if torch.equal(index.flatten(), torch.arange(first, first + n)):
        return x.narrow(dim, first, n).unflatten(dim, index.shape)  # type: ignore[no-any-return,no-untyped-call]
    return x.index_select(dim, index.flatten().to(x.device)).unflatten(dim, index.shape)  # type: ignore[no-any-return,no-untyped-call]
