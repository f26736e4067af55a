"""How much what later layers add changes when a layer is left out, everywhere, or at earlier positions alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from interp.depth.material import Material, Prompts
from interp.depth.removal import run_without, stream_sites, streams_of
from interp.errors import TaskError
from interp.model.edits import patch
from interp.parts.sites import Site
from interp.precision import wide


def later_changes(model: Any, material: Material, *, future: bool) -> np.ndarray:
    """Mean over tokens of |d_j' - d_j| / |d_j| [layer j], rows the layer that is left out; d_j is what layer j adds, d_j' the same without that
    layer. 0 for layers that are not behind it.

    future: the layer is left out in the first half of the positions, and changes are measured in the second: what later tokens take
    from it. Cost: about half as many forwards as there are layers, without logits.
    Source: Csordas et al. 2025, "Do language models use their depth efficiently?".
    """
    n = model.layout.n_layers
    sums, tokens = np.zeros((n, n)), 0
    for prompts in material:
        cut = _cut(prompts) if future else prompts.first
        base = run_without(model, prompts, (), reads=stream_sites(range(n)), keep=1)
        streams = streams_of(base.reads, range(n), n)
        for layer in range(n - 1):
            found = _changed(model, prompts, streams, layer, cut if future else 0)
            for later in range(layer + 1, n):
                sums[layer, later] += _relative(streams, found, later, cut)
        tokens += len(prompts.places) * (prompts.length - cut)
    return sums / tokens


def _cut(prompts: Prompts) -> int:
    """The middle of the positions that count. Raises: TaskError for prompts that are too short to have two halves."""
    if prompts.length - prompts.first < 2:
        raise TaskError(f"future: a prompt of {prompts.length} positions has no two halves; give longer texts.")
    return (prompts.first + prompts.length) // 2


def _changed(model: Any, prompts: Prompts, streams: Mapping[int, Tensor], layer: int, cut: int) -> Mapping[int, Tensor]:
    """What enters each layer behind `layer`, left out; with `cut` at the positions in front of that alone."""
    n = model.layout.n_layers
    behind = range(layer + 1, n)
    kept = [patch(Site("resid_post", layer), streams[layer][:, :cut], positions=slice(0, cut))] if cut else []
    begun, start = (streams, layer) if cut else ({layer + 1: streams[layer]}, layer + 1)
    run = run_without(model, prompts, (), reads=stream_sites(behind), keep=1, edits=kept, streams=begun, start=start)
    return {**{j: run[Site("resid_pre", j)] for j in behind}, n: run[Site("resid_post", n - 1)]}


def _relative(base: Mapping[int, Tensor], found: Mapping[int, Tensor], layer: int, cut: int) -> float:
    """The sum over tokens from `cut` on of how much what a layer adds has changed."""
    before, after = (wide(x[layer + 1] - x[layer])[:, cut:] for x in (base, found))
    size = before.norm(dim=-1)
    return float(((after - before).norm(dim=-1) / size.clamp_min(1e-30)).double().sum())
