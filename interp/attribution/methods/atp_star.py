"""AtP*: attribution patching with its two known failures repaired (Kramár et al. 2024, arXiv 2403.00745).

QK fix: a softmax that is saturated has almost no gradient, so for queries and keys the change of the attention pattern is
computed, and only what follows the pattern is taken as linear. GradDrop: a direct and an indirect effect can cancel in a
gradient, so the gradient is taken with each layer left out in turn, and the sizes of the results are averaged.

Axis words: `batch head kv_head q_pos k_pos d_head label unit`; `drop`: the layers left out one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from interp.attribution.batching.batches import Batch
from interp.attribution.protocol.registry import Options, method
from interp.errors import MethodError
from interp.model.modules import attention
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import Rules

FIXED: Final = ("q", "k")
#: Kinds that no layer adds to the residual stream: every layer can be left out of their gradient.
STREAM: Final = ("embed", "resid_pre", "resid_mid", "resid_post")
#: Gradients of patterns are kept for all dropped layers at once; more passes are made where they would be larger.
PATTERN_BYTES: Final = 256 << 20


@method(
    "atp-star",
    formula="mean over dropped layers of |d_u . g_u(base)|; q, k: |change of the pattern . its gradient|",
    cost="2F + L B; q, k: + 1F and P + 3 attentions per layer",
    paper="Kramár et al. 2024",
    base_point=True,
    unsigned=True,
)
def atp_star(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """The size of the effect of patching each node, from gradients in which no single layer can hide it.

    score[u] = mean over layers l of |e_u(l)|, per prompt, l not the layer that u is a part of. There the paper's sum has a 0,
    hence its L - 1; nodes of the residual stream and the embedding are part of none, and all L layers count.
    e_u(l) = sum_pos d_u . g_u; for q and k  sum_{q_pos, k_pos} (pattern(patched) - pattern(base)) . dm/dpattern; g and
    dm/dpattern at the base run, zero through what layer l adds (attention and MLP).
    q: patched with the base's keys; positions together or apart give the same, as rows of a pattern are independent.
    k: each position patched alone, with the base's queries and other keys; a label of several positions has the sum of
    these, not their joint effect, as the paper's node is one position. A shared K head sums over the query heads of its group.

    Units: those of the metric, without sign. Source: Kramár et al. 2024, QK fix and GradDrop. Raises: MethodError for a model
    of one layer, where there is no other to leave out.
    """
    n_layers = batch.model.layout.n_layers
    if n_layers < 2:
        raise MethodError(
            "atp-star leaves out one layer at a time and this model has only one; expected two or more. Use atp or exact."
        )
    source = batch.source()
    fixed = [group for group in batch.groups if group.kind in FIXED]
    calls = _attention_calls(batch) if fixed else {}
    graph = _Graph.of(batch, [Site("pattern", layer) for layer in calls])
    scores: dict[Group, Tensor] = {}
    for layers in _portions(n_layers, graph.reads):
        groups = [group for group in batch.groups if (group.site.layer or 0) in layers]
        scores |= _sizes(groups, source, graph, calls, options.positions)
    batch.backwards += graph.passes
    options.advance(1)
    return scores


def _portions(n_layers: int, reads: Mapping[Site, Tensor]) -> Iterator[range]:
    """Layers whose pattern gradients are kept together: all, or as many as `PATTERN_BYTES` holds, at least one."""
    sizes = [n_layers * x.numel() * max(4, x.element_size()) for site, x in reads.items() if site.kind == "pattern"]
    step = max(1, PATTERN_BYTES // max(sizes)) if sizes else n_layers
    for start in range(0, n_layers, step):
        yield range(start, min(start + step, n_layers))


# ---------------------------------------------------------------- GradDrop


@dataclass
class _Switch:
    """Which layer the next backward pass leaves out."""

    layer: int | None = None

    def passed(self, layer: int, gradient: Tensor) -> Tensor | None:
        """The gradient that goes on through what `layer` adds."""
        return torch.zeros_like(gradient) if layer == self.layer else None


@dataclass
class _Graph:
    """The base run with its graph kept: one backward pass after another, each without one layer."""

    metric: Tensor
    reads: Mapping[Site, Tensor]
    n_layers: int
    switch: _Switch = field(default_factory=_Switch)
    passes: int = 0

    @classmethod
    def of(cls, batch: Batch, patterns: Sequence[Site]) -> _Graph:
        """The run, with the tensors that nodes and patterns are read from. Its forward is the base run's, bit for bit."""
        batch.model.check_gradients()
        batch.targets()
        n_layers, blocks = batch.model.layout.n_layers, batch.model.layout.blocks
        kinds = (
            (layer, kind)
            for layer, own in enumerate(blocks)
            for kind in (own.attn and "attn_out", *own.further, own.mlp and "mlp_out")
        )
        added = {Site(kind, layer): layer for layer, kind in kinds if isinstance(kind, str)}
        reads = list(dict.fromkeys([*batch.sites, *patterns, *added]))
        with torch.enable_grad():
            run = batch.model.run(batch.base_inputs, reads=reads, logits_to_keep=batch.keep, vocabulary=batch.columns)
            found = cls(batch.measure(batch.at_metric(run.logits)).sum(), run.reads, n_layers)
        batch.forwards += 1
        # The hooks hold the switch and not the graph: a cycle through tensors would keep a batch's activations alive.
        for site, layer in added.items():
            run.reads[site].register_hook(partial(found.switch.passed, layer))
        return found

    def gradients(self, dropped: int, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """d metric / d value at the sites, with the gradient through what layer `dropped` adds set to zero."""
        self.switch.layer = dropped
        self.passes += 1
        values = [self.reads[site] for site in sites]
        found = torch.autograd.grad(self.metric, values, retain_graph=True, allow_unused=True)
        return {s: torch.zeros_like(x) if g is None else g for s, x, g in zip(sites, values, found, strict=True)}


def _sizes(
    groups: Sequence[Group],
    source: Mapping[Site, Tensor],
    graph: _Graph,
    calls: Mapping[int, _Call],
    positions: Tensor,
) -> dict[Group, Tensor]:
    """Scores [batch label unit]: the mean over dropped layers of the sizes of the effects."""
    fixed = [group for group in groups if group.kind in FIXED]
    linear = [group for group in groups if group.kind not in FIXED]
    kept: dict[int, list[Tensor]] = {group.site.layer or 0: [] for group in fixed}
    scores: dict[Group, Tensor] = {}
    for layer in range(graph.n_layers):
        gradients = graph.gradients(layer, [*(g.site for g in linear), *(Site("pattern", own) for own in kept)])
        for group in linear:
            if layer != _own_layer(group):
                difference = source[group.site] - graph.reads[group.site].detach()
                size = _labelled(group.contract(difference, gradients[group.site]), positions).abs()
                size /= graph.n_layers - (_own_layer(group) is not None)
                scores[group] = scores[group] + size if group in scores else size
        for own in kept.keys() - {layer}:
            kept[own].append(wide(gradients[Site("pattern", own)]))
    for own in list(kept):
        gradient = torch.stack(kept.pop(own), dim=2)
        for group in (group for group in fixed if group.site.layer == own):
            effects = calls[own].effects(group, source[group.site], gradient)
            scores[group] = _labelled(effects, positions).abs().mean(0)
    return scores


def _own_layer(group: Group) -> int | None:
    """The layer that the nodes are a part of: leaving it out leaves them no gradient."""
    return None if group.kind in STREAM else group.site.layer


def _labelled(effects: Tensor, positions: Tensor) -> Tensor:
    """Sums over the positions of each label: [... batch pos unit] -> [... batch label unit]."""
    return torch.einsum("lbp,...bpu->...blu", positions.to(effects), effects)


# ---------------------------------------------------------------- QK fix


@dataclass(frozen=True)
class _Call:
    """The attention of one layer in the base run: the architecture's own function, q [batch head pos d_head], k, v."""

    native: attention.Native
    q: Tensor
    k: Tensor
    v: Tensor

    def pattern(self, q: Tensor, k: Tensor) -> Tensor:
        """The pattern [batch head q_pos k_pos] that the architecture makes of these queries and keys."""
        return wide(self.native(q, k, self.v)[1])

    @torch.no_grad()
    def effects(self, group: Group, source: Tensor, gradient: Tensor) -> Tensor:
        """Effects [drop batch pos unit] of the queries or keys, with dm/dpattern [batch head drop q_pos k_pos]."""
        value = source.transpose(1, 2).to(self.q).contiguous()
        return self._queries(value, gradient) if group.kind == "q" else self._keys(value, gradient)

    def _queries(self, source: Tensor, gradient: Tensor) -> Tensor:
        """All positions at once: a query is read by its own row of the pattern only."""
        change = self.pattern(source, self.k) - self.pattern(self.q, self.k)
        return torch.stack([(change * g).sum(-1) for g in gradient.unbind(2)]).transpose(2, 3)

    def _keys(self, source: Tensor, gradient: Tensor) -> Tensor:
        """One position at a time: a patched key moves the weight of every other key in every row that sees it."""
        base, flat = self.pattern(self.q, self.k), gradient.flatten(3)
        effects = []
        for position in range(self.k.shape[2]):
            patched = self.k.clone()
            patched[:, :, position] = source[:, :, position]
            change = (self.pattern(self.q, patched) - base).flatten(2)
            effects.append(torch.matmul(flat, change[..., None])[..., 0])
        per_head = torch.stack(effects)  # [pos batch head drop]
        n_pos, batch, _, drops = per_head.shape
        return per_head.view(n_pos, batch, self.k.shape[1], -1, drops).sum(3).permute(3, 1, 0, 2)


def _attention_calls(batch: Batch) -> dict[int, _Call]:
    """The attention of every layer of the base run. A run without sites inside attention leaves the function to us."""
    model, found = batch.model, {}
    layer_of = {id(model.hf.get_submodule(b.attn.module)): i for i, b in enumerate(model.layout.blocks) if b.attn}

    def record(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        found[layer_of[id(module)]] = _Call(native, q.contiguous(), k.contiguous(), v)
        return native(q, k, v)

    with torch.no_grad(), attention.selected(model.hf, record):
        model.run(batch.base_inputs, logits_to_keep=1)
    batch.forwards += 1
    return found
