"""The losses of every architecture by sae-lens' own training classes, and transcoders made of the same classes.

Importing this module imports sae-lens, which takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import torch
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import (
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput
from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from torch import Tensor

from interp.dictionaries.training.steps.options import Plan
from interp.dictionaries.training.steps.step import Outcome


class _Transcoder:
    """Mixed into a training class: reads x, makes up `target`, and has no decoder bias at its input."""

    def initialize_weights(self) -> None:
        """W_dec as for an autoencoder of the target; W_enc its transpose where the widths agree, else drawn as W_dec is."""
        me: Any = self
        d_in = me.cfg.d_in
        me.cfg.d_in = me.d_out
        super().initialize_weights()  # type: ignore[misc]
        me.cfg.d_in = d_in
        if d_in != me.d_out:
            drawn = torch.nn.init.kaiming_uniform_(torch.empty(me.cfg.d_sae, d_in, dtype=me.dtype))
            if me.cfg.decoder_init_norm is not None:
                drawn *= me.cfg.decoder_init_norm / drawn.norm(dim=-1, keepdim=True)
            me.W_enc = torch.nn.Parameter(drawn.T.contiguous())
        if me.skip:
            me.W_skip = torch.nn.Parameter(torch.zeros(me.d_out, d_in, dtype=me.dtype))

    def process_sae_in(self, x: Tensor) -> Tensor:
        self.read = x
        return x

    def decode(self, features: Tensor) -> Tensor:
        found: Tensor = super().decode(features)  # type: ignore[misc]
        return found + self.read @ self.W_skip.T if self.skip else found  # type: ignore[attr-defined]

    def calculate_topk_aux_loss(self, *, sae_in: Tensor, **rest: Any) -> Tensor:
        found: Tensor = super().calculate_topk_aux_loss(sae_in=self.target, **rest)  # type: ignore[misc, attr-defined]
        return found


class _StandardTranscoder(_Transcoder, StandardTrainingSAE):  # type: ignore[misc]
    pass


class _JumpReluTranscoder(_Transcoder, JumpReLUTrainingSAE):  # type: ignore[misc]
    pass


class _BatchTopKTranscoder(_Transcoder, BatchTopKTrainingSAE):  # type: ignore[misc]
    pass


_CLASSES: Final[Mapping[str, tuple[Any, Any]]] = {
    "standard": (StandardTrainingSAE, StandardTrainingSAEConfig),
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
    "gated": (GatedTrainingSAE, GatedTrainingSAEConfig),
    "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig),
    "matryoshka": (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig),
    "transcoder": (_StandardTranscoder, StandardTrainingSAEConfig),
    "skip_transcoder": (_StandardTranscoder, StandardTrainingSAEConfig),
    "jumprelu_transcoder": (_JumpReluTranscoder, JumpReLUTrainingSAEConfig),
    "batchtopk_transcoder": (_BatchTopKTranscoder, BatchTopKTrainingSAEConfig),
}


def build(plan: Plan) -> Any:
    """A training class of sae-lens with fresh weights drawn from the plan's seed: float32, on the CPU."""
    kind, config = _CLASSES[plan.architecture]
    taken = {f.name for f in fields(config)}
    options = {name: value for name, value in plan.options.items() if name in taken}
    if "matryoshka_widths" in options:
        options["matryoshka_widths"] = list(options["matryoshka_widths"])
    if plan.transcoder:
        options["apply_b_dec_to_input"] = False
        own = {"d_out": plan.d_out, "skip": plan.architecture == "skip_transcoder"}
        kind = type(kind.__name__, (kind,), own)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(plan.seed)
        return kind(config(d_in=plan.d_in, d_sae=plan.d_sae, **options))


class PeerStep:
    """Losses and gradients of one batch by a training class and autograd: every product is dense."""

    def __init__(self, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
        self.sae = build(plan).to(device=device, dtype=dtype).train()
        if self.threshold is not None:
            self.threshold = self.threshold.double()  # a running mean of small steps, which `to` made float32
        self.parameters: dict[str, torch.nn.Parameter] = dict(self.sae.named_parameters())
        self.transposed: tuple[str, ...] = ("W_skip",)

    def gradients(self, x: Tensor, y: Tensor, dead: Tensor, coefficients: Mapping[str, float]) -> Outcome:
        """Set the gradient of every parameter, as sae-lens' `training_forward_pass` and `backward` do."""
        self.sae.target = y
        self.sae.mse_loss_fn = self._squared_error
        for p in self.parameters.values():
            p.grad = None
        wanted = {"sae_in": x, "dead_neuron_mask": dead, "coefficients": dict(coefficients)}
        with torch.enable_grad():
            out = self.sae.training_forward_pass(TrainStepInput(n_training_steps=0, is_logging_step=False, **wanted))
            out.loss.backward()
        features = out.feature_acts.detach()
        terms = {name: term.detach() for name, term in out.losses.items()}
        return Outcome(out.loss.detach(), terms, features.amax(0) > 0, features.count_nonzero())

    def _squared_error(self, found: Tensor, _: Tensor) -> Tensor:
        """What is made up is the target: for an autoencoder the input itself."""
        return torch.nn.functional.mse_loss(found, self.sae.target, reduction="none")

    @property
    def threshold(self) -> Tensor | None:
        """The running estimate of the smallest feature that BatchTopK keeps; float64."""
        found: Tensor | None = getattr(self.sae, "topk_threshold", None)
        return found

    @threshold.setter
    def threshold(self, value: Tensor) -> None:
        self.sae.topk_threshold = value
