"""What readers read in a masked run: MLPs and the output. An attention has several readers, see `attention_reads`.

Where all readers of a place see everything or nothing, they have the run's own stream or that of the source, and the model's own modules; else
each has a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.pullbacks import NO_NORM, Pullback
from interp.attribution.masks.copies import Apart, normalise
from interp.attribution.masks.mixture import Mixture
from interp.model.modules.linear import norm_at
from interp.model.modules.tensors import activation_in, with_activation
from interp.model.operands import Operands
from interp.precision import wide
from interp.rules.rules import Rules


@dataclass(frozen=True)
class Seen:
    """What readers see behind a norm. `values`: what the norm makes of it [reader batch pos d_model], one row where all see the same,
    None for what the run has there; `folded`: without the norm's weight and bias, which go into the next map. `back`: the way back."""

    values: Tensor | None
    back: Callable[[], Pullback]
    folded: bool = False


@dataclass
class Reading:
    """The readers of one run. keep: hold what norms made of copies for the way back, in place of making it again there; toward: the
    operands of the other run, for rules with secants."""

    model: Any
    rules: Rules
    mixture: Mixture
    keep: bool = True
    toward: Operands | None = None
    streams: dict[str, Tensor] = field(default_factory=dict)

    def attach(self, stack: ExitStack) -> None:
        """Watch the norms and give MLPs and what has no heads what they read; the hooks go with `stack`."""
        hf, blocks = self.model.hf, self.model.layout.blocks
        for path in (path for block in blocks for path in block.fronts):
            hook = self._keep_input(path)
            stack.callback(hf.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True).remove)
        for step in (step for step in self.mixture.graph.steps if step.kind != "head"):
            own = blocks[step.layer].part(step.kind)
            hook = self._whole(own.norm, step.readers)
            stack.callback(hf.get_submodule(own.entry).register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _keep_input(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.streams[path] = activation_in(args, kwargs).detach()

        return hook

    def final(self, x: Tensor) -> Tensor:
        """What the output reads in the place of the stream `x`."""
        last = [len(self.mixture.graph.readers) - 1]
        share = self.mixture.share(last)
        if share != 1.0:
            copy = self.mixture.total(last) if share == 0.0 else self.mixture.copies(last)[0]
            x = copy.reshape(x.shape).to(x.dtype)
        return self.mixture.read(x, lambda g: self.mixture.take(last, partial(NO_NORM.into, g=wide(g)[None])))

    def _whole(self, norm: str | None, reader: Sequence[int]) -> Callable[..., Any]:
        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            x = activation_in(args, kwargs)
            seen = self.seen(norm, reader, x)
            value = (
                x if seen.values is None else self._unfolded(norm, seen, seen.values)[0].reshape(x.shape).to(x.dtype)
            )

            def take(g: Tensor) -> None:
                g = wide(g).reshape(1, *self.mixture.like.shape)
                self.mixture.take(reader, partial(seen.back().into, g=g))

            return with_activation(args, kwargs, self.mixture.read(value, take))

        return hook

    def seen(self, norm: str | None, readers: Sequence[int], x: Tensor) -> Seen:
        """What readers of one place see behind its norm; `x`: what the run has there."""
        state, shape = self.mixture.share(readers), self.mixture.like.shape
        own = (x if norm is None else self.streams[norm]).reshape(shape)
        if state == 1.0:
            return Seen(None, partial(self._pullback, norm, own))
        if state == 0.0:
            total = self.mixture.total(readers)
            return Seen(self._normed(norm, total.to(x.dtype))[None], partial(self._pullback, norm, total))
        copies = self.mixture.copies(readers)
        if norm is None:
            return Seen(copies.to(x.dtype), lambda: NO_NORM)
        if self.toward is not None:
            return Seen(self._normed(norm, copies.to(x.dtype)), partial(self._pullback, norm, copies, Apart))
        found, inverse_sigma = normalise(norm_at(self.model, norm), copies)
        point = found if self.keep and self.mixture.backward else None
        return Seen(found.to(x.dtype), partial(self._apart, norm, readers, inverse_sigma, point), folded=True)

    def _apart(self, norm: str, readers: Sequence[int], inverse_sigma: Tensor, point: Tensor | None) -> Pullback:
        """The way back through the norm of copies: those that were kept, or made again where a rule needs them."""
        own, module = norm_at(self.model, norm), self.model.hf.get_submodule(norm)
        if self.rules.norm != "gradient":
            point = None
        elif point is None:
            point, _ = normalise(own, self.mixture.copies(readers))
        return Apart(own, own.weight(module), inverse_sigma, point)

    def _pullback(self, norm: str | None, x: Tensor, kind: type[Pullback] = Pullback) -> Pullback:
        if norm is None:
            return NO_NORM
        other = None if self.toward is None else self.toward.of(norm, 0, self.streams[norm])
        other = None if other is None else other.reshape(self.mixture.like.shape)
        return kind.of(self.model, norm, x, self.rules, other)

    def _normed(self, norm: str | None, x: Tensor) -> Tensor:
        """What the norm makes of streams [... batch pos d_model]: its forward, past the hooks of the run's own pass."""
        if norm is None:
            return x
        with torch.no_grad():
            found: Tensor = self.model.hf.get_submodule(norm).forward(x.reshape(-1, *x.shape[-2:])).view_as(x)
        return found

    def _unfolded(self, norm: str | None, seen: Seen, values: Tensor) -> Tensor:
        """What the norm makes of what is seen, its weight and bias in it."""
        if not seen.folded or norm is None:
            return values
        module = self.model.hf.get_submodule(norm)
        found: Tensor = values * norm_at(self.model, norm).weight(module)
        bias = getattr(module, "bias", None)
        return found if bias is None else found + bias.detach()
