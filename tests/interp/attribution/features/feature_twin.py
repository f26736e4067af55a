"""Features as nodes, the slow way: the dictionary's equations written a second time, one feature and one whole forward at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.activation import Gated, JumpRelu, TopK
from interp.dictionaries.dictionary import Dictionary
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.nodes import Node
from interp.rules.rules import GRADIENT, Rules
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import PARALLEL
from tests.interp.tasks.toy import measured

WIDE = torch.float64


def dictionaries(name: str, *, scaled: bool = True, dtype: torch.dtype = WIDE, n: int = 24) -> dict[str, Dictionary]:
    """One at every kind of place that the tiny model `name` has, of every activation; two of them normalise (`scaled`),
    and the transcoder skips."""
    norm, rescaled = ("layer_norm", "constant_norm_rescale") if scaled else ("none", "none")
    skip = 0.1 * torch.randn(32, 32, generator=torch.Generator().manual_seed(5), dtype=WIDE).to(dtype)
    found = [
        made("resid_pre.0", 32, kind="relu", seed=1, dtype=dtype, n=n),
        made("resid_mid.0", 32, kind="jumprelu", seed=2, dtype=dtype, n=n, normalize=norm),
        made("resid_pre.1", 32, kind="gated", seed=3, dtype=dtype, n=n),
        made("attn_out.1", 32, kind="gated", seed=4, dtype=dtype, n=n),
        made("z.1", 32, kind="topk", seed=5, dtype=dtype, n=n, normalize=rescaled),
        made("mlp_out.0", 32, kind="jumprelu", seed=6, dtype=dtype, n=n),
        made("mlp_normed.1", 32, target="mlp_out.1", seed=7, dtype=dtype, n=n, W_skip=skip if scaled else None),
        made("resid_post.1", 32, kind="topk", seed=8, dtype=dtype, n=n),
    ]
    return {str(d.target): d for d in found if d.target.kind != "resid_mid" or name not in PARALLEL}


# ---------------------------------------------------------------- the equations


def encoded(d: Dictionary, x: Tensor) -> Tensor:
    """Features [feature] of one token x [d_in], feature by feature."""
    if d.normalize == "layer_norm":
        x = (x - x.mean()) / (x.std() + 1e-5)
    elif d.normalize == "constant_norm_rescale":
        x = x * len(x) ** 0.5 / x.square().sum().sqrt()
    x = x if d.b_in is None else x - d.b_in
    u = torch.stack([(x * d.W_enc[:, i]).sum() + d.b_enc[i] for i in range(d.n_features)])
    kind, found = d.activation, torch.zeros_like(u)
    kept = sorted(range(len(u)), key=lambda i: -float(u[i]))[: kind.k] if isinstance(kind, TopK) else range(len(u))
    for i in kept:
        if isinstance(kind, Gated):
            size = torch.exp(kind.r_mag[i]) * u[i] + kind.b_mag[i]
            found[i] = size if size > 0 and u[i] + kind.b_gate[i] > 0 else 0
        elif isinstance(kind, JumpRelu):
            found[i] = u[i] if u[i] > 0 and u[i] > kind.threshold[i] else 0
        else:
            found[i] = max(u[i], torch.zeros_like(u[i]))
    return found


def scale_of(d: Dictionary, x: Tensor) -> float:
    """By what a decoded feature of one token is multiplied."""
    if d.normalize == "layer_norm":
        return float(x.std())
    return float(x.square().sum().sqrt()) / len(x) ** 0.5 if d.normalize == "constant_norm_rescale" else 1.0


def decoded(d: Dictionary, f: Tensor, x: Tensor) -> Tensor:
    """What one token's features [feature] make of x [d_in]."""
    y = (f[:, None] * d.W_dec).sum(0) + d.b_dec
    y = y * scale_of(d, x) + (x.mean() if d.normalize == "layer_norm" else 0)
    return y if d.W_skip is None else y + (x[:, None] * d.W_skip).sum(0)


# ---------------------------------------------------------------- runs


@dataclass(frozen=True)
class Codes:
    """Of one run: features [batch pos feature], errors and scales, token by token."""

    features: Tensor
    error: Tensor
    scale: Tensor

    @classmethod
    def of(cls, model: HookedModel, d: Dictionary, ids: Tensor) -> Codes:
        with torch.no_grad():
            run = model.run(ids, reads=[d.site, d.target])
        x, y = run[d.site].flatten(2), run[d.target].flatten(2)
        f = torch.stack([torch.stack([encoded(d, token) for token in row]) for row in x])
        made_up = [[decoded(d, f[b, p], x[b, p]) for p in range(x.shape[1])] for b in range(len(x))]
        scale = torch.tensor([[scale_of(d, token) for token in row] for row in x])
        return cls(f, y - torch.stack([torch.stack(row) for row in made_up]), scale)

    def mean(self) -> Codes:
        """The same at every token: the mean."""
        f, error = (v.mean((0, 1), keepdim=True).expand_as(v) for v in (self.features, self.error))
        return Codes(f, error, self.scale)

    def zero(self) -> Codes:
        return Codes(torch.zeros_like(self.features), torch.zeros_like(self.error), self.scale)


def changes(d: Dictionary, base: Codes, source: Codes) -> dict[str, Tensor]:
    """What patching each node of a dictionary adds at its target [batch pos d_out], by the node's name."""
    step = source.features - base.features
    seen = ((base.features != 0) | (source.features != 0)).flatten(0, 1).any(0)
    found = {
        f"{d.target}.f{u}": (base.scale * step[..., u])[..., None] * d.W_dec[u]
        for u in range(d.n_features)
        if bool(seen[u])
    }
    return found | {f"{d.target}.error": source.error - base.error}


def at(change: Tensor, node: Node) -> Tensor:
    """A change at the node's position only."""
    if node.position is None:
        return change
    found = torch.zeros_like(change)
    found[:, node.position] = change[:, node.position]
    return found


def added(site: Any, change: Tensor) -> Edit:
    return Edit(site, lambda x: x + change.reshape(x.shape))


def coefficients(
    model: HookedModel, ids: Tensor, pairs: Sequence[TokenPair], site: Any, rules: Rules = GRADIENT, edits: Any = ()
) -> Tensor:
    """d metric / d what is at the site [batch pos d], of one run."""
    with torch.enable_grad():
        run = model.run(ids, reads=[site], rules=rules, edits=edits, allow_unsupported=True)
        (found,) = torch.autograd.grad(measured(run.logits, pairs).sum(), [run[site]])
    return found.flatten(2)


def by_name(scores: Any) -> dict[str, Tensor]:
    """Scores [example] by node."""
    return {p.name: torch.from_numpy(c.copy()) for p, c in zip(scores.parts, scores.per_example.T, strict=True)}


def bare(node: Node) -> str:
    """Its name without a position."""
    return replace(node, position=None).name


def every_change(
    model: HookedModel, found: Mapping[str, Dictionary], base: Tensor, source: Tensor
) -> dict[str, tuple[Dictionary, Tensor]]:
    """By node: its dictionary, and what patching it adds."""
    seen: dict[str, tuple[Dictionary, Tensor]] = {}
    for d in found.values():
        both = changes(d, Codes.of(model, d, base), Codes.of(model, d, source))
        seen |= {name: (d, change) for name, change in both.items()}
    return seen
