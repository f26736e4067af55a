"""How an MLP answers to the heads before it: its output as a sum of what heads write, each with one weight, and a constant.

    m_i = b + sum_h w_h a_h,i + rest_i           over prompts i; m, b, a: [d_model], w: one number for each head

Axis words: `example head d_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.effects.answer_ends import Ends, Prompts, ends_of
from interp.effects.neuron_check import weights_of
from interp.errors import InterpError, SiteError, TaskError
from interp.formatting.numbers import several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.lenses.head_logits import Head
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.tasks.task import Task
from interp.whole_numbers import whole

#: Prompts for each head that a fit needs.
PROMPTS_PER_HEAD: Final = 3


@dataclass(frozen=True, eq=False, repr=False)
class MlpResponse(Table):
    """What an MLP makes of each head's output.

    weights: [head]; above 0 the MLP adds to what the head writes, below 0 it erases it. heads: their names. logits: what weight times head adds
    to the mean logit of the answers, mean over prompts [head]; constant: what b adds to it. r2: of the fit, r2_left_out: of prompts that
    were left out of it one at a time, both of the MLP's output about its mean. n: prompts.
    """

    heads: tuple[str, ...]
    weights: np.ndarray = field(metadata=along(0))
    logits: np.ndarray = field(metadata=along(0))
    constant: float
    r2: float
    r2_left_out: float
    layer: int
    n: int
    model: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.heads),)
        check_sizes(self, weights=(self.weights.shape, shape), logits=(self.logits.shape, shape))

    def to_pandas(self) -> Any:
        """A row per head: head, weight, logit."""
        return rows_of({"head": self.heads, "weight": self.weights, "logit": self.logits})

    def __str__(self) -> str:
        fit = f"R^2 {self.r2:.3f}, left out {self.r2_left_out:.3f}; constant {self.constant:+.3f} logits"
        lines = [f"MlpResponse(layer {self.layer}, {several(self.n, 'prompt')}, {visible(self.model, 80)}; {fit})"]
        order = np.argsort(-np.abs(self.weights), kind="stable")[:10]
        lines += [f"  {self.heads[i]:<8} weight {self.weights[i]:+.3f}  logit {self.logits[i]:+.4f}" for i in order]
        return printed("\n".join(lines))


@kinds_checked
def mlp_response(
    model: Any,
    task: Task,
    layer: int,
    *,
    attention: Sequence[int] | None = None,
    ridge: float = 1e-6,
    prompts: Prompts = "clean",
    batch_size: int | None = None,
) -> MlpResponse:
    """Fit what the MLP of `layer` adds, where the answer is read, on what heads add there, by ridge regression over the prompts.

    attention: the layers whose heads are asked, by default that of the MLP. ridge: in parts of the mean variance of what a head writes. The residual of
    a left-out prompt is exact, from a fit without it.
    Cost: F. Raises: TaskError for less than three prompts a head; SiteError for a layer without an MLP, heads that come later, or an MLP that
    reads none of them (parallel to its attention); InterpError for a ridge that is no number above 0.
    Source: Lv et al. 2024, "Interpreting key mechanisms of factual recall in transformer-based language models".
    """
    at, what = whole(layer, "layer", SiteError), "the response of an MLP"
    if isinstance(ridge, bool) or not isinstance(ridge, int | float) or not 0 < ridge < float("inf"):
        raise InterpError(f"ridge={ridge!r:.40}: expected a number above 0.")
    model.resolve(Site("mlp_out", at))
    asked = _attending(model, at, attention)
    sites = [Site("mlp_out", at), *(Site("z", i) for i in asked)]
    ends = ends_of(model, task, sites, what=what, prompts=prompts, batch_size=batch_size)
    names = tuple(f"a{i}.h{h}" for i in asked for h in range(model.layout.blocks[i].attn.n_heads))
    if len(ends.pairs) < PROMPTS_PER_HEAD * len(names):
        n = PROMPTS_PER_HEAD * len(names)
        raise TaskError(
            f"{what}: {len(ends.pairs)} prompts for {len(names)} heads; expected {n} or more, or fewer layers in attention=."
        )
    with settled(model.device), torch.no_grad():
        x = torch.cat([ends.stream.heads(i) for i in asked], 1)
        y = ends.values[sites[0]]
        weights, r2, left_out = ridge_fit(x, y, ridge)
        constant = y.mean(0) - weights @ x.mean(0)
        logit = _logits(ends, weights[:, None] * x).mean(0)
        plain = float(_logits(ends, constant.expand(len(y), 1, -1)).mean())
    numbers = weights.cpu().numpy(), logit.cpu().numpy(), plain, r2, left_out
    return MlpResponse(names, *numbers, at, len(y), model.name, task.name)


def _attending(model: Any, layer: int, attention: Sequence[int] | None) -> tuple[int, ...]:
    """The layers whose heads are asked. Raises: SiteError for one whose heads the MLP does not read."""
    given = [layer] if attention is None else [whole(i, "attention", SiteError) for i in attention]
    for i in given:
        model.resolve(Site("z", i))
        if i > layer or (i == layer and model.layout.blocks[layer].parallel):
            raise SiteError(
                f"attention: the MLP of layer {layer} does not read the heads of layer {i}; give earlier layers."
            )
    if not given:
        raise SiteError("attention: no layers given; expected one or more, for example attention=[0].")
    return tuple(dict.fromkeys(given))


def _logits(ends: Ends, parts: Tensor) -> Tensor:
    """What parts [example part d_model] add to the mean logit of the answers [example part]."""
    head, answers = Head.of(ends.model), weights_of(ends)[0]
    direction = answers @ head.W_U.double().T * ends.model.layout.logits_scale
    found: Tensor = (ends.stream.normed(parts) * direction[:, None]).sum(-1)
    return found


def ridge_fit(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, float, float]:
    """Weights [head], R^2 and R^2 of left-out examples of y = b + sum_h w_h x_h. x: [example head d_model], y: [example d_model].

    Without example i sums about the mean lose n / (n - 1) times its own term, and what the fit without it leaves of y_i is n / (n - 1) times
    what it leaves of y_i about the mean of all.
    """
    n = len(y)
    more = n / (n - 1)
    x, y = x - x.mean(0), y - y.mean(0)
    grams, sides = torch.einsum("ehd,egd->ehg", x, x), torch.einsum("ehd,ed->eh", x, y)
    gram, side = grams.sum(0), sides.sum(0)
    damping = ridge * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny) * torch.eye(len(side)).to(gram)
    weights = torch.linalg.solve(gram + damping, side)
    without = torch.linalg.solve(gram - more * grams + damping, side - more * sides)
    rest = (y - torch.einsum("h,ehd->ed", weights, x)).square().sum()
    left = more**2 * (y - torch.einsum("eh,ehd->ed", without, x)).square().sum()
    whole_of = y.square().sum().clamp_min(torch.finfo(y.dtype).tiny)
    return weights, float(1 - rest / whole_of), float(1 - left / (more**2 * whole_of))
