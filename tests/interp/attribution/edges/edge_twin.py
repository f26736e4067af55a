"""The slow twin with edges: every reader has its own copy of the residual stream, every writer's value is kept apart.

A reader's copy is  x + sum_u share(u, v) (source_u - a_u),  with x the stream and a_u what u writes in this very run; x
itself takes no part. Autograd at the copies gives the gradient at every reader. Rules are constants of the forward pass,
as in `tests/interp/rules/twin.py`; with `constants` of another run given, this is the replacement model frozen at that run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from interp.tasks.task import Task
from tests.interp.attribution.edges.edge_weights import LayerWeights, ModelWeights, NormWeights
from tests.interp.rules.twin import FROZEN_NORM, QUARTER, HeldRules

Ends = tuple[str, str]


@dataclass
class EdgeTwin(HeldRules):
    """One forward pass in float64.

    `cut`: by (writer, reader) how much of the writer's value comes from `sources`: a number, or a tensor that broadcasts
    against [batch pos d_model]. `written`: writers that write this value instead of their own, whoever reads it.
    After the call: `values` by writer and `copies` by reader, [batch pos d_model]; `seen`: which writers are in a copy;
    `held`: the constants of the rules.
    """

    weights: ModelWeights
    preset: str = "gradient"
    kv: str = "shared"
    split_positions: bool = False
    cut: Mapping[Ends, Tensor | float] = field(default_factory=dict)
    sources: Mapping[str, Tensor] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    written: Mapping[str, Tensor] = field(default_factory=dict)
    constants: Mapping[str, Tensor] | None = None
    values: dict[str, Tensor] = field(default_factory=dict)
    copies: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    held: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits [batch pos d_vocab]."""
        w = self.weights
        x = self.embed(ids)
        for i, layer in enumerate(w.layers):
            if w.parallel:
                before = dict(self.values)
                attn = self.attention(i, layer, x)
                x = x + attn + self.mlp(i, layer, x, before)
            else:
                x = x + self.attention(i, layer, x)
                x = x + self.mlp(i, layer, x, self.values)
        logits = w.logits_scale * (self.norm("ln", self.read("logits", x, self.values), w.ln) @ w.W_U)
        return logits if w.logits_cap is None else w.logits_cap * torch.tanh(logits / w.logits_cap)

    # ------------------------------------------------------------ writers, readers, rules

    def embed(self, ids: Tensor) -> Tensor:
        """Token and position embedding: one writer, or two with `split_positions`. Here gradients end."""
        parts = [self.weights.W_E[ids]]
        if self.weights.W_P is not None:
            parts.append(self.weights.W_P[: ids.shape[1]].expand_as(parts[0]))
        if self.split_positions:
            return sum(self.write(u, p) for u, p in zip(("embed", "pos_embed"), parts, strict=True))
        return self.write("embed", sum(parts))

    def write(self, writer: str, value: Tensor) -> Tensor:
        """What the writer adds to the stream: a leaf of the graph where it is not computed from other writers."""
        value = self.written.get(writer, value)
        leaf = torch.is_grad_enabled() and not value.requires_grad
        self.values[writer] = value.detach().clone().requires_grad_() if leaf else value
        return self.values[writer]

    def read(self, reader: str, x: Tensor, values: Collection[str]) -> Tensor:
        """The reader's own copy of the stream, which holds `values`; with cut edges the sum of its parts, so that what is
        cut leaves no rounding behind for a norm to make large."""
        self.seen[reader] = tuple(values)
        copy = x + 0
        if any((writer, reader) in self.cut for writer in values):
            copy = sum((bias for head, bias in self.biases.items() if head in values), 0 * x)
            for writer in values:
                part, c = self.values[writer], self.cut.get((writer, reader))
                copy = copy + (part if c is None else (1 - c) * part + c * self.sources[writer])
        self.copies[reader] = copy
        return copy

    def sigma(self, name: str, x: Tensor, n: NormWeights) -> Tensor:
        """The scale of a norm of `x`, already centred. LN-rule: a constant."""
        sigma = (x.square().mean(-1, keepdim=True) + n.eps).sqrt()
        return self.hold(name, sigma) if self.preset in FROZEN_NORM else sigma

    def norm(self, name: str, x: Tensor, n: NormWeights | None) -> Tensor:
        if n is None:
            return x
        x = x - x.mean(-1, keepdim=True) if n.centred else x
        y = n.w * x / self.sigma(name, x, n)
        return y if n.b is None else y + n.b

    # ------------------------------------------------------------ attention

    def attention(self, i: int, layer: LayerWeights, x: Tensor) -> Tensor:
        """What attention adds to the stream: its heads' values, and the output bias, which belongs to none of them."""
        before, n = dict(self.values), self.weights
        group = n.n_heads // n.n_kv_heads
        q = [self.channel(i, layer, x, before, "q", f"h{head}", head) for head in range(n.n_heads)]
        if self.kv == "split" or group == 1:
            k, v = ([self.channel(i, layer, x, before, c, f"h{h}", h // group) for h in range(n.n_heads)] for c in "kv")
        else:
            units = [[self.channel(i, layer, x, before, c, f"kv{u}", u) for u in range(n.n_kv_heads)] for c in "kv"]
            k, v = ([unit[head // group] for head in range(n.n_heads)] for unit in units)
        z = [self.head(f"a{i}.h{h}", layer, q[h], k[h], v[h]) for h in range(n.n_heads)]
        parts = [one @ W_O for one, W_O in zip(z, layer.W_O, strict=True)]
        bias = torch.zeros_like(x) if layer.b_O is None else layer.b_O.expand_as(x)
        scale: Tensor | float = 1.0
        if layer.post1 is not None:
            scale = layer.post1.w / self.sigma(f"post1.{i}", sum(parts, bias), layer.post1)
        self.biases[f"a{i}.h0"] = scale * bias
        return sum((self.write(f"a{i}.h{h}", scale * part) for h, part in enumerate(parts)), scale * bias)

    def channel(
        self, i: int, layer: LayerWeights, x: Tensor, before: Collection[str], c: str, unit: str, index: int
    ) -> Tensor:
        """One reader's q, k or v [batch pos d_head]: its copy through norm, projection, q/k norm and rotary embedding."""
        name = f"a{i}.{unit}<{c}>"
        y = self.norm(f"{name} ln1", self.read(name, x, before), layer.ln1)
        y = self.norm(f"{name} own", y @ layer.W[c] + layer.b[c], layer.channel_norms.get(c))
        y = y.unflatten(-1, (-1, layer.W_O.shape[1]))[:, :, index]
        y = y if c == "v" else self.weights.rotate(y)
        return y if self.preset not in QUARTER else self.scaled(y, 0.5 if c == "v" else 0.25)

    def head(self, name: str, layer: LayerWeights, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """z [batch pos d_head] of one head."""
        scores, cap = self.weights.attention_scale * q @ k.mT, self.weights.attention_cap
        if cap is not None:
            scores = cap * torch.tanh(scores / cap)
        far = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None, :]
        hidden = (far < 0) if layer.window is None else (far < 0) | (far >= layer.window)
        scores = scores.masked_fill(hidden, -math.inf)
        return self.pattern(f"{name} pattern", scores) @ v

    # ------------------------------------------------------------ MLP

    def mlp(self, i: int, layer: LayerWeights, x: Tensor, before: Collection[str]) -> Tensor:
        """What the MLP adds to the stream, its biases included."""
        y = self.norm(f"m{i} ln2", self.read(f"m{i}", x, before), layer.ln2)
        pre = y @ (layer.W_in if layer.W_gate is None else layer.W_gate)
        post = self.act(f"m{i} act", pre if layer.b_in is None else pre + layer.b_in, self.weights.act)
        if layer.W_gate is not None:
            post = self.product(f"m{i}", post, y @ layer.W_in)
        out = post @ layer.W_out
        return self.write(
            f"m{i}", self.norm(f"post2.{i}", out if layer.b_out is None else out + layer.b_out, layer.post2)
        )


# ---------------------------------------------------------------- scores, the slow way


@dataclass(frozen=True)
class Prompts:
    """Base and source prompts of one length [batch pos], and what the metric compares at the last position [batch]."""

    weights: ModelWeights
    base: Tensor
    source: Tensor
    answers: Tensor
    wrong: Tensor
    kv: str = "shared"
    split_positions: bool = False

    @classmethod
    def of(cls, weights: ModelWeights, task: Task, direction: str = "denoise", **graph: Any) -> Prompts:
        """The prompts of a task of token ids with one answer and one wrong token each."""
        pairs = task.tokenize(None, len(weights.W_E))
        clean, corrupt = torch.tensor([p.clean for p in pairs]), torch.tensor([p.corrupt for p in pairs])
        base, source = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
        answers, wrong = torch.tensor([p.answers[0] for p in pairs]), torch.tensor([p.wrong[0] for p in pairs])
        return cls(weights, base, source, answers, wrong, **graph)

    def twin(self, **options: Any) -> EdgeTwin:
        """A twin of this model that has not run yet."""
        return EdgeTwin(self.weights, kv=self.kv, split_positions=self.split_positions, **options)

    def measure(self, logits: Tensor) -> Tensor:
        """Logit difference [batch], for logits [... pos d_vocab] with one row per example."""
        row = torch.arange(len(logits))
        return logits[row, -1, self.answers] - logits[row, -1, self.wrong]

    def values(self, ids: Tensor) -> dict[str, Tensor]:
        """What every writer writes on these prompts."""
        with torch.no_grad():
            twin = self.twin()
            twin(ids)
        return twin.values

    def differences(self) -> dict[str, Tensor]:
        """d_u: source minus base value of every writer."""
        base, source = self.values(self.base), self.values(self.source)
        return {writer: source[writer] - base[writer] for writer in base}

    def gradients(self, preset: str = "gradient", ids: Tensor | None = None, **options: Any) -> EdgeGradients:
        """g_v at every reader and what each sees, of the base run (or of `ids`)."""
        twin = self.twin(preset=preset, **options)
        metric = self.measure(twin(self.base if ids is None else ids))
        found = torch.autograd.grad(metric.sum(), list(twin.copies.values()), allow_unused=True, retain_graph=True)
        none = torch.zeros_like(twin.copies["logits"])
        reads = {v: none if g is None else g for v, g in zip(twin.copies, found, strict=True)}
        written = torch.autograd.grad(metric.sum(), list(twin.values.values()), allow_unused=True)
        writes = {u: none if g is None else g for u, g in zip(twin.values, written, strict=True)}
        return EdgeGradients(reads, writes, twin.seen)

    def effects(
        self, edges: Sequence[Ends], sources: Mapping[str, Tensor], at: Tensor | float = 1.0, **options: Any
    ) -> Tensor:
        """m(base run with one edge patched) - m(base), for each edge [batch edge]; all edges of one example at once.

        at: the positions patched, 0 or 1 [pos 1]; all of them by default.
        """
        found, constants = [], options.pop("constants", None)
        with torch.no_grad():
            for i, ids in enumerate(self.base):
                row = slice(i, i + 1)
                one = replace(self, base=ids[None], answers=self.answers[row], wrong=self.wrong[row])
                cut = {edge: at * torch.eye(len(edges))[:, j, None, None] for j, edge in enumerate(edges)}
                mine = {writer: value[row] for writer, value in sources.items()}
                frozen = constants and {name: value[row] for name, value in constants.items()}
                logits = one.twin(cut=cut, sources=mine, constants=frozen, **options)(ids.expand(len(edges), -1))
                plain = one.twin(constants=frozen, **options)(ids[None])
                found.append(one.measure(logits) - one.measure(plain))
        return torch.stack(found)


@dataclass(frozen=True)
class EdgeGradients:
    """Gradients of the metric at every reader's copy, at every writer's value, and the writers in each copy."""

    reads: Mapping[str, Tensor]
    writes: Mapping[str, Tensor]
    seen: Mapping[str, tuple[str, ...]]

    def edges(self) -> list[Ends]:
        """(writer, reader), readers in forward order."""
        return [(u, v) for v in self.reads for u in self.seen[v]]

    def score(self, d: Mapping[str, Tensor]) -> Tensor:
        """d_u . g_v of every edge in the order of `edges` [batch pos edge]."""
        return torch.stack([(d[u] * self.reads[v]).sum(-1) for u, v in self.edges()], dim=-1)
