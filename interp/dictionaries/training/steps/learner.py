"""`Learner`: one dictionary in training. A step is one batch of activations; its state is a flat dict of tensors.

As in sae-lens' trainer: Adam, gradients clipped to norm 1 over all parameters, learning rate and sparsity coefficients by
schedule, and a feature that has not fired for `dead_feature_window` steps is dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.training.steps.finish import dictionary_of
from interp.dictionaries.training.steps.options import ARCHITECTURES, AVERAGE, Plan, plan
from interp.dictionaries.training.steps.schedules import coefficients, learning_rate
from interp.dictionaries.training.steps.step import Outcome, Step
from interp.parts.sites import Site

__all__ = ["ARCHITECTURES", "Learner", "Measures", "make_learner"]

DTYPES: Final = (torch.float32, torch.float64)
#: Architectures whose active features are known before anything else.
SPARSE: Final = ("topk", "batchtopk", "matryoshka", "batchtopk_transcoder")
#: Of what torch allocates on a CPU, in bytes.
ALIGNMENT: Final = 64
#: The largest norm of all gradients together, as in sae-lens' trainer.
LARGEST_GRADIENT: Final = 1.0


@dataclass(frozen=True, eq=False)
class Measures:
    """One step, measured on its batch before the weights changed; tensors of one number each.

    terms: what `loss` is the sum of. l0: active features per token. explained_variance: 1 - sum |y - y-hat|^2 /
    sum |y - mean y|^2, centred per dimension over the batch. dead: the share of dead features after this step.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]
    l0: Tensor
    explained_variance: Tensor
    dead: Tensor

    def numbers(self) -> dict[str, float]:
        """All as numbers, `terms` under their own names; waits for the device. Tokens that are all alike have no variance
        to explain: that number is then left out."""
        own = {"loss": self.loss, "l0": self.l0, "explained_variance": self.explained_variance, "dead": self.dead}
        found = {name: float(value) for name, value in {**own, **self.terms}.items()}
        return {name: value for name, value in found.items() if isfinite(value)}


