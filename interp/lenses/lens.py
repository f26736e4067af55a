"""Reading the residual stream with the model's own output head: the logit lens.

Direct logit attribution, which splits the last of these logits among the components, is in `interp.lenses.direct`.
Axis words: `site batch pos d_vocab`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import SiteError
from interp.formatting.showing import card, figure
from interp.lenses.direct import LogitAttribution, direct_logit_attribution, unembedded
from interp.parts.sites import Site, SiteLike
from interp.parts.tokens import Tokens

__all__ = ["LogitAttribution", "LogitLens", "direct_logit_attribution", "logit_lens"]

RESIDUAL: Final = ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final")


@dataclass(frozen=True, eq=False)
class LogitLens:
    """What the model would say at each place of the residual stream.

    sites: where it was read, in the order asked for. logits: [site batch pos d_vocab], after the model's logits scale
    and soft cap, float32 or better, on the CPU.
    """

    sites: tuple[Site, ...]
    tokens: Tokens
    logits: Tensor
    decode: Callable[[int], str] = field(repr=False)

    @property
    def probabilities(self) -> Tensor:
        """softmax(logits) [site batch pos d_vocab]."""
        return torch.softmax(self.logits, dim=-1)

    def top(self, k: int = 5) -> tuple[Tensor, Tensor]:
        """The `k` most probable tokens at each place: probabilities and ids, each [site batch pos k]."""
        values, ids = self.probabilities.topk(k, dim=-1)
        return values, ids

    def to_pandas(self, k: int = 1) -> Any:
        """A row per site, prompt, real position and rank: example, site, layer, position, input, rank, id, token,
        probability, logit."""
        import pandas as pd

        probabilities, ids = self.top(k)
        rows = []
        for s, site in enumerate(self.sites):
            for b, p in self.tokens.mask.nonzero().tolist():
                for rank, token in enumerate(ids[s, b, p].tolist()):
                    rows.append(
                        {
                            "example": b,
                            "site": str(site),
                            "layer": site.layer,
                            "position": int(self.tokens.mask[b, :p].sum()),
                            "input": self.decode(int(self.tokens.ids[b, p])),
                            "rank": rank,
                            "id": token,
                            "token": self.decode(token),
                            "probability": float(probabilities[s, b, p, rank]),
                            "logit": float(self.logits[s, b, p, token]),
                        }
                    )
        return pd.DataFrame(rows).astype({"layer": "Int64"})

    def plot(self, example: int = 0) -> Any:
        """A plotly heat map of one prompt: the most probable token per site and position, coloured by probability."""
        return figure(self, example=example)

    def __repr__(self) -> str:
        n_sites, batch, pos, _ = self.logits.shape
        sites = f"{self.sites[0]} to {self.sites[-1]}" if n_sites > 1 else str(self.sites[0])
        return f"LogitLens({n_sites} sites, {sites}, {batch} prompts of {pos} tokens)"

    def _repr_html_(self) -> str:
        return str(card(self))


def logit_lens(model: Any, tokens: Any, *, sites: SiteLike | Sequence[SiteLike] = "resid_post") -> LogitLens:
    """Decode the residual stream at every layer through the model's own final norm, unembedding, scale and soft cap.

    logits(site) = cap(scale * W_U norm_final(x_site)); at the last layer these are the logits of the model.

    tokens: what `model.run` takes. sites: residual-stream sites or kinds (embed, resid_pre, resid_mid, resid_post,
    resid_final). Units: logits. Memory: one [batch pos d_vocab] per site. Cost: one forward, one unembedding per site.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    Raises: SiteError for a site that is no residual stream, or that this model does not have.
    """
    asked = [sites] if isinstance(sites, (str, Site)) else list(sites)
    found = tuple(dict.fromkeys(site for name in asked for site in model.resolve(name)))
    if odd := [str(site) for site in found if site.kind not in RESIDUAL]:
        raise SiteError(f"logit lens of {odd[0]!r}: expected places of the residual stream: {', '.join(RESIDUAL)}.")
    if not found:
        raise SiteError("logit lens of no sites: expected at least one, for example sites='resid_post'.")
    with torch.no_grad():
        run = model.run(tokens, reads=list(found), logits_to_keep=1)
        logits = torch.stack([stream_logits(model, run[site]).cpu() for site in found])
    return LogitLens(found, run.tokens.to("cpu"), logits, _decoder(model.tokenizer))


def stream_logits(model: Any, x: Tensor) -> Tensor:
    """Logits [... d_vocab] of the residual stream [... d_model] by the model's output head, in float32 or better."""
    logits, cap = unembedded(model, x), model.layout.logits_softcap
    logits = logits if cap is None else torch.tanh(logits / cap) * cap
    return logits.float() if logits.element_size() < 4 else logits


def _decoder(tokenizer: Any) -> Callable[[int], str]:
    """The text of one token id; the id itself without a tokeniser."""
    return str if tokenizer is None else lambda token: str(tokenizer.decode([token]))
