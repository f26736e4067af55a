"""Values of what heads look at, of pairs of tokens and of the decoder lens, made with any text for their names."""

from __future__ import annotations

import numpy as np
import torch

from interp.attribution.pair_attribution import PairAttribution
from interp.heads.clusters import HeadClusters, head_clusters
from interp.heads.distances import HeadDistances
from interp.heads.relations import HeadRelations
from interp.heads.statistics import HeadStatistics
from interp.lenses.decoder_lens import DecoderLens
from interp.lenses.second_order import SecondOrder
from interp.parts.tokens import Texts

HEADS = ("a0.h0", "a0.h1", "a1.h0", "a1.h1")


def head_statistics_of(name: str) -> HeadStatistics:
    """Three texts, of which one alone has the second measure."""
    values = np.random.default_rng(0).random((3, 4, 3))
    values[1:, :, 1] = np.nan
    return HeadStatistics(HEADS, ("to_self", f"to_token({name})", "entropy"), values, name, name)


def head_distances_of(name: str) -> HeadDistances:
    distances = np.array([[0, 0.1, 0.5, 0.6], [0.1, 0, 0.5, 0.4], [0.5, 0.5, 0, 0.2], [0.6, 0.4, 0.2, 0]])
    return HeadDistances(HEADS, distances, "js", 30, 3, name)


def head_clusters_of(name: str) -> HeadClusters:
    return head_clusters(head_distances_of(name), 2)


def head_relations_of(name: str) -> HeadRelations:
    """Two relations on three texts, the second in one part only."""
    hits = np.zeros((2, 2, 4, 3), dtype=np.int64)
    hits[0, 0, 2] = 1, 2, 1
    by_offset = np.zeros((2, 6, 3), dtype=np.int64)
    by_offset[0, 2] = 1, 0, 1
    total = np.array([[2, 2, 1], [1, 0, 0]])
    return HeadRelations((name, f"{name} too"), HEADS, hits, total, by_offset, (True, False, False), True, name)


def pairs_of(name: str) -> PairAttribution:
    """One pair of a text of two tokens and one of three."""
    matrix = ((0.5, -0.25, 0.0), (0.1, 0.2, -0.3))
    four = (0.75, 0.25, 0.5, 0.25)
    return PairAttribution(
        ((name, "b"),), (("c", name, "d"),), (matrix,), (four,), (0.0,), "cosine", "mean", 0, "pad", 8, name
    )


def second_order_of(name: str) -> SecondOrder:
    """Three neurons on two examples, and two outputs."""
    values = np.array([[[1.0, 0.0], [-2.0, 0.5], [0.25, 0.0]]] * 2)
    return SecondOrder(1, (name, f"{name} too"), values, values.sum(1) + 0.5, name)


def decoder_lens_of(name: str) -> DecoderLens:
    """Two layers on two examples, of three tokens."""
    logits = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 0.5, 0.25]], [[0.0, 2.0, 0.0], [0.0, 0.5, 0.25]]])
    texts = ((name, "b"), ("", f"{name} too"))
    return DecoderLens((0, 2), logits, texts, Texts((1,), (name,)), False, True, name)
