"""The slow twin of mixtures of experts: each written a second time, position by position and expert by expert, with what comes back
under the rules of `relp` as a formula and no autograd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chosen:
    """One expert for one position: h(gate x + b) * (up x + c) + bias, times a weight in front or behind."""

    gate: Tensor
    up: Tensor
    down: Tensor
    weight: Tensor | float = 1.0
    before: bool = False
    biases: tuple[Tensor | float, Tensor | float, Tensor | float] = (0.0, 0.0, 0.0)
    limit: float | None = None

    def value_and_back(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """What it adds [d] for x [d], and what comes back for g [d]: the weight held, coefficients of activation and limits held, half
        of the product to each factor, and of (1 + up) act = act + up act the first to act alone."""
        read = x * self.weight if self.before else x
        a, b = self.gate @ read + self.biases[0], self.up @ read + self.biases[1]
        if self.limit is None:
            act, other, one, a_share, b_share = a * torch.sigmoid(a), b, 0, torch.sigmoid(a), torch.ones_like(b)
        else:
            gate, up = a.clamp(max=self.limit), b.clamp(-self.limit, self.limit)
            slope = torch.sigmoid(1.702 * gate)
            act, other, one, a_share, b_share = gate * slope, up, 1, slope * gate / a, up / b
        behind = 1.0 if self.before else self.weight
        inner = self.down.T @ (g * behind)
        back = self.gate.T @ (inner * (one + other / 2) * a_share) + self.up.T @ (inner * act * b_share / 2)
        value = (self.down @ (act * (one + other)) + self.biases[2]) * behind
        return value, back * self.weight if self.before else back


def twin(kind: str, mlp: Any, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Output and relevance [batch pos d] of the MLP `mlp` of a model of this `model_type`, for x and g [batch pos d]."""
    value, back = torch.zeros_like(x), torch.zeros_like(x)
    for place in ((i, j) for i in range(x.shape[0]) for j in range(x.shape[1])):
        for expert in _FAMILIES[kind](mlp, x[place]):
            added, returned = expert.value_and_back(x[place], g[place])
            value[place] += added
            back[place] += returned
    return value, back


def _fused(experts: Any, i: int, weight: Tensor | float) -> Chosen:
    gate, up = experts.gate_up_proj[i].chunk(2)
    return Chosen(gate, up, experts.down_proj[i], weight)


def _shared(mlp: Any, weight: Tensor | float = 1.0) -> Chosen:
    return Chosen(mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight, weight)


def _softmax(mlp: Any, x: Tensor) -> Iterator[Chosen]:
    p = torch.exp(mlp.gate.weight @ x)
    p = p / p.sum()
    best = sorted(range(len(p)), key=lambda i: -float(p[i]))[: mlp.gate.top_k]
    total = sum(p[i] for i in best) if getattr(mlp.gate, "norm_topk_prob", True) else 1.0
    for i in best:
        yield _fused(mlp.experts, i, p[i] / total)


def _with_a_shared_gate(mlp: Any, x: Tensor) -> Iterator[Chosen]:
    yield from _softmax(mlp, x)
    yield _shared(mlp.shared_expert, 1 / (1 + torch.exp(-(mlp.shared_expert_gate.weight @ x))))


def _sigmoids(mlp: Any, x: Tensor) -> Iterator[Chosen]:
    s = 1 / (1 + torch.exp(-(mlp.gate.weight @ x)))
    biased = s + mlp.gate.e_score_correction_bias
    best = sorted(range(len(s)), key=lambda i: -float(biased[i]))[: mlp.gate.top_k]
    for i in best:
        yield _fused(mlp.experts, i, mlp.gate.routed_scaling_factor * s[i] / sum(s[j] for j in best))
    yield _shared(mlp.shared_experts)


def _in_front(mlp: Any, x: Tensor) -> Iterator[Chosen]:
    scores = mlp.router.weight @ x
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i]))[: mlp.router.top_k]:
        gate, up = mlp.experts.gate_up_proj[i].T.chunk(2)
        yield Chosen(gate, up, mlp.experts.down_proj[i].T, 1 / (1 + torch.exp(-scores[i])), before=True)
    yield _shared(mlp.shared_expert)


def _interleaved(mlp: Any, x: Tensor) -> Iterator[Chosen]:
    scores, own = mlp.router.weight @ x + mlp.router.bias, mlp.experts
    best = sorted(range(len(scores)), key=lambda i: -float(scores[i]))[: mlp.router.top_k]
    total = sum(torch.exp(scores[i]) for i in best)
    for i in best:
        both, biases = own.gate_up_proj[i].T, own.gate_up_proj_bias[i]
        yield Chosen(
            both[::2], both[1::2], own.down_proj[i].T, torch.exp(scores[i]) / total,
            biases=(biases[::2], biases[1::2], own.down_proj_bias[i]), limit=own.limit,
        )  # fmt: skip


_FAMILIES = {
    "mixtral": _softmax,
    "qwen3_moe": _softmax,
    "olmoe": _softmax,
    "qwen2_moe": _with_a_shared_gate,
    "deepseek_v3": _sigmoids,
    "llama4_text": _in_front,
    "gpt_oss": _interleaved,
}
FAMILIES = tuple(_FAMILIES)
