"""Information flow routes: how near what a writer adds is to what a reader reads, on one forward of the clean prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.writers import final_site
from interp.attribution.protocol.registry import Options, edge_method
from interp.parts.sites import Site
from interp.precision import wide
from interp.rules.rules import Rules


@edge_method(
    "ifr",
    formula="share of ||x_v||_1 - ||x_v - a_u||_1 among what v reads",
    cost="1F",
    paper="Ferrando & Voita 2024",
    unit="share of what the reader reads",
)
def information_flow_routes(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """How near what u adds is to what v reads on the clean prompt, as a share; mean over the positions.

    proximity = max(0, ||x_v||_1 - ||x_v - a_u||_1), divided by its sum over the writers that v sees. The readers q, k, v
    of one layer read the same stream and get the same shares.

    Units: share of what the reader reads; the shares of a reader sum to 1, over all positions together. Cost: one forward, no counterfactual.
    Source: Ferrando & Voita 2024, section 3.
    """
    graph, places = batch.map.graph, _places(batch)
    run = _clean_run(batch, [site for site, _ in places])
    streams = [wide(run.reads[site].detach()) for site, _ in places]
    near = streams[0].new_zeros(len(batch.pairs), streams[0].shape[1], len(places), len(graph.writers))
    for start, added in _written(batch, run):
        for i, ((_, seen), x) in enumerate(zip(places, streams, strict=True)):
            own = added[:, : max(0, seen - start)]
            near[:, :, i, start : start + own.shape[1]] = proximity(x, own)
    total = near.sum(-1, keepdim=True)
    share = torch.where(total > 0, near / total.clamp_min(torch.finfo(total.dtype).tiny), near)
    mask = options.positions.to(share) / share.shape[1]
    by_place = torch.einsum("lbp,bpvu->blvu", mask, share)
    options.advance(1)
    return by_place[:, :, _place_of_reader(batch)][:, :, torch.from_numpy(graph.visible).to(share.device)]


def proximity(x: Tensor, added: Tensor) -> Tensor:
    """max(0, |x|_1 - |x - a|_1) for x [batch pos d_model] and a [batch writer pos d_model] -> [batch pos writer]."""
    rest = (x[:, None] - added).abs().sum(-1)
    return (x.abs().sum(-1)[:, None] - rest).clamp_min(0).transpose(1, 2)


def _places(batch: EdgeBatch) -> list[tuple[Site, int]]:
    """The distinct streams that readers read, in forward order, and how many writers are in each."""
    graph = batch.map.graph
    found = [(graph.read_at(step), step.sees) for step in graph.steps]
    return [*found, (final_site(batch.model.layout), len(graph.writers))]


def _place_of_reader(batch: EdgeBatch) -> Tensor:
    """For every reader the number of its place."""
    steps = batch.map.graph.steps
    return torch.tensor([*(place for place, step in enumerate(steps) for _ in step.readers), len(steps)])


def _clean_run(batch: EdgeBatch, streams: list[Site]) -> Any:
    """One forward of the clean prompts, whichever of the two runs they are."""
    batch.forwards += 1
    given = batch.base_inputs if batch.direction == "noise" else batch.source_inputs
    with torch.no_grad():
        return batch.model.run(given, reads=[*batch.sites, *dict.fromkeys(streams)], logits_to_keep=1)


def _written(batch: EdgeBatch, run: Any) -> Iterator[tuple[int, Tensor]]:
    """(first writer, what the writers of a part of a layer add [batch writer pos d_model]), one part at a time."""
    writers = batch.map.writers
    values = batch.values_of(run.reads)
    yield 0, batch.embeds_of(values)
    for step in batch.map.graph.steps:
        yield step.writers.start, writers.written(step, values).transpose(0, 1)