def make_learner(
    architecture: str,
    d_in: int,
    d_out: int,
    d_sae: int,
    options: Mapping[str, Any],
    steps: int,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Learner:
    """A learner with fresh weights. `steps`: of the whole training, for the schedules. For an autoencoder d_out is d_in.

    Raises: DictionaryError for an unknown architecture or option, a value out of range, a dtype below float32.
    """
    if dtype not in DTYPES:
        raise DictionaryError(f"dtype {dtype}: dictionaries are trained in float32 or float64.")
    return Learner(plan(architecture, d_in, d_out, d_sae, options, steps, seed), torch.device(device), dtype)


class Learner:
    """Weights, optimiser and counters of one dictionary. Make it with `make_learner`."""

    def __init__(self, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
        self.plan, self.device, self.dtype = plan, device, dtype
        self._way = _way(plan, device, dtype)
        names = self._way.parameters
        self._adam = torch.optim.Adam(
            list(names.values()), lr=plan["lr"], betas=(plan["adam_beta1"], plan["adam_beta2"]), fused=True
        )
        for p in names.values():
            self._adam.state[p] = {
                "step": torch.zeros((), device=device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
        self.step = 0
        self._since_fired = torch.zeros(plan.d_sae, dtype=torch.int64, device=device)
        self._scale = torch.ones(2, dtype=torch.float64)

    # ------------------------------------------------------------ training

    def prepare(self, x: Tensor, y: Tensor | None = None) -> None:
        """Before the first step, from a large sample x [token d_in], y [token d_out]: biases that centre, and the scales.

        b_dec starts as the mean of what is made up. Where b_dec is not taken off the input, the encoder's bias does that.
        With `expected_average_only_in` inputs (and a transcoder's targets, by a factor of their own) are scaled to a mean
        norm of sqrt(width). Raises: DictionaryError as `learn`, and where all activations are zero and are to be scaled.
        """
        x, y = self._read(x, y)
        _check_finite((x, y), "the first sample")
        if self.plan["normalize_activations"] == AVERAGE:
            norms = [float(part.norm(dim=-1).mean(dtype=torch.float64)) for part in (x, y)]
            if not all(norms):
                raise DictionaryError("activations are all zero: there is no norm to scale to sqrt(width).")
            widths = self.plan.d_in, self.plan.d_out
            self._scale = torch.tensor([d**0.5 / n for d, n in zip(widths, norms, strict=True)], dtype=torch.float64)
        if self.plan["normalize_activations"] not in ("none", AVERAGE):
            return  # each token is centred or scaled by itself
        weights = self._way.parameters
        with torch.no_grad():
            weights["b_dec"].copy_(y.mean(0) * self._scale[1])
            if not self.plan.options.get("apply_b_dec_to_input", False):
                enc = weights["W_enc"].T if "W_enc" in self._way.transposed else weights["W_enc"]
                off = -(x.mean(0) * self._scale[0]) @ enc
                for name in {"b_enc", "b_gate", "b_mag"} & set(weights):
                    weights[name].copy_(off)

    def learn(self, x: Tensor, y: Tensor | None = None) -> Measures:
        """One step of the optimiser on x [token d_in], y [token d_out]. An autoencoder makes up x, whatever y is.

        Raises: DictionaryError for another width, no tokens, or numbers that are not finite; weights are then as before.
        """
        x, y = self._scaled(*self._read(x, y))
        dead = self._since_fired > self.plan["dead_feature_window"]
        out = self._way.gradients(x, y, dead, coefficients(self.plan, self.step))
        self._update(out.loss, (x, y))
        self._since_fired += 1
        self._since_fired.masked_fill_(out.fired, 0)
        return self._measured(out, y)

    def _read(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.plan.transcoder:
            y = x
        elif y is None:
            raise DictionaryError(f"{self.plan.architecture}: expected what it makes up, y, beside x.")
        for name, part, width in (("x", x, self.plan.d_in), ("y", y, self.plan.d_out)):
            if part.ndim != 2 or part.shape[1] != width or not len(part) or len(part) != len(x):
                raise DictionaryError(
                    f"{name} of shape {tuple(part.shape)}: expected [token {width}], at least one token, as many as in x."
                )
        to = _aligned(x.to(self.device, self.dtype))
        return to, to if y is x else _aligned(y.to(self.device, self.dtype))

    def _scaled(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.plan["normalize_activations"] != AVERAGE:
            return x, y
        scaled = x * float(self._scale[0])
        return scaled, scaled if y is x else y * float(self._scale[1])

    def _update(self, loss: Tensor, read: tuple[Tensor, Tensor]) -> None:
        parameters = self._way.parameters.values()
        norm = torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        # One question for all: each look at a number waits for the device. A token that is not a number may have no active feature.
        if not bool(torch.isfinite(loss + norm + sum(part.sum() for part in read))):
            _check_finite(read, f"step {self.step + 1}")
            raise DictionaryError(
                f"step {self.step + 1}: loss {float(loss):.4g}, gradient norm {float(norm):.4g}; expected finite numbers. Use a smaller lr."
            )
        for group in self._adam.param_groups:
            group["lr"] = learning_rate(self.plan, self.step)
        self._adam.step()
        self.step += 1

    def _measured(self, out: Outcome, y: Tensor) -> Measures:
        error = out.terms["mse_loss"] * len(y)
        spread = torch.linalg.vector_norm(y - y.mean(0)).square()
        dead = self._since_fired > self.plan["dead_feature_window"]
        return Measures(out.loss, out.terms, out.active / len(y), 1 - error / spread, dead.sum() / self.plan.d_sae)

    # ------------------------------------------------------------ what comes of it

    def state(self) -> dict[str, Tensor]:
        """All that training goes on from, as copies: weights, moments, step, counters, scales, BatchTopK's threshold."""
        found = {
            "step": torch.tensor(self.step),
            "since_fired": self._since_fired.clone(),
            "scale": self._scale.clone(),
        }
        for name, p in self._way.parameters.items():
            for key, tensor in self._tensors(p).items():
                found[f"{key}.{name}"] = self._turned(name, tensor.detach()).clone(
                    memory_format=torch.contiguous_format
                )
        if self._way.threshold is not None:
            found["threshold"] = self._way.threshold.clone()
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()` of a learner of the same plan, bit for bit. Raises: DictionaryError where names or shapes differ."""
        mine = self.state()
        for name in sorted(set(mine) ^ set(state)):
            raise DictionaryError(
                f"state of {self.plan.architecture}: {name!r} is {'missing' if name in mine else 'too much'}."
            )
        for name, tensor in state.items():
            if tensor.shape != mine[name].shape or tensor.dtype != mine[name].dtype:
                raise DictionaryError(
                    f"state: {name!r} is {tensor.dtype} {list(tensor.shape)}; expected {mine[name].dtype} {list(mine[name].shape)}."
                )
        self.step = int(state["step"])
        self._since_fired.copy_(state["since_fired"])
        self._scale = state["scale"].to("cpu", copy=True)
        with torch.no_grad():
            for name, p in self._way.parameters.items():
                for key, tensor in self._tensors(p).items():
                    tensor.copy_(self._turned(name, state[f"{key}.{name}"]))
                self._adam.state[p]["step"].fill_(self.step)
        if self._way.threshold is not None:
            self._way.threshold = state["threshold"].to(self.device, copy=True)

    def dictionary(self, site: Site, target: Site, details: Mapping[str, Any]) -> Dictionary:
        """What has been learnt so far, scales and norms folded in, as copies."""
        weights = {name: self._turned(name, p.detach()) for name, p in self._way.parameters.items()}
        scale = float(self._scale[0]), float(self._scale[1])
        return dictionary_of(self.plan, weights, self._way.threshold, scale, site, target, details)

    def _tensors(self, p: torch.nn.Parameter) -> dict[str, Tensor]:
        moments = self._adam.state[p]
        return {"weight": p, "mean": moments["exp_avg"], "square": moments["exp_avg_sq"]}

    def _turned(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.T if name in self._way.transposed else tensor


def _check_finite(read: tuple[Tensor, Tensor], where: str) -> None:
    if not all(bool(torch.isfinite(part).all()) for part in read):
        raise DictionaryError(
            f"{where}: activations have numbers that are not finite; expected finite ones. Look at the model's dtype."
        )


def _aligned(x: Tensor) -> Tensor:
    """The same numbers where torch's allocator would put them: MKL promises the same last bits for the same alignment only, and a
    run that goes on from a file has its rows elsewhere."""
    x = x.contiguous()
    return x.clone() if x.data_ptr() % ALIGNMENT else x


def _way(plan: Plan, device: torch.device, dtype: torch.dtype) -> Step:
    """How gradients are found. By hand on the CPU: at the active features alone where a token has few of them and there is MKL,
    else in dense products; sae-lens' classes and autograd elsewhere, and for losses that are not written by hand."""
    if device.type == "cpu":
        from interp.dictionaries.training.steps.dense import DenseStep, written_by_hand
        from interp.dictionaries.training.steps.sparse import SparseStep

        if plan.architecture in SPARSE and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
            return SparseStep(plan, dtype)
        if written_by_hand(plan):
            return DenseStep(plan, dtype)
    from interp.dictionaries.training.steps.peer import PeerStep

    return PeerStep(plan, device, dtype)
