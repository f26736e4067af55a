"""Values of effects of single parts whose names, tokens and tasks are some text."""

from __future__ import annotations

import numpy as np
import torch

from interp.effects.last_block import LastBlock
from interp.effects.mlp_response import MlpResponse
from interp.effects.neuron_check import ZeroCheck
from interp.effects.neuron_table import NeuronEffects
from interp.effects.source_table import FeatureSources
from interp.parts.nodes import Node
from interp.parts.tokens import Texts
from interp.probes.classifier import Interval
from interp.probes.probe_measures import Measures
from interp.probes.probes import COLUMNS, EVERY, ROTATED, SHUFFLED, Probes, SiteProbe
from interp.probes.subspace import Subspace


def neurons_of(name: str) -> NeuronEffects:
    """Two neurons on two prompts, zeroed and compared with random ones."""
    values, ids = np.array([[0.5, -0.25], [1.0, 0.0]]), np.array([[1, 2], [2, 3]])
    checks = (
        ZeroCheck("top", ("m0.n1",), -0.5, -1.0, -0.25, 1.0),
        ZeroCheck("random", ("m1.n0",), 0.125, 0.25, 0.0, 0.5),
    )
    nodes, logits = (Node("neuron", 0, 1), Node("neuron", 1, 0)), np.array([[2.0, 1.0], [0.5, -0.5]])
    return NeuronEffects(
        nodes, values, values * 2, values, ids, logits, ids, -logits, 8, 1, True, checks, "log_prob_increase",
        Texts((1, 2), (name, f"{name} too")), name, name,
    )  # fmt: skip


def last_block_of(name: str) -> LastBlock:
    """Two prompts."""
    values = np.array([[-1.0, -0.5], [-2.0, -0.25]])
    return LastBlock(values, values / 2, -values, -values / 4, 3, name, name)


def response_of(name: str) -> MlpResponse:
    """Two heads on six prompts."""
    return MlpResponse((name, "a0.h1"), np.array([0.5, -0.25]), np.array([1.0, 0.0]), -0.5, 0.75, 0.5, 1, 6, name, name)


def sources_of(name: str) -> FeatureSources:
    """Two features on prompts of three and two tokens."""
    values = np.array([[[1.0, 0.0, -0.5], [0.25, 0.5, 0.0]], [[0.5, 0.25, 0.0], [0.0, 1.0, 0.0]]])
    constant, ids = np.full((2, 2), 0.25), np.array([[1, 2, 1], [3, 1, -1]])
    positions, texts = np.array([[2, 1], [1, 0]]), Texts((1, 2), (name, f"{name} too"))
    return FeatureSources(
        (4, 7),
        ("0", "1", "2"),
        values,
        constant,
        values.sum(-1) + constant,
        positions,
        ids,
        "tokens",
        "z.1",
        texts,
        name,
    )


def probes_of(name: str) -> Probes:
    """Two sites, on columns and on all."""

    def quality(auc: float) -> Measures:
        return Measures(*(Interval(auc - i / 16, auc - 0.25, auc + 0.125) for i in range(5)))

    rows = (
        SiteProbe("resid_post.0", COLUMNS, 1, (3,), quality(0.75), 0.0),
        SiteProbe("resid_post.0", COLUMNS, 2, (3, 1), quality(0.8125), 0.0),
        SiteProbe("resid_post.0", ROTATED, 1, (), quality(0.625)),
        SiteProbe("resid_post.0", EVERY, 8, (), quality(0.875)),
        SiteProbe("z.1", SHUFFLED, 8, (), quality(0.5)),
    )
    return Probes(name, "logistic", "exact", "group", 12, 10, 0.5, 0, rows)


def subspace_of(name: str) -> Subspace:
    """A plane of three dimensions."""
    basis = torch.eye(3, dtype=torch.float64)[:, :2].contiguous()
    checks = (("linear_before", 0.75), ("linear_after", 0.5), ("kl", 0.125))
    return Subspace(
        f"resid_post.0 {name}"[:60],
        "leace",
        basis,
        basis,
        torch.zeros(3, dtype=torch.float64),
        ((0.5, 0.0), (-0.5, 0.0)),
        checks,
    )
