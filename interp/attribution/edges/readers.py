"""The gradient at every reader's own copy of the residual stream, from one backward pass.

As the backward pass comes by a layer, the gradient at its projections (or at q, k and v) holds every reader's channel
apart; it is pulled back through W and the norm to the stream, handed on, and forgotten. Under propagation rules the
coefficients of the rule take the place of the gradient, the norm's among them.

Axis words: `reader batch pos column d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.projections import Projections
from interp.attribution.edges.pullbacks import NO_NORM, Consume, Pullback, hand_on, offset
from interp.attribution.edges.workspace import Workspace
from interp.attribution.edges.writers import final_site
from interp.model.modules.tensors import activation_in, activation_out, with_activation
from interp.model.operands import Operands
from interp.parts.graph import Graph, Step
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import Rules

AtColumns = Callable[[int, str, Tensor, Pullback], None]


@dataclass
class Stream:
    """Hooks on one forward pass, and what they saw: the stream before each norm, and the outputs of the projections.

    `consume` gets the readers of one place (their numbers in `Graph.readers`) in the order of the backward pass, and a
    function that writes their gradients to a tensor [reader batch pos d_model]. Readers that it never gets have no gradient.
    `at_columns` gets the gradients at the outputs of projections in its stead: layer, path, gradient, pullback.
    `toward`: the operands of the other run, for rules with secants. `offsets`: of projections, kept for further passes.
    """

    model: Any
    graph: Graph
    projections: Mapping[int, Projections]
    rules: Rules
    batch: int
    consume: Consume
    workspace: Workspace
    at_columns: AtColumns | None = None
    toward: Operands | None = None
    offsets: dict[str, Tensor | float] = field(default_factory=dict)
    streams: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    latest: tuple[str, Pullback] | None = None
    returning: bool = False
    listening: list[Any] = field(default_factory=list)

    def attach(self, stack: ExitStack) -> None:
        """Watch one forward pass; the hooks go with `stack`."""
        blocks = self.model.layout.blocks
        for path in dict.fromkeys(path for block in blocks for path in block.fronts):
            module = self.model.hf.get_submodule(path)
            stack.callback(module.register_forward_pre_hook(self._keep_input(path), with_kwargs=True).remove)
        for step in (step for step in self.graph.steps if step.kind != "head"):
            own = blocks[step.layer].part(step.kind)
            entry = self.model.hf.get_submodule(own.entry)
            stack.callback(entry.register_forward_pre_hook(self._whole(own.norm, step), with_kwargs=True).remove)
        for path in (path for projections in self.projections.values() for path in projections.paths):
            module = self.model.hf.get_submodule(path)
            stack.callback(module.register_forward_hook(self._keep_output(path)).remove)

    def reads(self) -> list[Site]:
        """The sites that the run must read: the final stream; q, k, v where the projections' columns are shared."""
        mixed = [layer for layer, p in self.projections.items() if not p.one_pass]
        return [final_site(self.model.layout), *(Site(channel, layer) for layer in mixed for channel in "qkv")]

    def listen(self, reads: Any) -> None:
        """After the forward pass: take part in the backward pass."""
        final, last = reads[final_site(self.model.layout)], len(self.graph.readers) - 1
        if final.requires_grad:
            self._on_gradient(final, lambda g: self.consume([last], partial(NO_NORM.into, g=wide(g)[None])))
        for layer, projections in self.projections.items():
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
        self.latest = None

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

    def _whole(self, norm: str | None, step: Step) -> Callable[..., Any]:
        """An MLP, or what has no heads, reads a view of its own, at which its gradient is taken."""

        def backward(g: Tensor) -> None:
            g = wide(g).reshape(1, self.batch, -1, g.shape[-1])
            self.consume(step.readers, partial(self._pullback(norm).into, g=g))

        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            x = activation_in(args, kwargs)
            x = x.view_as(x)
            if x.requires_grad:
                self._on_gradient(x, backward)
            return with_activation(args, kwargs, x)

        return hook

    # ------------------------------------------------------------ the backward pass

    def _pullback(self, path: str | None) -> Pullback:
        """The way back through one norm; several projections that read it come one after the other."""
        if path is None:
            return NO_NORM
        if self.latest is None or self.latest[0] != path:
            x = self.streams[path]
            other = None if self.toward is None else self.toward.of(path, 0, x)
            shape = self.batch, -1, x.shape[-1]
            other = None if other is None else other.reshape(shape)
            self.latest = path, Pullback.of(self.model, path, x.reshape(shape), self.rules, other)
        return self.latest[1]

    def _listen_columns(self, layer: int, projections: Projections) -> None:
        """Every column belongs to one reader: the gradient at the projections' outputs has them all apart."""
        for path in projections.paths:
            y = self.outputs.pop(path)
            if y.requires_grad:  # a hook on y that held y itself would never go
                self._on_gradient(y, partial(self._columns_back, layer, path, y.detach()))

    def _columns_back(self, layer: int, path: str, y: Tensor, g: Tensor) -> None:
        """Hand on the readers of a projection with output `y`, from the gradient at it."""
        norm, own = self.model.layout.blocks[layer].attn.norm, self.projections[layer].of_map[path]
        way, shape = self._pullback(norm), (self.batch, -1, g.shape[-1])
        g = wide(g).reshape(shape)
        rounded = y.element_size() < 4 or self.toward is not None  # then y tells less of the norm than its input does
        if self.at_columns is not None or not rounded:
            given = None if way.normed is None else wide(y).reshape(shape) - self._offset(norm, path)
            g, way = way.scaled(g, given, list(own.values()))
        if self.at_columns is not None:
            self.at_columns(layer, path, g, way)
        else:
            self._pull(layer, own, g, self.projections[layer].weight(self.model, path), way)

    def _offset(self, norm: str | None, path: str) -> Tensor | float:
        if path not in self.offsets:
            self.offsets[path] = offset(self.model, norm, path)
        return self.offsets[path]

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
                    back = wide(torch.cat(parts, dim=-1)).reshape(self.batch, -1, len(W))
                    own = {i: projections.columns[i] for i in inside}
                    self._pull(layer, own, back, W, self._pullback(self.model.layout.blocks[layer].attn.norm))

            if x.requires_grad:
                self._on_gradient(x, backward)

    def _pull(self, layer: int, own: Mapping[int, Tensor], g: Tensor, W: Tensor, way: Pullback) -> None:
        """Hand on readers by their place in the layer and their columns, from g [batch pos column] at the output of W."""
        readers = [self.graph.attentions[layer].readers[i] for i in own]
        hand_on(readers, list(own.values()), g, wide(W), way, self.workspace, self.consume)
