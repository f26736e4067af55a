"""Gradients written by hand, sparse and dense, against sae-lens' own forward pass and autograd, and the equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.dictionaries.training.steps.dense import DenseStep, written_by_hand
from interp.dictionaries.training.steps.entries import Entries
from interp.dictionaries.training.steps.options import Plan, plan
from interp.dictionaries.training.steps.peer import PeerStep
from interp.dictionaries.training.steps.sparse import SparseStep
from interp.dictionaries.training.steps.step import Outcome, Step

F = 64
CASES = [
    ("topk", {"k": 5}),
    ("topk", {"k": 60}),  # more than are positive
    ("topk", {"k": 5, "rescale_acts_by_decoder_norm": False}),
    ("batchtopk", {"k": 5}),
    ("batchtopk", {"k": 2.5, "apply_b_dec_to_input": False}),
    ("batchtopk", {"k": 60}),
    ("batchtopk", {"k": 0.01}),  # none at all
    ("batchtopk", {"k": 5, "rescale_acts_by_decoder_norm": False, "aux_loss_coefficient": 0.3}),
    ("matryoshka", {"k": 5}),
    ("matryoshka", {"k": 5, "matryoshka_widths": (3, 40, F), "use_matryoshka_aux_loss": True}),
    ("batchtopk_transcoder", {"k": 5}),
]
UNCENTRED = {"apply_b_dec_to_input": False}
QUADRATIC = {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": 6.0}
DENSE = [
    ("standard", {}),
    ("standard", UNCENTRED),
    ("gated", {}),
    ("gated", UNCENTRED),
    ("jumprelu", {}),
    ("jumprelu", {"jumprelu_bandwidth": 0.6, "jumprelu_init_threshold": 0.2, **UNCENTRED}),
    ("jumprelu", QUADRATIC),
    ("transcoder", {}),
    ("skip_transcoder", {}),
    ("jumprelu_transcoder", QUADRATIC),
]


def both(how: Plan, dtype: torch.dtype, sample: torch.Generator) -> tuple[PeerStep, SparseStep | DenseStep]:
    """The two ways with the same weights, which are nobody's start; gradients of the second are rubbish before it runs."""
    peer = PeerStep(how, torch.device("cpu"), dtype)
    own = DenseStep(how, dtype) if written_by_hand(how) else SparseStep(how, dtype)
    with torch.no_grad():
        for name, p in peer.parameters.items():
            p.add_(0.1 * torch.randn(p.shape, generator=sample, dtype=dtype))
            if name == "threshold":
                p.abs_()[:5] = -0.1  # an optimiser may leave them below 0
            mine = own.parameters[name]
            mine.copy_(turned(p, name, peer, own))
            mine.grad = torch.full_like(mine, torch.nan)
    return peer, own


def data(how: Plan, n: int, dtype: torch.dtype, sample: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, how.d_in, generator=sample, dtype=dtype)
    return x, torch.randn(n, how.d_out, generator=sample, dtype=dtype) if how.transcoder else x


def turned(x: Tensor, name: str, one: Step, other: Step) -> Tensor:
    """A parameter of one way as the other keeps it."""
    return x.T if (name in one.transposed) != (name in other.transposed) else x


def gradient(step: Step, name: str) -> Tensor:
    found = step.parameters[name].grad
    assert found is not None
    return found.T if name in step.transposed else found


