"""TopK, BatchTopK and Matryoshka by hand: only the encoder is a dense product, all that follows happens at the active features.

With n the norms of the rows of W_dec (1 where `rescale_acts_by_decoder_norm` is off), c = x - b_dec (x for a transcoder), for
T tokens:

    h = c W_enc + b_enc      keep: the largest of h n, and only where h n > 0      f = h at keep, else 0
    e = f W_dec + b_dec - y          loss = sum e^2 / T                            g = 2 e / T
    dW_dec = f^T g           df = (g W_dec^T) at keep          dW_enc = c^T df     db_enc = sum df
    db_dec = sum g - (sum df) W_enc^T    (sum g for a transcoder)

sae-lens multiplies features by n before they are chosen and divides by it after, so n has no gradient: it cancels.
f, df are matrices in CSR form, of which f^T and df^T are made by one sort of the columns.

Matryoshka (Bussmann et al. 2025) adds the same loss for each of its widths, with the features below the width alone: level l are the
features between two widths, e_l the error with all levels up to l, and at a feature of level l the gradient is g_l = 2 / T sum of
e_j over j >= l. The rows of f^T that belong to a level are next to each other. The others have one level.

The loss on m dead features (Gao et al. 2024, appendix A.2), as in sae-lens: the k_aux = d_out / 2 largest h n of them, positive or
not, make up -e, which is held fixed; it counts min(m / k_aux, 1) times its coefficient. Its products are dense over the dead features.
With `use_matryoshka_aux_loss` each level has one, for its own dead features and e_l.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import torch
from torch import Tensor

from interp.dictionaries.training.steps.entries import Entries, begins, product
from interp.dictionaries.training.steps.options import Plan
from interp.dictionaries.training.steps.step import Outcome, grad

#: What is taken for a candidate of the next batch's choice: so much of the smallest feature kept in this one.
LOWER: Final = 0.85
#: Rows of the first batch that tell where its candidates begin.
SAMPLE: Final = 64


class SparseStep:
    """Losses and gradients of one batch on the CPU. The encoder is kept as [feature d_in], as its gradient comes."""

    transposed: tuple[str, ...] = ("W_enc",)

    def __init__(self, plan: Plan, dtype: torch.dtype) -> None:
        from interp.dictionaries.training.steps.peer import build

        drawn = dict(build(plan).named_parameters())
        self.plan = plan
        self.threshold: Tensor | None = None if plan.architecture == "topk" else torch.zeros((), dtype=torch.float64)
        self.parameters: dict[str, torch.nn.Parameter] = {}
        for name, p in drawn.items():
            made = (p.detach().T if name in self.transposed else p.detach()).to(dtype).contiguous()
            self.parameters[name] = torch.nn.Parameter(made.clone())
            self.parameters[name].grad = torch.empty_like(made)
        ends = plan.options.get("matryoshka_widths", (plan.d_sae,))
        self.levels = list(zip((0, *ends[:-1]), ends, strict=True))
        self._pre = torch.empty(0, dtype=dtype)
        self._chosen = torch.empty(0, dtype=torch.bool)
        self._from = -1.0
        with warnings.catch_warnings(action="ignore"):  # torch says once that its CSR form is in beta
            Entries(torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(0), (1, 1)).csr()

    @torch.no_grad()
    def gradients(self, x: Tensor, y: Tensor, dead: Tensor, coefficients: Mapping[str, float]) -> Outcome:
        """Set the gradient of every parameter: the equations above."""
        w = self.parameters
        norms = w["W_dec"].norm(dim=-1) if self.plan["rescale_acts_by_decoder_norm"] else None
        centred = x - w["b_dec"] if self._subtracts else x
        pre = self._preactivations(centred, norms)
        kept = self._batch_largest(pre) if self.threshold is not None else self._token_largest(pre)
        on = kept.values > 0
        code = kept if norms is None else replace(kept, values=kept.values / norms[kept.columns])
        errors = self._errors(code, w["b_dec"] - y)
        terms = self._squares(errors)
        rescues = [r for ids, error in self._dead(dead, errors) if (r := self._rescue(pre, norms, ids, error))]
        if rescues:
            terms["auxiliary_reconstruction_loss"] = torch.stack([r.loss for r in rescues]).sum()
        self._main_gradients(code, on, _summed(errors), centred)
        for rescue in rescues:
            self._add_rescue(rescue, centred)
        if self._subtracts:
            grad(w["b_dec"]).sub_(grad(w["b_enc"]) @ w["W_enc"])
        fired = torch.zeros(self.plan.d_sae, dtype=torch.bool)
        fired[kept.columns[on]] = True
        return Outcome(torch.stack(list(terms.values())).sum(), terms, fired, on.sum())

    def _errors(self, code: Entries, start: Tensor) -> list[Tensor]:
        """e of each level [token d_out]; start: b_dec - y."""
        if len(self.levels) == 1:
            return [torch.addmm(start, code.csr(), self.parameters["W_dec"])]
        errors = []
        for low, high in self.levels:
            start = torch.addmm(start, code.between(low, high)[0].csr(), self.parameters["W_dec"])
            errors.append(start)
        return errors

    def _squares(self, errors: list[Tensor]) -> dict[str, Tensor]:
        """The losses, named as sae-lens names them."""
        found = [error.square().sum() / len(error) for error in errors]
        terms = {"mse_loss": found[-1], "auxiliary_reconstruction_loss": found[-1].new_zeros(())}
        inner = {f"inner_mse_loss_{high}": loss for (_, high), loss in zip(self.levels, found, strict=True)}
        inner.popitem()
        return terms | inner

    def _dead(self, dead: Tensor, errors: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Dead features and the error that they are to make up: all together, or by level."""
        ids = dead.nonzero().squeeze(1)
        if not self.plan.options.get("use_matryoshka_aux_loss", False):
            return [(ids, errors[-1])]
        return [(ids[(low <= ids) & (ids < high)], e) for (low, high), e in zip(self.levels, errors, strict=True)]

    @property
    def _subtracts(self) -> bool:
        return bool(self.plan.options.get("apply_b_dec_to_input", False))

    # ------------------------------------------------------------ who is active

    def _preactivations(self, centred: Tensor, norms: Tensor | None) -> Tensor:
        """h n [token feature], in memory that is used again: fresh pages would cost as much as the product."""
        shape = (len(centred), self.plan.d_sae)
        if self._pre.shape != shape:
            self._pre, self._chosen = self._pre.new_empty(shape), self._chosen.new_empty(shape)
        torch.mm(centred, self.parameters["W_enc"].T, out=self._pre)
        bias = self.parameters["b_enc"]
        if norms is None:
            self._pre.add_(bias)
        else:
            torch.addcmul(bias * norms, self._pre, norms, out=self._pre)
        return self._pre

    def _token_largest(self, pre: Tensor) -> Entries:
        """The k largest of each token; those not positive are entries of value 0."""
        k = self.plan["k"]
        values, columns = pre.topk(k, dim=-1, sorted=False)
        begin = torch.arange(0, (len(pre) + 1) * k, k, dtype=torch.int32)
        return Entries(begin, columns.flatten().int(), values.flatten().relu_(), (len(pre), pre.shape[1]))

    def _batch_largest(self, pre: Tensor) -> Entries:
        """The k T largest positive of all tokens together; of equals at the end, the first ones."""
        places, values = self._candidates(pre, int(self.plan["k"] * len(pre)))
        width = pre.shape[1]
        rows, columns = places // width, places % width
        self._follow(values)
        return Entries(begins(rows, len(pre)), columns.int(), values, (len(pre), width))

    def _candidates(self, pre: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Places in the flat `pre`, growing, and values, of the `count` largest that are positive. Where the search begins is a
        guess from the batch before; what is found does not depend on it."""
        flat = pre.view(-1)
        low = self._from if self._from >= 0 else self._guess(pre)
        low = low if isfinite(low) else 0.0  # a batch that overflows is refused by its loss
        while True:
            places = self._above(flat, low)
            if len(places) >= count or low == 0:
                break
            low = low / 2 if low > 1e-3 else 0.0
        values = flat[places]
        if len(places) <= count:
            return places, values
        if not count:
            return places[:0], values[:0]
        last = values.kthvalue(len(values) - count + 1).values
        keep, level = values > last, values == last
        keep |= level & (level.cumsum(0) <= count - keep.sum())
        return places[keep], values[keep]

    def _above(self, flat: Tensor, low: float) -> Tensor:
        """Where `flat` is above `low`. numpy compares and looks several times faster than torch on a CPU."""
        import numpy as np

        np.greater(flat.numpy(), low, out=self._chosen.view(-1).numpy())
        return torch.from_numpy(np.flatnonzero(self._chosen.numpy()))

    def _guess(self, pre: Tensor) -> float:
        sample = pre[:: max(1, len(pre) // SAMPLE)]
        count = max(1, int(self.plan["k"] * len(sample)))
        return max(0.0, LOWER * float(sample.reshape(-1).topk(count).values[-1]))

    @torch.no_grad()
    def _follow(self, values: Tensor) -> None:
        """Move the threshold towards the smallest feature kept, as sae-lens does; begin there with the next batch."""
        if len(values) and self.threshold is not None:
            smallest, rate = values.min(), self.plan["topk_threshold_lr"]
            self.threshold = (1 - rate) * self.threshold + rate * smallest.double()
            self._from = LOWER * float(smallest)

    # ------------------------------------------------------------ gradients

    def _main_gradients(self, code: Entries, on: Tensor, gs: list[Tensor], centred: Tensor) -> None:
        """gs: g of each level [token d_out]."""
        w = self.parameters
        turned, order = code.turned()
        at_kept = self._at_kept(code, gs) * on
        for (low, high), g in zip(self.levels, gs, strict=True):
            product(turned.slice(low, high), g, grad(w["W_dec"])[low:high])
        product(replace(turned, values=at_kept[order]), centred, grad(w["W_enc"]))
        grad(w["b_enc"]).zero_().index_add_(0, code.columns, at_kept)
        grad(w["b_dec"]).copy_(gs[0].sum(0))

    def _at_kept(self, code: Entries, gs: list[Tensor]) -> Tensor:
        """(g W_dec^T) at each entry, g that of the entry's level."""
        directions = self.parameters["W_dec"].T
        if len(self.levels) == 1:
            only: Tensor = torch.sparse.sampled_addmm(code.csr(), gs[0], directions, beta=0.0).values()
            return only
        found = torch.empty_like(code.values)
        for (low, high), g in zip(self.levels, gs, strict=True):
            part, here = code.between(low, high)
            found[here] = torch.sparse.sampled_addmm(part.csr(), g, directions, beta=0.0).values()
        return found

    def _rescue(self, pre: Tensor, norms: Tensor | None, ids: Tensor, error: Tensor) -> _Rescue | None:
        """The loss of the dead features ids; error: e [token d_out]. None where there is none."""
        if not len(ids):
            return None
        half = max(1, self.plan.d_out // 2)
        weight = self.plan["aux_loss_coefficient"] * min(len(ids) / half, 1.0)
        size = pre[:, ids]
        chosen = None
        if len(ids) > half:
            places = size.topk(half, dim=-1, sorted=False).indices
            chosen = torch.zeros_like(size).scatter_(-1, places, 1.0)
            size = size * chosen
        acts = size if norms is None else size / norms[ids]
        off = acts @ self.parameters["W_dec"][ids] + error
        return _Rescue(ids, weight * off.square().sum() / len(pre), acts, off.mul_(2 * weight / len(pre)), chosen)

    def _add_rescue(self, rescue: _Rescue, centred: Tensor) -> None:
        w, ids = self.parameters, rescue.ids
        at = rescue.g @ w["W_dec"][ids].T
        if rescue.chosen is not None:
            at *= rescue.chosen
        grad(w["W_dec"]).index_add_(0, ids, rescue.acts.T @ rescue.g)
        grad(w["W_enc"]).index_add_(0, ids, at.T @ centred)
        grad(w["b_enc"]).index_add_(0, ids, at.sum(0))


@dataclass(frozen=True, eq=False)
class _Rescue:
    """The auxiliary loss of features ids: acts [token dead], g [token d_out] its gradient at what they make up, chosen [token dead] or all."""

    ids: Tensor
    loss: Tensor
    acts: Tensor
    g: Tensor
    chosen: Tensor | None


def _summed(errors: list[Tensor]) -> list[Tensor]:
    """g of each level, in the memory of e: 2 / T times its own error and all behind it."""
    for before, error in zip(reversed(errors[:-1]), reversed(errors[1:]), strict=True):
        before.add_(error)
    return [error.mul_(2 / len(error)) for error in errors]
