"""One run with a mask over edges: reader v sees  source + sum_u M[u->v] (now_u - source_u)  in the place of the stream.

Everything between readers and writers is the model's own. An attention, an MLP or the output that sees all of every writer reads the run's own
stream, and one that sees nothing the stream of the source run: with all of the mask 1 or all 0 the run is the model's own, bit for bit.

Axis words: `reader writer batch pos d_model`; `column`: of a projection's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.projections import Projections, entry
from interp.attribution.edges.readers import NO_NORM, Pullback, gathered, hand_on
from interp.attribution.edges.writers import EMBED
from interp.attribution.masks.copies import Apart, normalise, some
from interp.attribution.masks.mixture import Mixture
from interp.attribution.masks.tape import read, written
from interp.errors import LayoutError, UnsupportedRuleError
from interp.ledger import spend
from interp.model.edits import Edit
from interp.model.modules import attention
from interp.model.modules.linear import linear, norm_at
from interp.model.modules.tensors import activation_in, activation_out, with_activation, with_output
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import GRADIENT, Norm, Rules
from interp.rules.surrogate import surrogate


@dataclass(frozen=True)
class _Seen:
    """What readers see behind a norm. `values`: what the norm makes of it [reader batch pos d_model], one row where all see the same,
    None for what the run has there; `folded`: without the norm's weight and bias, which go into the next map. `back`: the way back."""

    values: Tensor | None
    back: Callable[[], Pullback]
    folded: bool = False