def check_same(peer: Step, own: Step, theirs: Outcome, mine: Outcome, tolerance: float) -> None:
    assert theirs.terms.keys() == mine.terms.keys()
    for name, term in theirs.terms.items():
        torch.testing.assert_close(mine.terms[name], term, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(mine.loss, theirs.loss, rtol=tolerance, atol=tolerance)
    assert torch.equal(mine.fired, theirs.fired) and mine.active == theirs.active
    for name in peer.parameters:
        wanted = gradient(peer, name)
        off = (gradient(own, name) - wanted).abs().max()
        least = 1e-6 if name == "threshold" else tolerance  # sae-lens keeps this parameter in float32
        assert off <= max(least, tolerance) * wanted.abs().max().clamp(min=1e-3), name
    if peer.threshold is not None:
        assert own.threshold is not None
        torch.testing.assert_close(own.threshold, peer.threshold, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dead", [0, 5, 30], ids=lambda n: f"{n} dead")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["f64", "f32"])
@pytest.mark.parametrize(("architecture", "options"), CASES)
def test_gradients_equal_sae_lens_autograd(
    architecture: str, options: dict[str, object], dtype: torch.dtype, tolerance: float, dead: int
) -> None:
    """Loss, its terms, who fired, the running threshold and every gradient. d_out / 2 = 10 or 12 dead features are taken: 5
    are fewer, 30 are more."""
    d_out = 20 if architecture.endswith("transcoder") else 24
    how = plan(architecture, 24, d_out, F, options, 10, 0)
    sample = torch.Generator().manual_seed(1)
    peer, own = both(how, dtype, sample)
    for n in (50, 7):
        x, y = data(how, n, dtype, sample)
        mask = torch.zeros(F, dtype=torch.bool)
        mask[torch.randperm(F, generator=sample)[:dead]] = True
        check_same(peer, own, peer.gradients(x, y, mask, {}), own.gradients(x, y, mask, {}), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["f64", "f32"])
@pytest.mark.parametrize(("architecture", "options"), DENSE)
def test_dense_gradients_equal_sae_lens_autograd(
    architecture: str, options: dict[str, object], dtype: torch.dtype, tolerance: float
) -> None:
    how = plan(architecture, 24, 20 if architecture.endswith("transcoder") else 24, F, options, 10, 0)
    sample = torch.Generator().manual_seed(1)
    peer, own = both(how, dtype, sample)
    assert isinstance(own, DenseStep)
    weight = {"l0" if "jumprelu" in architecture else "l1": 0.7}
    for n in (50, 7):
        x, y = data(how, n, dtype, sample)
        nobody = torch.zeros(F, dtype=torch.bool)
        theirs = peer.gradients(x, y, nobody, weight)
        check_same(peer, own, theirs, own.gradients(x, y, nobody, weight), tolerance)


def test_the_skip_transcoder_s_losses_are_the_equations() -> None:
    """The reference itself, for what sae-lens does not train, written out: features, a linear path beside them, L1 times decoder norms."""
    how = plan("skip_transcoder", 24, 20, F, {}, 10, 0)
    sample = torch.Generator().manual_seed(1)
    peer, own = both(how, torch.float64, sample)
    x, y = data(how, 30, torch.float64, sample)
    out = own.gradients(x, y, torch.zeros(F, dtype=torch.bool), {"l1": 0.7})
    w = {name: p.detach().clone().requires_grad_() for name, p in peer.parameters.items()}
    features = (x @ w["W_enc"] + w["b_enc"]).relu()
    error = y - features @ w["W_dec"] - w["b_dec"] - x @ w["W_skip"].T
    loss = (error.square().sum() + 0.7 * (features * w["W_dec"].norm(dim=1)).sum()) / 30
    loss.backward()
    torch.testing.assert_close(out.loss, loss.detach(), rtol=1e-12, atol=0)
    for name, p in w.items():
        assert p.grad is not None
        torch.testing.assert_close(
            gradient(own, name), p.grad.T if name == "W_skip" else p.grad, rtol=1e-10, atol=1e-12
        )


def test_the_transcoder_s_losses_are_the_equations() -> None:
    """The reference itself, for what sae-lens does not train: BatchTopK from x to y and its loss on dead features, written out."""
    how = plan("batchtopk_transcoder", 24, 20, F, {"k": 5}, 10, 0)
    sample = torch.Generator().manual_seed(1)
    peer, own = both(how, torch.float64, sample)
    x, y = data(how, 30, torch.float64, sample)
    dead = torch.zeros(F, dtype=torch.bool)
    dead[:15] = True
    out = own.gradients(x, y, dead, {})
    w = {name: p.detach().clone().requires_grad_() for name, p in peer.parameters.items()}
    norms = w["W_dec"].norm(dim=1)
    size = (x @ w["W_enc"] + w["b_enc"]) * norms
    keep = size >= size.flatten().sort(descending=True).values[5 * 30 - 1]
    error = y - ((size * keep) / norms) @ w["W_dec"] - w["b_dec"]
    among = size[:, :15] >= size[:, :15].sort(descending=True).values[:, 9:10]
    rescued = (size[:, :15] * among / norms[:15]) @ w["W_dec"][:15]
    loss = (error.square().sum() + (rescued - error.detach()).square().sum()) / 30
    loss.backward()
    torch.testing.assert_close(out.loss, loss.detach(), rtol=1e-12, atol=0)
    for name, p in w.items():
        assert p.grad is not None
        torch.testing.assert_close(gradient(own, name), p.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_exact_ties_keep_the_right_number(architecture: str) -> None:
    """All features alike: each choice is right that keeps k of each token, or k per token over all, and counts the loss of those."""
    how = plan(
        architecture, 8, 8, 32, {"k": 3, "matryoshka_widths": (32,)} if architecture == "matryoshka" else {"k": 3}, 1, 0
    )
    own = SparseStep(how, torch.float64)
    with torch.no_grad():
        own.parameters["W_enc"].fill_(0.5)
        own.parameters["W_dec"].fill_(0.25)
    x = torch.ones(10, 8, dtype=torch.float64)
    out = own.gradients(x, x, torch.zeros(32, dtype=torch.bool), {})
    assert out.active == 30
    if architecture == "topk":  # 4 at each of 3 features, which write 1/4 each: 3, where 1 is wanted, in 8 dimensions
        assert float(out.loss) == pytest.approx(8 * (3 - 1) ** 2, abs=1e-12)
    else:  # the first in the batch: one token takes 30 and all others nothing
        assert float(out.loss) == pytest.approx((8 * (30 - 1) ** 2 + 9 * 8) / 10, abs=1e-10)


def test_what_batchtopk_keeps_does_not_depend_on_where_it_began_to_look() -> None:
    """A training that goes on from a file has no last batch to guess from, and must find the same."""
    how = plan("batchtopk", 24, 24, F, {"k": 5}, 10, 0)
    sample = torch.Generator().manual_seed(1)
    x, _ = data(how, 200, torch.float32, sample)
    dead = torch.zeros(F, dtype=torch.bool)
    found = []
    for begin in (-1.0, 0.0, 0.01, 1e9):
        own = SparseStep(how, torch.float32)
        own._from = begin
        out = own.gradients(x, x, dead, {})
        assert own.threshold is not None
        found.append([out.loss, out.fired, own.threshold, *(gradient(own, name) for name in own.parameters)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_choice_among_infinite_numbers_ends() -> None:
    """A training that diverged must come to the check of its loss, not look for ever for something above infinity."""
    own = SparseStep(plan("batchtopk", 8, 8, 32, {"k": 3, "rescale_acts_by_decoder_norm": False}, 1, 0), torch.float32)
    with torch.no_grad():
        own.parameters["W_enc"].fill_(1e3)
    out = own.gradients(torch.full((10, 8), 1e38), torch.ones(10, 8), torch.zeros(32, dtype=torch.bool), {})
    assert not torch.isfinite(out.loss)


def test_entries_are_the_matrix() -> None:
    """Transpose, rows and columns apart, with empty rows and columns, against dense indexing."""
    sample = torch.Generator().manual_seed(0)
    dense = torch.randn(7, 9, generator=sample) * (torch.rand(7, 9, generator=sample) < 0.3)
    dense[0] = dense[3] = dense[:, 0] = 0
    places = dense.nonzero()
    begin = torch.tensor([0, *(dense != 0).sum(1).cumsum(0)], dtype=torch.int32)
    made = Entries(begin, places[:, 1].int(), dense[tuple(places.T)], (7, 9))
    assert torch.equal(made.csr().to_dense(), dense)
    assert torch.equal(made.turned()[0].csr().to_dense(), dense.T)
    assert torch.equal(made.slice(2, 5).csr().to_dense(), dense[2:5])
    part, here = made.between(2, 6)
    wanted = torch.where((torch.arange(9) >= 2) & (torch.arange(9) < 6), dense, 0)
    assert torch.equal(part.csr().to_dense(), wanted)
    assert torch.equal(made.values[here], part.values)
