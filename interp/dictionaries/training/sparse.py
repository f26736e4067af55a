"""TopK and BatchTopK by hand: only the encoder is a dense product, all that follows happens at the active features.

With n the norms of the rows of W_dec (1 where `rescale_acts_by_decoder_norm` is off), c = x - b_dec (x for a transcoder), for
T tokens:

    h = c W_enc + b_enc      keep: the largest of h n, and only where h n > 0      f = h at keep, else 0
    e = f W_dec + b_dec - y          loss = sum e^2 / T                            g = 2 e / T
    dW_dec = f^T g           df = (g W_dec^T) at keep          dW_enc = c^T df     db_enc = sum df
    db_dec = sum g - (sum df) W_enc^T    (sum g for a transcoder)

sae-lens multiplies features by n before they are chosen and divides by it after, so n has no gradient: it cancels.
f, df are matrices in CSR form, of which f^T and df^T are made by one sort of the columns.

The loss on m dead features (Gao et al. 2024, appendix A.2), as in sae-lens: the k_aux = d_out / 2 largest h n of them, positive or
not, make up -e, which is held fixed; it counts min(m / k_aux, 1) times its coefficient. Its products are dense over the dead features.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from interp.dictionaries.training.options import Plan
from interp.dictionaries.training.step import Outcome

#: What is taken for a candidate of the next batch's choice: so much of the smallest feature kept in this one.
LOWER: Final = 0.85
#: Rows of the first batch that tell where its candidates begin.
SAMPLE: Final = 64


@dataclass(frozen=True, eq=False)
class Entries:
    """A sparse [row column] matrix: row i has entries begin[i] to begin[i + 1] of columns and values; int32 indices."""

    begin: Tensor
    columns: Tensor
    values: Tensor
    shape: tuple[int, int]

    def csr(self) -> Tensor:
        return torch.sparse_csr_tensor(self.begin, self.columns, self.values, self.shape, check_invariants=False)

    def rows(self) -> Tensor:
        """The row of each entry."""
        each = torch.arange(self.shape[0], dtype=torch.int32)
        return each.repeat_interleave(self.begin.diff(), output_size=len(self.columns))

    def turned(self) -> tuple[Entries, Tensor]:
        """The transpose, and which entry went where: values [order] are in the transpose's order."""
        order = self.columns.argsort(stable=True)
        begin = _begins(self.columns, self.shape[1])
        return Entries(begin, self.rows()[order], self.values[order], (self.shape[1], self.shape[0])), order


class SparseStep:
    """Losses and gradients of one batch on the CPU. The encoder is kept as [feature d_in], as its gradient comes."""

    transposed: tuple[str, ...] = ("W_enc",)

    def __init__(self, plan: Plan, dtype: torch.dtype) -> None:
        from interp.dictionaries.training.peer import build

        drawn = dict(build(plan).named_parameters())
        self.plan = plan
        self.threshold: Tensor | None = None if plan.architecture == "topk" else torch.zeros((), dtype=torch.float64)
        self.parameters: dict[str, torch.nn.Parameter] = {}
        for name, p in drawn.items():
            made = (p.detach().T if name in self.transposed else p.detach()).to(dtype).contiguous()
            self.parameters[name] = torch.nn.Parameter(made.clone())
            self.parameters[name].grad = torch.empty_like(made)
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
        error = torch.addmm(w["b_dec"] - y, code.csr(), w["W_dec"])
        terms = {"mse_loss": error.square().sum() / len(x), "auxiliary_reconstruction_loss": error.new_zeros(())}
        ids = dead.nonzero().squeeze(1)
        rescue = self._rescue(pre, norms, ids, error) if len(ids) else None
        self._main_gradients(code, on, error.mul_(2 / len(x)), centred)
        if rescue is not None:
            terms["auxiliary_reconstruction_loss"] = rescue.loss
            self._add_rescue(rescue, ids, centred)
        _grad(w["b_dec"]).copy_(error.sum(0))
        if self._subtracts:
            _grad(w["b_dec"]).sub_(_grad(w["b_enc"]) @ w["W_enc"])
        fired = torch.zeros(self.plan.d_sae, dtype=torch.bool)
        fired[kept.columns[on]] = True
        return Outcome(terms["mse_loss"] + terms["auxiliary_reconstruction_loss"], terms, fired, on.sum())

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
        return self._pre.add_(bias) if norms is None else torch.addcmul(bias * norms, self._pre, norms, out=self._pre)

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
        return Entries(_begins(rows, len(pre)), columns.int(), values, (len(pre), width))

    def _candidates(self, pre: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Places in the flat `pre`, growing, and values, of the `count` largest that are positive. Where the search begins is a
        guess from the batch before; what is found does not depend on it."""
        flat = pre.view(-1)
        low = self._from if self._from >= 0 else self._guess(pre)
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

    def _main_gradients(self, code: Entries, on: Tensor, g: Tensor, centred: Tensor) -> None:
        w = self.parameters
        at_kept = torch.sparse.sampled_addmm(code.csr(), g, w["W_dec"].T, beta=0.0).values() * on
        turned, order = code.turned()
        _product(turned, g, _grad(w["W_dec"]))
        _product(replace(turned, values=at_kept[order]), centred, _grad(w["W_enc"]))
        _grad(w["b_enc"]).zero_().index_add_(0, code.columns, at_kept)

    def _rescue(self, pre: Tensor, norms: Tensor | None, ids: Tensor, error: Tensor) -> _Rescue:
        """The loss of the dead features; error: e [token d_out]."""
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
        return _Rescue(weight * off.square().sum() / len(pre), acts, off.mul_(2 * weight / len(pre)), chosen)

    def _add_rescue(self, rescue: _Rescue, ids: Tensor, centred: Tensor) -> None:
        w = self.parameters
        at = rescue.g @ w["W_dec"][ids].T
        if rescue.chosen is not None:
            at *= rescue.chosen
        _grad(w["W_dec"]).index_add_(0, ids, rescue.acts.T @ rescue.g)
        _grad(w["W_enc"]).index_add_(0, ids, at.T @ centred)
        _grad(w["b_enc"]).index_add_(0, ids, at.sum(0))


@dataclass(frozen=True, eq=False)
class _Rescue:
    """The auxiliary loss: acts [token dead], g [token d_out] its gradient at what they make up, chosen [token dead] or all."""

    loss: Tensor
    acts: Tensor
    g: Tensor
    chosen: Tensor | None


def _grad(p: torch.nn.Parameter) -> Tensor:
    """The memory of a parameter's gradient, which stays."""
    if p.grad is None:
        p.grad = torch.empty_like(p)
    return p.grad


def _product(left: Entries, right: Tensor, out: Tensor) -> None:
    """out = left right."""
    torch.addmm(out, left.csr(), right, beta=0, out=out)


def _begins(indices: Tensor, rows: int) -> Tensor:
    """Where each row's entries begin, from the rows of all entries [row + 1]."""
    begin = torch.zeros(rows + 1, dtype=torch.int32)
    begin[1:] = indices.bincount(minlength=rows).cumsum(0)
    return begin