@dataclass
class MaskedEdges:
    """One masked run of a batch. mask [reader writer], of the model's dtype or float32, where the edges are: anything where none is.

    keep: hold what norms made of the copies until the backward pass, in place of making it again there.
    """

    batch: EdgeBatch
    mask: Tensor
    rules: Rules = GRADIENT
    keep: bool = True
    streams: dict[str, Tensor] = field(default_factory=dict)
    chosen: Sequence[int] = ()
    layer: int = 0
    seen: _Seen = field(default_factory=lambda: _Seen(None, lambda: NO_NORM))
    grabbed: dict[Site, list[tuple[int, Tensor]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.map = self.batch.map
        self.model, self.graph, self.writers = self.batch.model, self.map.graph, self.map.writers
        self.mask = self.mask * torch.from_numpy(self.graph.visible).to(self.mask)

    # ------------------------------------------------------------ what is asked

    def metric(self) -> Tensor:
        """The metric [batch] of the masked run."""
        with torch.no_grad():
            return self._run(backward=False)

    def derivative(self) -> tuple[Tensor, Tensor]:
        """The metric [batch], and d metric / d mask [batch reader writer] under the rules."""
        self.model.check_gradients()
        with torch.enable_grad():
            found = self._run(backward=True)
        self.mixture.meet()
        return found, self.mixture.derivative

    def _run(self, backward: bool) -> Tensor:
        batch = self.batch
        self.totals, self.source = batch.source_streams(), batch.source()
        batch.targets()
        toward = batch.toward(self.rules)
        self.toward = None if toward is None else toward.operands
        self.mixture = Mixture(self.graph, self.mask, self.totals[self.writers.first], self.map.workspace, backward)
        self.token = self.mixture.like.new_zeros(1).requires_grad_(backward)
        first = self.token
        with ExitStack() as stack:
            self._attach(stack)
            run = self.model.run(
                batch.base_ids,
                edits=self._edits(),
                rules=self.rules,
                allow_unsupported=True,
                logits_to_keep=batch.keep,
                split_kv=self._mixed and self.graph.kv == "split",
                vocabulary=batch.columns,
                toward=toward,
            )
            logits = batch.at_metric(run.logits)
            if backward:
                batch.descend(logits, [first], self.rules)
            self._let_go()
        batch.forwards += 1
        batch.backwards += backward
        return batch.measure(logits.detach())

    def _let_go(self) -> None:
        """Hold nothing of the graph: its marks hold this object, which no garbage collector sees through."""
        self.token = self.token.detach()
        self.streams.clear()
        self.grabbed.clear()
        self.seen = _Seen(None, lambda: NO_NORM)

    @property
    def _mixed(self) -> bool:
        """Whether some readers share columns, so that each pass of them needs q, k and v of its own."""
        return any(not p.one_pass for p in self.map.projections)

    # ------------------------------------------------------------ what is written

    def _edits(self) -> list[Edit]:
        """Edits that only look (at what is written), put q, k and v in, and give the output its copy of the stream."""
        edits = [Edit(EMBED, self._looking(self._embeds))]
        for layer, start, end in self.writers.layers():
            edits.append(Edit(Site("z", layer), self._looking(partial(self._heads, layer, start, end - 1))))
            edits.append(Edit(Site("mlp_out", layer), self._looking(partial(self._mlp, layer, end - 1))))
            if not self.map.projections[layer].one_pass:
                edits += [Edit(site, partial(self._put_grabbed, site)) for site in (Site(c, layer) for c in "qkv")]
        return [*edits, Edit(Site("resid_final"), self._final)]

    @staticmethod
    def _looking(see: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
        def apply(x: Tensor) -> Tensor:
            see(x)
            return x

        return apply

    def _write(self, start: int, end: int, value: Tensor) -> None:
        """Writers start..end now write this more than the source's [writer batch pos d_model]."""
        mixture = self.mixture
        mixture.deltas[start:end] = value.detach()
        if value.requires_grad:
            self.token = written(self.token, value, partial(mixture.gradient_at, start, end))

    def _embeds(self, x: Tensor) -> None:
        now = self.batch.embeds_of({EMBED: wide(x.detach())})
        self._write(0, self.writers.first, (now - self.batch.source_embeds()).transpose(0, 1))

    def _heads(self, layer: int, start: int, end: int, z: Tensor) -> None:
        change = self._scaled(layer, wide(z)) - self.source[Site("z", layer)]
        batch, pos, n_heads, _ = change.shape
        W_O = self.writers.W_O(layer).to(change.dtype)
        spend(change.numel() * W_O.shape[-1])
        added = torch.bmm(change.permute(2, 0, 1, 3).reshape(n_heads, batch * pos, -1), W_O)
        self._write(start, end, added.view(n_heads, batch, pos, -1))

    def _mlp(self, layer: int, writer: int, x: Tensor) -> None:
        self._write(writer, writer + 1, (wide(x) - self.source[Site("mlp_out", layer)])[None])

    def _scaled(self, layer: int, z: Tensor) -> Tensor:
        """z [batch pos head d_head] over the scale of a post-norm at this run's own attention output, with the norm's rule."""
        block = self.model.layout.blocks[layer]
        if block.attn_writer == block.paths.o:
            return z
        if self.writers.rest(layer, z.detach()) is not None:
            raise LayoutError(
                f"{block.attn_writer}: what attention adds beside its heads depends on the run; masks over edges know no such part."
            )
        if self.rules.secants:
            raise UnsupportedRuleError(
                f"{block.attn_writer}: a norm behind heads has no average between two runs here."
            )
        W, _ = linear(self.model, block.paths.o)
        out = z.flatten(2).to(W.dtype) @ W
        spend(W.shape[1] * z.numel())
        norm = norm_at(self.model, block.attn_writer)
        scale = norm.inverse_sigma(out)
        if self.rules.norm == "gradient" and out.requires_grad:
            scale = surrogate(out, scale, partial(_through_scale, norm, wide(out.detach()), scale, out.dtype))
        return z * scale[..., None].to(z.dtype)

    # ------------------------------------------------------------ what is read

    def _state(self, readers: Sequence[int]) -> float | None:
        """How much readers that see the same writers see of all of them: 1 or 0, None for anything else."""
        rows = self.mask[readers[0] : readers[-1] + 1, : self.graph.n_upstream[readers[0]]]
        first = float(rows[0, 0])
        return first if first in (0.0, 1.0) and bool((rows == first).all()) else None

    def _total(self, readers: Sequence[int]) -> Tensor:
        """The stream that these readers see where every part is replaced [batch pos d_model]."""
        return self.totals[self.graph.n_upstream[readers[0]]]

    def _copies(self, readers: Sequence[int]) -> Tensor:
        """Each reader's copy of the stream [reader batch pos d_model]."""
        return self.mixture.copies(self._total(readers), readers)

    def _final(self, x: Tensor) -> Tensor:
        last = [len(self.graph.readers) - 1]
        state = self._state(last)
        if state != 1.0:
            x = (self._total(last) if state == 0.0 else self._copies(last)[0]).reshape(x.shape).to(x.dtype)
        return self._reading(x.detach(), lambda g: self._take(last, partial(NO_NORM.into, g=wide(g)[None])))

    def _reading(self, value: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        return read(self.token, value, take) if self.token.requires_grad else value

    def _take(self, readers: Sequence[int], fill: Callable[[Tensor], None]) -> None:
        fill(self.mixture.rows(len(readers)))
        self.mixture.take(readers)

    def _attach(self, stack: ExitStack) -> None:
        hf = self.model.hf
        for layer, block in enumerate(self.model.layout.blocks):
            for path in dict.fromkeys(p for p in (block.attn_norm, block.mlp_norm) if p):
                module = hf.get_submodule(path)
                stack.callback(module.register_forward_pre_hook(self._keep_input(path), with_kwargs=True).remove)
            module = hf.get_submodule(block.paths.attn)
            stack.callback(module.register_forward_pre_hook(self._attention(layer), with_kwargs=True).remove)
            for path in self.map.projections[layer].paths:
                stack.callback(hf.get_submodule(path).register_forward_hook(self._put_columns(path)).remove)
            module = hf.get_submodule(block.mlp_entry)
            stack.callback(module.register_forward_pre_hook(self._mlp_reads(layer), with_kwargs=True).remove)

    def _keep_input(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.streams[path] = activation_in(args, kwargs).detach()

        return hook

    def _mlp_reads(self, layer: int) -> Callable[..., Any]:
        norm, reader = self.model.layout.blocks[layer].mlp_norm, [self.graph.mlp_reader(layer)]

        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            x = activation_in(args, kwargs)
            seen = self._seen(norm, reader, x)
            value = x if seen.values is None else self._unfolded(norm, seen)[0].reshape(x.shape).to(x.dtype)

            def take(g: Tensor) -> None:
                g = wide(g).reshape(1, *self.mixture.like.shape)
                self._take(reader, partial(seen.back().into, g=g))

            return with_activation(args, kwargs, self._reading(value.detach(), take))

        return hook

    def _seen(self, norm: str | None, readers: Sequence[int], x: Tensor) -> _Seen:
        state, shape = self._state(readers), self.mixture.like.shape
        own = (x if norm is None else self.streams[norm]).reshape(shape)
        if state == 1.0:
            return _Seen(None, partial(self._pullback, norm, own))
        if state == 0.0:
            total = self._total(readers)
            return _Seen(self._normed(norm, total.to(x.dtype))[None], partial(self._pullback, norm, total))
        copies = self._copies(readers)
        if norm is None:
            return _Seen(copies.to(x.dtype), lambda: NO_NORM)
        if self.toward is not None:
            return _Seen(self._normed(norm, copies.to(x.dtype)), partial(self._pullback, norm, copies, Apart))
        found, inverse_sigma = normalise(norm_at(self.model, norm), copies)
        point = found if self.keep and self.mixture.backward else None
        return _Seen(found.to(x.dtype), partial(self._apart, norm, readers, inverse_sigma, point), folded=True)

    def _apart(self, norm: str, readers: Sequence[int], inverse_sigma: Tensor, point: Tensor | None) -> Pullback:
        """The way back through the norm of copies: those that were kept, or made again where a rule needs them."""
        own, module = norm_at(self.model, norm), self.model.hf.get_submodule(norm)
        if self.rules.norm != "gradient":
            point = None
        elif point is None:
            point, _ = normalise(own, self._copies(readers))
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

    def _unfolded(self, norm: str | None, seen: _Seen) -> Tensor:
        """What the norm makes of what is seen, its weight and bias in it."""
        values = seen.values
        assert values is not None
        if not seen.folded:
            return values
        module = self.model.hf.get_submodule(norm)
        found: Tensor = values * norm_at(self.model, norm or "").weight(module)
        bias = getattr(module, "bias", None)
        return found if bias is None else found + bias.detach()

    # ------------------------------------------------------------ attention

    def _attention(self, layer: int) -> Callable[..., Any]:
        """Before an attention runs: what its projections give to its readers."""
        norm, projections = self.model.layout.blocks[layer].attn_norm, self.map.projections[layer]
        first = self.graph.first_reader(layer)
        readers = [first + i for i in range(len(projections.readers))]

        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.layer, self.seen = layer, self._seen(norm, readers, activation_in(args, kwargs))
            if projections.one_pass:
                self.chosen = range(len(readers))
                return
            for members in projections.passes:
                self.chosen = members
                self._grab(layer, members, module, args, kwargs)
            self.chosen = ()

        return hook

    def _put_columns(self, path: str) -> Callable[..., Any]:
        """What a projection gives: each reader's columns from its own copy."""

        def hook(module: Any, args: Any, output: Any) -> Any:
            if not self.chosen:
                return output
            projections = self.map.projections[self.layer]
            start, end = next((start, end) for name, start, end in projections.starts() if name == path)
            own = {i: self._inside(projections.columns[i], start, end) for i in self.chosen}
            own = {i: columns for i, columns in own.items() if len(columns)}
            y = activation_out(output)
            value = y.detach() if self.seen.values is None else self._columns(path, y, own)
            take = partial(self._columns_back, self.layer, path, list(own), list(own.values()), self.seen.back)
            return with_output(output, self._reading(value, take))

        return hook

    @staticmethod
    def _inside(columns: Tensor, start: int, end: int) -> Tensor:
        return columns[(columns >= start) & (columns < end)] - start

    def _columns(self, path: str, y: Tensor, own: dict[int, Tensor]) -> Tensor:
        """The projection's output with the columns of each reader from its own copy."""
        values, norm = self.seen.values, self.model.layout.blocks[self.layer].attn_norm
        assert values is not None
        if len(values) == 1:
            with torch.no_grad():
                found: Tensor = self.model.hf.get_submodule(path).forward(values[0].reshape(*y.shape[:-1], -1))
            return found
        W, bias = self._map(path, norm)
        whole = sum(map(len, own.values())) == y.shape[-1]
        value = torch.empty_like(y) if whole else y.detach().clone()
        rows = value.view(-1, value.shape[-1])
        for size in dict.fromkeys(map(len, own.values())):
            same = {i: columns.to(y.device) for i, columns in own.items() if len(columns) == size}
            chosen = torch.stack(list(same.values()))
            x = some(values, list(same)).flatten(1, 2)
            spend(x.numel() * size)
            found = torch.bmm(x, gathered(W, 1, chosen).transpose(0, 1))
            rows[:, chosen.flatten()] = found.transpose(0, 1).flatten(1)
        return value if bias is None else value.add_(bias)

    def _map(self, path: str, norm: str | None) -> tuple[Tensor, Tensor | None]:
        """W [in out] and bias [out] of a projection, with the weight and bias of the norm before it where what is seen lacks them."""
        W, bias = linear(self.model, path)
        if not self.seen.folded or norm is None:
            return W, bias
        module = self.model.hf.get_submodule(norm)
        weight, shift = norm_at(self.model, norm).weight(module), getattr(module, "bias", None)
        if shift is not None:
            moved = shift.detach() @ W
            bias = moved if bias is None else moved + bias
        return (W * weight[:, None] if isinstance(weight, Tensor) else W), bias

    def _columns_back(
        self,
        layer: int,
        path: str,
        inside: list[int],
        columns: list[Tensor],
        back: Callable[[], Pullback],
        g: Tensor,
    ) -> None:
        first, W = self.graph.first_reader(layer), self.map.projections[layer].weight(self.model, path)
        g = wide(g).reshape(*self.mixture.like.shape[:2], -1)
        way = back().for_readers(inside)
        hand_on([first + i for i in inside], columns, g, wide(W), way, self.map.workspace, self._take)

    def _grab(self, layer: int, chosen: Sequence[int], module: Any, args: Any, kwargs: Any) -> None:
        """Run the attention up to its q, k and v, and keep the heads of the readers chosen."""
        found: dict[str, Tensor] = {}

        def around(_: Any, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            found.update(q=q, k=k, v=v)
            raise _Grabbed

        with attention.diverted(around), suppress(_Grabbed):
            module.forward(*args, **kwargs)
        spend(self.model.prices.rows["qkv", layer] * found["q"].shape[0] * found["q"].shape[2])
        for i in chosen:
            reader = self.map.projections[layer].readers[i]
            value = found[reader.kind][:, entry(reader, self.graph)]
            self.grabbed.setdefault(Site(reader.kind, layer), []).append((reader.unit or 0, value))

    def _put_grabbed(self, site: Site, x: Tensor) -> Tensor:
        """q, k or v [batch pos head d_head] with the heads that were grabbed."""
        held = self.grabbed.pop(site, [])
        x = x.clone() if held else x
        for unit, value in held:
            x[:, :, unit] = value
        return x


class _Grabbed(Exception):
    """Ends an attention module's forward where its q, k and v are known."""


def _through_scale(norm: Norm, out: Tensor, scale: Tensor, dtype: torch.dtype, g: Tensor) -> Tensor:
    """From the gradient at 1 / sigma to that at what the norm reads: d (1 / sigma) = -(1 / sigma)^3 mean(c dc)."""
    centred = out - out.mean(-1, keepdim=True) if norm.centred else out
    return (-g * scale**3 * centred / out.shape[-1]).to(dtype)
