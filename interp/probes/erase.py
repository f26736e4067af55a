"""Take a label out of a site, and say what is left of it and what else was lost.

Sources: the formulas are in `erasers`. Axis words: `example d`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.errors import ProbeError
from interp.given import kinds_checked
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.sites import SiteLike
from interp.probes.erasers import ERASERS
from interp.probes.labelled_texts import Labelled, halves
from interp.probes.probe_fits import logistic
from interp.probes.probe_sites import BY
from interp.probes.reads import read_labelled
from interp.probes.subspace import Subspace
from interp.tasks.lengths import by_length
from interp.whole_numbers import count

_RANDOM: Final = 3
_HIDDEN: Final = 32
_STEPS: Final = 200


@kinds_checked
def erase(
    model: Any,
    labels: Any,
    site: SiteLike,
    method: str = "leace",
    *,
    rank: int = 1,
    by: str = "example",
    pool: int | str = "last",
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> Subspace:
    """A subspace whose `project_out()` takes the label out of a site, fitted on half of the texts and judged on the other.

    checks: accuracy of a linear and of a nonlinear probe before (`linear_before`, `nonlinear_before`) and of new ones after; kl: mean KL divergence, in nats, of the
    model's last output from its own with the edit in place; kl_random: the same for random subspaces of equal rank. rank: of 'inlp', the number of probes.
    Cost: one forward of all texts, and 1 + 3 pairs of forwards of those held out. Raises: ProbeError for labels that cannot be halved, a rank above half the
    width, several sites; SiteError.
    """
    eraser = ERASERS[method]
    count(rank, "rank", ProbeError)
    if rank > 1 and not eraser.ranks:
        raise ProbeError(f"rank={rank} of {method!r}: two labels have one direction there; use method='inlp' for more.")
    if by not in BY:
        raise ProbeError(f"by={by!r}: expected 'example' or 'group'.")
    sites = model.resolve(site)
    if len(sites) != 1:
        raise ProbeError(f"site {str(site)!r} is {len(sites)} sites; expected one, for example 'resid_post.2'.")
    reads = read_labelled(model, labels, sites, pool, batch_size=batch_size, show_progress=show_progress)
    x, y = reads.values[sites[0]].astype(np.float64), reads.labels
    if rank > x.shape[1] // 2:
        raise ProbeError(f"rank={rank} of {x.shape[1]} dimensions: expected at most half of them.")
    train, test = halves(reads.examples, seed, by)
    basis, reader, mean = eraser.function(x[train], y[train], rank)
    found = _subspace(str(sites[0]), method, basis, reader, mean)
    centres = tuple(tuple(map(float, ((x[train][y[train] == c].mean(0) - mean) @ reader).tolist())) for c in (0, 1))
    left = x - (x - mean) @ reader @ basis.T
    checks: dict[str, float] = {}
    for when, values in (("before", x), ("after", left)):
        checks[f"linear_{when}"] = _accuracy(logistic(values[train], y[train]).scores(values[test]), y[test])
        checks[f"nonlinear_{when}"] = _accuracy(_hidden_layer(values, y, train, test, seed), y[test])
    checks |= damage(model, found, [reads.examples[i] for i in test], seed)
    return Subspace(found.site, method, found.basis, found.reader, found.mean, centres, tuple(checks.items()))


def _subspace(site: str, method: str, basis: np.ndarray, reader: np.ndarray, mean: np.ndarray) -> Subspace:
    made = [torch.tensor(np.ascontiguousarray(one)) for one in (basis, reader, mean)]
    return Subspace(site, method, made[0], made[1], made[2])


def _accuracy(scores: np.ndarray, y: np.ndarray) -> float:
    """Balanced: the mean of the shares that are right of each label."""
    return float(np.mean([((scores > 0) == (y == 1))[y == label].mean() for label in (0, 1)]))


def _hidden_layer(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Scores of the held-out examples by a classifier with one hidden layer, from what it was fitted on."""
    mean, spread = x[train].mean(0), x[train].std(0)
    z = torch.tensor((x - mean) / np.where(spread > 1e-9 * max(spread.max(), 1e-30), spread, 1.0), dtype=torch.float32)
    random = torch.Generator().manual_seed(seed)
    d = x.shape[1]
    weights = [
        torch.randn(d, _HIDDEN, generator=random) / d**0.5,
        torch.zeros(_HIDDEN),
        torch.randn(_HIDDEN, generator=random) / _HIDDEN**0.5,
        torch.zeros(()),
    ]
    for w in weights:
        w.requires_grad_()
    optimiser = torch.optim.Adam(weights, lr=0.02, weight_decay=1e-3)
    target = torch.tensor(y[train], dtype=torch.float32)

    def scores(rows: Tensor) -> Tensor:
        hidden = torch.relu(rows @ weights[0] + weights[1])
        return torch.add(hidden @ weights[2], weights[3])

    with torch.enable_grad():
        for _ in range(_STEPS):
            optimiser.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(scores(z[train]), target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return np.asarray(scores(z[test]).detach().numpy())


def damage(model: Any, found: Subspace, examples: list[Labelled], seed: int) -> dict[str, float]:
    """kl of the edit, and the mean (`kl_random`) over random subspaces of its rank; empty for a model without outputs by class or token."""
    random = torch.Generator().manual_seed(seed)
    edits: list[list[Edit]] = [[found.project_out()]]
    for _ in range(_RANDOM):
        q = torch.linalg.qr(torch.randn(found.basis.shape, generator=random, dtype=found.basis.dtype)).Q
        edits.append([Subspace(found.site, "random", q, q, found.mean).project_out()])
    total = np.zeros(len(edits))
    for index in by_length([len(one.ids) for one in examples], 32):
        ids = torch.tensor([examples[i].ids for i in index])
        with settled(model.device), torch.no_grad():
            own = _log_p(model.run(ids, logits_to_keep=1).logits)
            for i, edit in enumerate(edits):
                other = _log_p(model.run(ids, edits=edit, logits_to_keep=1).logits)
                total[i] += float((own.exp() * (own - other)).sum(-1).flatten(1).mean(1).sum())
    kl = total / len(examples)
    return {"kl": float(kl[0]), "kl_random": float(kl[1:].mean())}


def _log_p(logits: Tensor) -> Tensor:
    """Log-probabilities [text ... class]."""
    x = logits.double().log_softmax(-1)
    return x if x.ndim > 2 else x[:, None]
