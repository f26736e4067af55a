"""Reading the residual stream with the model's own output head: the logit lens.

Direct logit attribution, which splits the last of these logits among the components, is in `interp.lenses.direct`.
Axis words: `site batch pos d_vocab`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import InterpError, LayoutError, SiteError
from interp.formatting.plain import WRITTEN_AS
from interp.formatting.showing import figure
from interp.formatting.table import Table, along, check_sizes, lines_of, rows_of
from interp.given import kinds_checked
from interp.lenses.class_lens import ClassLens, class_lens
from interp.lenses.direct import LogitAttribution, direct_logit_attribution, unembedded
from interp.model.modules.lock import settled
from interp.parts.outputs import Classes, NoAnswer
from interp.parts.sites import Site, SiteLike
from interp.parts.texts import token_text
from interp.parts.tokens import Texts, Tokens
from interp.precision import wide
from interp.whole_numbers import count

__all__ = ["ClassLens", "LogitAttribution", "LogitLens", "direct_logit_attribution", "logit_lens"]

_COLUMNS: Final = ("example", "site", "layer", "position", "input", "rank", "id", "token", "probability", "logit")
RESIDUAL: Final = ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final")


@dataclass(frozen=True, eq=False, repr=False)
class LogitLens(Table):
    """What the model would say at each place of the residual stream.

    sites: where it was read, in the order asked for. logits: [site batch pos d_vocab], after the model's logits scale
    and soft cap, float32 or better, on the CPU. decode: the text of a token id.

    A file holds the logits of every place and the text of every token of the vocabulary instead of the tokeniser, so that a loaded
    lens can do all that this one can, without a model.
    """

    sites: tuple[Site, ...]
    tokens: Tokens
    logits: Tensor = field(metadata=along(0, 1, 2, finite=False))
    decode: Callable[[int], str] = field(repr=False, metadata={WRITTEN_AS: Texts})
    model: str = ""

    def __post_init__(self) -> None:
        check_sizes(self, logits=(self.logits.shape[:-1], (len(self.sites), *self.tokens.ids.shape)))

    @property
    def probabilities(self) -> Tensor:
        """softmax(logits) [site batch pos d_vocab]."""
        return torch.softmax(self.logits, dim=-1)

    def top(self, k: int = 5) -> tuple[Tensor, Tensor]:
        """The `k` most probable tokens at each place: probabilities and ids, each [site batch pos k]."""
        most = self.probabilities.shape[-1]
        if (tokens := count(k, "k")) > most:
            raise InterpError(f"k={k}: expected 1 to {most}, the tokens of the model.")
        values, ids = self.probabilities.topk(tokens, dim=-1)
        return values, ids

    def to_pandas(self, k: int = 1) -> Any:
        """A row per site, prompt, real position and rank: example, site, layer, position, input, rank, id, token,
        probability, logit."""
        probabilities, ids = self.top(k)
        rows = []
        for s, site in enumerate(self.sites):
            for b, p in self.tokens.mask.nonzero().tolist():
                for rank, token in enumerate(ids[s, b, p].tolist()):
                    rows.append(
                        (
                            b,
                            str(site),
                            site.layer,
                            int(self.tokens.mask[b, :p].sum()),
                            self.decode(int(self.tokens.ids[b, p])),
                            rank,
                            token,
                            self.decode(token),
                            float(probabilities[s, b, p, rank]),
                            float(self.logits[s, b, p, token]),
                        )
                    )
        return lines_of(_COLUMNS, rows).astype({"layer": "Int64"})

    def plot(self, example: int = 0, **options: Any) -> Any:
        """A plotly heat map of one prompt: the most probable token per site and position, coloured by probability."""
        return figure(self, example=example, **options)

    def __str__(self) -> str:
        n_sites, batch, pos, _ = self.logits.shape
        sites = f"{self.sites[0]} to {self.sites[-1]}" if n_sites > 1 else str(self.sites[0])
        return f"LogitLens({n_sites} sites, {sites}, {batch} prompts of {pos} tokens)"

    def _rows(self) -> Any:
        """A row for each site, prompt and place, padding too: what stands there, and the most probable next token."""
        probabilities, ids = (found[..., 0].reshape(-1) for found in self.top(1))
        batch, pos = self.tokens.ids.shape
        places = [(site, b, p) for site in self.sites for b in range(batch) for p in range(pos)]
        given = [int(self.tokens.ids[b, p]) for _, b, p in places]
        found = {
            "site": [str(site) for site, _, _ in places],
            "example": [b for _, b, _ in places],
            "place": [p for _, _, p in places],
            "real": [bool(self.tokens.mask[b, p]) for _, b, p in places],
            "input": list(map(self.decode, given)),
            "id": ids.numpy(),
            "token": list(map(self.decode, ids.tolist())),
            "probability": probabilities.numpy(),
        }
        return rows_of(found)

    def _written(self) -> LogitLens:
        """The texts of the whole vocabulary, and of what else was put in, in place of what decodes them."""
        known = {*range(self.logits.shape[-1]), *self.tokens.ids.ravel().tolist()}
        return replace(self, decode=Texts.of(self.decode, known))


@kinds_checked
def logit_lens(
    model: Any,
    tokens: Any,
    *,
    sites: SiteLike | Sequence[SiteLike] = "resid_post",
    positions: str | int | Sequence[str | int] | None = None,
) -> Any:
    """Decode the residual stream at every layer through the model's own final norm, unembedding, scale and soft cap.

    logits(site) = cap(scale * W_U norm_final(x_site)); at the last layer these are the logits of the model. Of a classifier of texts, images or
    sound it is its whole head on each position alone, and at the last layer, where the answer is read, its output (of pooled ones the mean).

    Returns: `LogitLens`, or `ClassLens` of a model with one output for each input. positions: of a classifier only these, by name (`CLS`, `r0c0`) or
    number. tokens: what `model.run` takes. sites: residual-stream sites or kinds (embed, resid_pre, resid_mid, resid_post,
    resid_final). Units: logits. Memory: one [batch pos d_vocab] per site. Cost: one forward, one unembedding per site.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    Raises: SiteError for a site that is no residual stream, or that this model does not have; LayoutError for a head that is not known as one
    that reads a position; TaskError for positions that are not there.
    """
    model.layout.check_blocks("logit lens")
    model.layout.check_single("logit lens")
    classes = isinstance(model.outputs, Classes) and model.layout.readout != "each"
    if not classes:
        model.layout.check_head("logit lens")
    if isinstance(model.outputs, NoAnswer) and model.outputs.names:
        raise LayoutError("logit lens: the outputs of this model are classes of each token, and no tokens.")
    asked = [sites] if isinstance(sites, (str, Site)) else list(sites)
    found = tuple(dict.fromkeys(site for name in asked for site in model.resolve(name)))
    if odd := [str(site) for site in found if site.kind not in RESIDUAL or site.stack != model.layout.name]:
        raise SiteError(f"logit lens of {odd[0]!r}: expected places of the residual stream: {', '.join(RESIDUAL)}.")
    if not found:
        raise SiteError("logit lens of no sites: expected at least one, for example sites='resid_post'.")
    if classes:
        return class_lens(model, tokens, found, positions)
    if positions is not None:
        raise SiteError("positions belong to the lens of a classifier; this model has logits of each position.")
    with settled(model.device), torch.no_grad():
        run = model.run(tokens, reads=list(found), logits_to_keep=1)
        logits = torch.stack([stream_logits(model, run[site]).cpu() for site in found])
    return LogitLens(found, run.tokens.to("cpu"), logits, _decoder(model.tokenizer), model.name)


def stream_logits(model: Any, x: Tensor) -> Tensor:
    """Logits [... d_vocab] of the residual stream [... d_model] by the model's output head, in float32 or better."""
    logits, cap = unembedded(model, x), model.layout.logits_softcap
    return wide(logits if cap is None else torch.tanh(logits / cap) * cap)


def _decoder(tokenizer: Any) -> Callable[[int], str]:
    """The text of one token id; the id itself without a tokeniser."""
    return lambda token: token_text(tokenizer, token)
