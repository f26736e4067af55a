"""Values of effects of single parts whose names, tokens and tasks are some text."""

from __future__ import annotations

import numpy as np

from interp.effects.last_block import LastBlock
from interp.effects.mlp_response import MlpResponse
from interp.effects.neuron_check import ZeroCheck
from interp.effects.neuron_table import NeuronEffects
from interp.effects.source_table import FeatureSources
from interp.parts.nodes import Node
from interp.parts.tokens import Texts


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
