"""What the weights alone say of a feature: the logits that it writes to, its nearest features, the heads that it is made of.

Axis words: `feature d_model d_vocab head d_head token`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_stream import Seen
from interp.dictionaries.evaluation.dashboard_values import LogitEffects, Neighbour, TokenEffect
from interp.model.modules.linear import linear, norm_at
from interp.precision import wide

#: The targets whose value is (part of) the residual stream.
WRITES: Final = ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final", "attn_out", "mlp_out")


class Unembedding:
    """What one unit of a feature adds to the logits, with every scale on the way frozen.

    effect[t] = s * W_U[t] . w (d - mean(d)) * mean over tokens of g,   g = scale(x) / sigma,   d = W_dec[feature]

    sigma: of the final norm (an RMSNorm subtracts no mean); scale(x): the dictionary's own, 1 where it does not normalise; s: the
    model's logits scale. A dictionary of z writes d W_O, under a post-norm w' (d W_O) / sigma'. So this is the mean over
    the tokens seen of what `direct_logit_attribution` says of the feature, per unit. It leaves out what later layers make of it.

    Units: logits per unit of activation, before a soft cap. Source: nostalgebraist 2020; Elhage et al. 2021.
    Raises: LayoutError where a norm on the way is not recognised or a projection is no linear map.
    """

    def __init__(self, model: Any, dictionary: Dictionary) -> None:
        self.model, self.dictionary, self.total, self.n = model, dictionary, 0.0, 0
        layout, target = model.layout, dictionary.target
        layout.check_sum("direct effects of features")
        layout.check_head("direct effects of features")
        self.final = None if layout.ln_final is None else norm_at(model, layout.ln_final)
        self.W_U = wide(linear(model, layout.unembed)[0])
        self.block = layout.blocks[target.layer] if target.kind == "z" else None
        self.post = None if self.block is None or self.block.attn.plain else self.block.attn.writer

    def add(self, batch: Seen) -> None:
        """Count the scales of a batch that was read with `final`."""
        if batch.final is None:
            raise DictionaryError("the final residual stream was not read; read the stream with final=True.")
        x = batch.x[batch.keep]
        scale = self.dictionary.scale(x)
        ends = batch.final[batch.keep].double()
        g = (torch.ones_like(ends[:, 0]) if self.final is None else self.final.inverse_sigma(ends)).cpu()
        g = g * (scale.double().cpu() if isinstance(scale, Tensor) else scale)
        if self.post is not None and self.block is not None:
            W_O, b_O = linear(self.model, self.block.attn.o)
            written = x.to(W_O.device).double() @ W_O.double() + (0 if b_O is None else b_O.double())
            g = g * norm_at(self.model, self.post).inverse_sigma(written).cpu()
        self.total, self.n = self.total + float(g.sum()), self.n + len(x)

    def effects(self, feature: int, k: int) -> LogitEffects:
        """The `k` tokens that a feature raises most and the `k` that it lowers most."""
        effect = self.logits(feature)
        if not bool(effect.any()):
            return LogitEffects(reason="its decoder row is zero.")
        order = effect.argsort(descending=True, stable=True).tolist()
        top, bottom = order[:k], order[::-1][:k]
        named = [tuple(TokenEffect(i, self.model.text_of(i), float(effect[i])) for i in ids) for ids in (top, bottom)]
        return LogitEffects(named[0], named[1])

    def logits(self, feature: int) -> Tensor:
        """The effect on every token [d_vocab], in float64 on the CPU."""
        layout = self.model.layout
        d = self.dictionary.W_dec[feature].detach().to(self.W_U.device).double()
        if self.block is not None:
            d = d @ linear(self.model, self.block.attn.o)[0].double() * self.block.attn.scale
            d = d if self.post is None else self._passed(self.post, d)
        d = d if layout.ln_final is None else self._passed(layout.ln_final, d)
        d = d * (self.total / max(1, self.n)) * layout.logits_scale
        logits: Tensor = d.to(self.W_U.dtype) @ self.W_U
        return logits.double().cpu()

    def _passed(self, path: str, d: Tensor) -> Tensor:
        """A direction through a norm without its scale: w (d - mean(d))."""
        norm, module = norm_at(self.model, path), self.model.hf.get_submodule(path)
        passed: Tensor = (d - d.mean() if norm.centred else d) * norm.weight(module)
        return passed


def writes_logits(dictionary: Dictionary) -> str:
    """Why a dictionary's features have no direct effect on logits; empty where they have one."""
    kind = dictionary.target.kind
    if kind in WRITES or (kind == "z" and not dictionary.transcoder):
        return ""
    if kind == "z":
        return "a transcoder to z does not read the z that its scale would be taken from."
    return (
        f"what is at '{dictionary.target}' is not added to the residual stream, so it has no direct effect on logits."
    )


def nearest(dictionary: Dictionary, features: Sequence[int], k: int) -> list[tuple[Neighbour, ...]]:
    """For each feature the `k` others whose decoder rows have the largest cosine with its own; none for a zero row."""
    W = dictionary.W_dec.detach().float()
    norms = W.norm(dim=1)
    W = W / norms.clamp_min(torch.finfo(W.dtype).tiny)[:, None]
    found: list[tuple[Neighbour, ...]] = []
    for feature in features:
        cosines = W @ W[feature]
        cosines[feature] = -torch.inf
        cosines[norms == 0] = -torch.inf
        order = cosines.argsort(descending=True, stable=True)[:k].tolist()
        some = norms[feature] > 0
        found.append(tuple(Neighbour(i, float(cosines[i])) for i in order if some and cosines[i].isfinite()))
    return found


def head_shares(model: Any, dictionary: Dictionary, feature: int) -> tuple[float, ...]:
    """The norm of each head's slice of a decoder row over the sum of these norms [head]; empty where the target is not z.

    Source: Kissane et al. 2024, "Interpreting attention layer outputs with sparse autoencoders".
    """
    if dictionary.target.kind != "z":
        return ()
    heads = model.layout.blocks[dictionary.target.layer].attn.n_heads
    norms = dictionary.W_dec[feature].detach().double().view(heads, -1).norm(dim=1)
    total = float(norms.sum())
    return tuple((norms / total).tolist()) if total else ()
