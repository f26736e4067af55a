"""From the weights of a training to a `Dictionary`: scales and decoder norms folded in, the threshold made an activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.activation import Activation, Gated, JumpRelu, Relu, TopK
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.training.steps.options import AVERAGE, Plan
from interp.parts.sites import Site


def dictionary_of(
    plan: Plan,
    weights: Mapping[str, Tensor],
    threshold: Tensor | None,
    scale: tuple[float, float],
    site: Site,
    target: Site,
    details: Mapping[str, Any],
) -> Dictionary:
    """weights: as sae-lens names them, W_skip [d_in d_out]. threshold: BatchTopK's. scale: what inputs and targets were multiplied by.

    Features keep the size that they had in training, but where `rescale_acts_by_decoder_norm` is on: there decoder rows
    get norm 1 and features the rest, as sae-lens saves them, so that a threshold means the same for all features.
    """
    w = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    in_, out = scale
    w["W_enc"] *= in_
    w["W_dec"] /= out
    w["b_dec"] /= out
    if "W_skip" in w:
        w["W_skip"] *= in_ / out
    if plan.options.get("rescale_acts_by_decoder_norm", False):
        norms = w["W_dec"].norm(dim=-1).clamp(min=1e-8)
        w["W_enc"] *= norms
        w["b_enc"] *= norms
        w["W_dec"] /= norms[:, None]
        threshold = None if threshold is None else threshold / out
    normalize = plan["normalize_activations"]
    return Dictionary(
        site,
        target,
        _activation(plan, w, threshold),
        W_enc=w["W_enc"],
        b_enc=w.get("b_enc", torch.zeros_like(w["W_enc"][0])),
        W_dec=w["W_dec"],
        b_dec=w["b_dec"],
        b_in=w["b_dec"].clone() if plan.options.get("apply_b_dec_to_input", False) else None,
        W_skip=w.get("W_skip"),
        normalize="none" if normalize == AVERAGE else normalize,
        name=str(details.get("name", "")),
        details=details,
    )


def _activation(plan: Plan, w: Mapping[str, Tensor], threshold: Tensor | None) -> Activation:
    if plan.architecture == "topk":
        return TopK(plan["k"])
    if plan.architecture == "gated":
        return Gated(w["b_gate"], w["r_mag"], w["b_mag"])
    if threshold is not None:
        return JumpRelu(torch.full_like(w["b_enc"], float(threshold)))
    if "threshold" in w:
        return JumpRelu(w["threshold"].to(w["W_enc"].dtype).clamp(min=0))
    return Relu()
