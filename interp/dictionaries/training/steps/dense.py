"""ReLU, gated and JumpReLU by hand: the products that autograd makes, without those nobody needs, in memory that is used again.

With c = x - b_dec (x for a transcoder), u = c W_enc, n the norms of the rows of W_dec, T tokens, l the sparsity coefficient:

    standard   f = relu(u + b_enc)
               loss = |f W_dec + b_dec - y|^2 / T + l sum f n / T
    gated      f = relu(e^r u + b_mag) where u + b_gate > 0,  p = relu(u + b_gate)
               loss = |f W_dec + b_dec - y|^2 / T + |p W_dec + b_dec - y|^2 / T + l sum p n / T
    jumprelu   f = u + b_enc where that is above theta
               loss = |f W_dec + b_dec - y|^2 / T + l sum over tokens of S(active features) / T
               S(a) = a, or 2 (a - target)^2 / target; theta's gradient by the rectangle estimator of its width

b_dec's gradient through c is the sum of u's gradients over tokens times W_enc: a vector, where autograd makes a matrix. What is
not here (other sparsity losses, normalised tokens) is left to sae-lens' classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from interp.dictionaries.training.steps.options import AVERAGE, Plan
from interp.dictionaries.training.steps.step import Outcome, grad

Done = tuple[dict[str, Tensor], Tensor]


def written_by_hand(plan: Plan) -> bool:
    """Whether `DenseStep` has the losses of this plan."""
    options = plan.options
    if options["normalize_activations"] not in ("none", AVERAGE):
        return False
    if "lp_norm" in options:
        return bool(options["lp_norm"] == 1)
    if "jumprelu_bandwidth" in options:
        plain = options["pre_act_loss_coefficient"] is None and not options["jumprelu_ste_to_input"]
        return plain and options["jumprelu_sparsity_loss_mode"] != "tanh"
    return plan.architecture == "gated"


class DenseStep:
    """Losses and gradients of one batch on the CPU; every product is dense. Raises: KeyError for a plan that is not `written_by_hand`."""

    transposed: tuple[str, ...] = ("W_skip",)
    threshold: Tensor | None = None

    def __init__(self, plan: Plan, dtype: torch.dtype) -> None:
        from interp.dictionaries.training.steps.peer import build

        self.plan, self.dtype = plan, dtype
        self.parameters: dict[str, torch.nn.Parameter] = dict(build(plan).to(dtype=dtype).named_parameters())
        kind = "jumprelu" if "threshold" in self.parameters else "gated" if "b_gate" in self.parameters else "standard"
        ways: dict[str, Callable[..., Done]] = {
            "standard": self._standard, "gated": self._gated, "jumprelu": self._jumprelu,
        }  # fmt: skip
        self._losses = ways[kind]
        self._memory: dict[str, Tensor] = {}

    @torch.no_grad()
    def gradients(self, x: Tensor, y: Tensor, dead: Tensor, coefficients: Mapping[str, float]) -> Outcome:
        """Set the gradient of every parameter."""
        w = self.parameters
        centred = x - w["b_dec"] if self._subtracts else x
        u = torch.mm(centred, w["W_enc"], out=self._room("u", len(x)))
        grad(w["b_dec"]).zero_()
        start = w["b_dec"] - y
        if "W_skip" in w:
            start.addmm_(x, w["W_skip"].T)
        terms, features = self._losses(u, start, next(iter(coefficients.values())))
        torch.mm(centred.T, self._room("du", len(x)), out=grad(w["W_enc"]))
        if self._subtracts:
            summed = grad(w["b_enc"]) if "b_enc" in w else grad(w["b_gate"]) + w["r_mag"].exp() * grad(w["b_mag"])
            grad(w["b_dec"]).sub_(w["W_enc"] @ summed)
        if "W_skip" in w:
            torch.mm(self._g.T, x, out=grad(w["W_skip"]))
        return Outcome(torch.stack(list(terms.values())).sum(), terms, features.sum(0) > 0, features.count_nonzero())

    @property
    def _subtracts(self) -> bool:
        return bool(self.plan.options.get("apply_b_dec_to_input", False))

    def _room(self, name: str, tokens: int) -> Tensor:
        """[token feature] of memory that stays."""
        if name not in self._memory or len(self._memory[name]) != tokens:
            self._memory[name] = torch.empty(tokens, self.plan.d_sae, dtype=self.dtype)
        return self._memory[name]

    def _made_up(self, features: Tensor, start: Tensor, out: Tensor, *, first: bool = True) -> Tensor:
        """|e|^2 / T of e = features W_dec + start. Sets W_dec's gradient, adds to b_dec's; out: the gradient at features."""
        w = self.parameters
        error = torch.addmm(start, features, w["W_dec"])
        loss = error.square().sum() / len(error)
        self._g = error.mul_(2 / len(error))
        torch.addmm(grad(w["W_dec"]), features.T, error, beta=0 if first else 1, out=grad(w["W_dec"]))
        grad(w["b_dec"]).add_(error.sum(0))
        torch.mm(error, w["W_dec"].T, out=out)
        return loss

    def _penalty(self, features: Tensor, to: Tensor, coefficient: float) -> Tensor:
        """l sum features n / T. Adds to the gradients of W_dec and, at `to`, of the features."""
        w_dec, each = self.parameters["W_dec"], coefficient / len(features)
        norms, sums = w_dec.norm(dim=1), features.sum(0)
        grad(w_dec).addcmul_(w_dec, (each * sums / norms)[:, None])
        to.add_(norms, alpha=each)
        loss: Tensor = each * (sums @ norms)
        return loss

    # ------------------------------------------------------------ losses; each sets du, and the gradients of its biases

    def _standard(self, u: Tensor, start: Tensor, coefficient: float) -> Done:
        w, du = self.parameters, self._room("du", len(u))
        f = u.add_(w["b_enc"]).relu_()
        mse = self._made_up(f, start, du)
        l1 = self._penalty(f, du, coefficient)
        torch.sum(_where_positive(du, f), 0, out=grad(w["b_enc"]))
        return {"mse_loss": mse, "l1_loss": l1}, f

    def _gated(self, u: Tensor, start: Tensor, coefficient: float) -> Done:
        w, du, dm = self.parameters, self._room("du", len(u)), self._room("dm", len(u))
        size = w["r_mag"].exp()
        p = torch.add(u, w["b_gate"], out=self._room("p", len(u))).relu_()
        f = _where_positive(u.mul_(size).add_(w["b_mag"]).relu_(), p)
        mse = self._made_up(f, start, dm)
        aux = self._made_up(p, start, du, first=False)
        l1 = self._penalty(p, du, coefficient)
        torch.sum(_where_positive(du, p), 0, out=grad(w["b_gate"]))
        torch.sum(_where_positive(dm, f), 0, out=grad(w["b_mag"]))
        torch.sum(torch.mul(dm, f, out=p), 0, out=grad(w["r_mag"]))  # e^r u = f - b_mag where f is active
        grad(w["r_mag"]).sub_(w["b_mag"] * grad(w["b_mag"]))
        du.add_(dm.mul_(size))
        return {"mse_loss": mse, "l1_loss": l1, "auxiliary_reconstruction_loss": aux}, f

    def _jumprelu(self, u: Tensor, start: Tensor, coefficient: float) -> Done:
        w, du = self.parameters, self._room("du", len(u))
        theta = w["threshold"].clamp_(min=0).to(self.dtype)
        width = self.plan["jumprelu_bandwidth"]
        u.add_(w["b_enc"])
        above = torch.sub(u, theta, out=self._room("f", len(u)))
        f = _where_positive(u, above, out=above)
        mse = self._made_up(f, start, du)
        l0, weights = self._sparsity(f, coefficient)
        near = u.sub_(theta).div_(width).abs_().lt_(0.5)
        slope = (weights @ near) / width
        grad(w["threshold"]).copy_(-(slope + theta / width * near.mul_(du).sum(0)))
        torch.sum(_where_positive(du, f), 0, out=grad(w["b_enc"]))
        return {"mse_loss": mse, "l0_loss": l0}, f

    def _sparsity(self, f: Tensor, coefficient: float) -> tuple[Tensor, Tensor]:
        """The loss on the number of active features, and its derivative by that of each token [token]."""
        count, each = f.count_nonzero(1).to(self.dtype), coefficient / len(f)
        if self.plan["jumprelu_sparsity_loss_mode"] == "step":
            return each * count.sum(), torch.full_like(count, each)
        target = float(self.plan["target_l0"])
        return each * 2 / target * (count - target).square().sum(), each * 4 / target * (count - target)


def _where_positive(x: Tensor, sign: Tensor, out: Tensor | None = None) -> Tensor:
    """x where sign is above 0, else 0: in x's memory, or in `out`; one pass."""
    found: Tensor = torch.ops.aten.threshold_backward.grad_input(x, sign, 0, grad_input=x if out is None else out)
    return found
