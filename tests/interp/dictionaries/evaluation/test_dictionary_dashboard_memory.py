"""The running memory of a feature: bins that grow lose nothing, and what is drawn is drawn uniformly."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from interp.dictionaries.evaluation.dashboard_examples import BANDS, FeatureMemory, Memory, Piece
from interp.dictionaries.evaluation.dashboard_stream import Seen
from interp.parts.tokens import Tokens


def piece(i: int) -> Piece:
    return Piece(i, 0, 0, (i,), (0.0,))


def test_bins_that_grew_hold_what_bins_of_the_last_width_would() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=500) * 2)
    memory = FeatureMemory(3, 2)
    for chunk in np.array_split(np.sort(values), 50):
        memory.count(chunk)
    assert memory.high / 2 < values.max() <= memory.high
    edges = np.linspace(0, memory.high, 65)
    wanted = [int(((values > a) & (values <= b)).sum()) for a, b in itertools.pairwise(edges)]
    assert memory.counts.tolist() == wanted


def test_drawn_examples_are_a_uniform_draw_from_their_range() -> None:
    """144 values, three in each of the last bins: those of a quarter are drawn equally often, though the bins grew in between."""
    n, trials = 144, 1500
    drawn = np.zeros(n, dtype=int)
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        memory = FeatureMemory(0, 1)
        for i in range(n) if seed % 2 else rng.permutation(n):
            value, key = float(i + 1) / 3, float(rng.random())
            memory.count(np.array([value]))
            if memory.wants_drawn(value, key):
                memory.draw(value, key, piece(int(i)))
        bands = memory.bands(str)
        assert len(bands) == BANDS - 1 and [b.high for b in bands] == [36, 24, 12]
        for band in bands:
            drawn[band.examples[0].document] += 1
    assert drawn[108:].sum() == 0
    expected = trials / 36
    for quarter in drawn[:108].reshape(3, 36):
        assert quarter.sum() == trials
        assert ((quarter - expected) ** 2 / expected).sum() < 66.6  # chi-squared, 35 degrees of freedom, p = 0.001


def test_a_document_offers_any_of_its_active_tokens() -> None:
    """One document, active at three places below its peak: over seeds all three are drawn, and nothing else."""
    tokens = Tokens(torch.tensor([[5, 6, 7, 8, 9, 10]]), torch.ones(1, 6, dtype=torch.bool))
    batch = Seen(tokens, ~tokens.mask, tokens.mask, torch.zeros(1, 6, 1), None)
    places = []
    for seed in range(400):
        memory = Memory(1, 1, 1, 2, seed)
        memory.add(batch, torch.tensor([[0.0], [8.0], [1.0], [0.0], [1.0], [1.0]]))
        places += [e.position for band in memory.features[0].bands(str) for e in band.examples]
    counts = np.bincount(places, minlength=6)
    assert counts[[0, 1, 3]].sum() == 0 and counts[[2, 4, 5]].min() > 70 and counts.sum() < 400
