"""`lens`: what the stream of each layer says by the model's own output head, beside what comes out at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from circuits.console.phases import Telling
from circuits.jobs.looking.given_prompts import check_prompts, layers_in, prompts_of
from circuits.jobs.looking.look import Found, look
from circuits.runs.looked import Line, Lines, Looked, Number, Rows, Section, rows_of_table
from circuits.settings.looking_options import LENSES, LensLook
from interp.errors import InterpError
from interp.formatting.numbers import number, percent, several
from interp.formatting.text import token
from interp.lenses.lens import LogitLens, logit_lens
from interp.model.model import HookedModel
from interp.parts.tokens import Tokens
from interp.progress import progress


def run(asked: LensLook) -> None:
    """From options to a run directory. Raises: InterpError for bad input, with nothing written."""
    if asked.kind not in LENSES:
        raise InterpError(f"--kind {asked.kind!r:.40}: expected {', '.join(LENSES)}.")
    check_prompts(asked)
    look(asked, "lens", lambda model, say: _work(asked, model, say))


def _work(asked: LensLook, model: HookedModel, say: Telling) -> Found:
    """The lens of one prompt after the other, so that no more than one is held; all of the first is shown."""
    n = model.layout.n_layers
    layers = layers_in(asked, model, range(n))
    prompts = prompts_of(asked, model)
    sites = [f"resid_post.{layer}" for layer in dict.fromkeys((*layers, n - 1))]
    ends, lengths, sums = list[LogitLens](), list[int](), torch.zeros(2, len(layers), dtype=torch.float64)
    with progress("prompts", len(prompts)) as advance:
        for prompt in prompts:
            lens = logit_lens(model, [prompt], sites=sites)
            sums += _distances(lens, len(layers))
            lengths.append(int(lens.tokens.mask.sum()))
            ends = ends or [lens]
            advance(1)
    kl, same = (sums / sum(lengths)).tolist()
    found = _Layers(tuple(layers), tuple(kl), tuple(same), len(prompts), sum(lengths))
    last = _at_the_end(ends[0])
    return Found(_looked(asked, model, last, found), {"first_prompt": last}, lengths)


def _distances(lens: LogitLens, n: int) -> Tensor:
    """Of the first n sites, summed over positions: KL(final || lens) in nats, and at how many the most probable token is the final
    one [2 site]."""
    logs = torch.log_softmax(lens.logits[:, 0].double(), dim=-1)
    own, final = logs[:n], logs[-1]
    kl = (final.exp() * (final - own)).sum(-1)
    return torch.stack([kl.sum(-1), (own.argmax(-1) == final.argmax(-1)).double().sum(-1)])


def _at_the_end(lens: LogitLens) -> LogitLens:
    """The lens at the last position alone."""
    tokens = Tokens(lens.tokens.ids[:, -1:], lens.tokens.mask[:, -1:])
    return replace(lens, tokens=tokens, logits=lens.logits[:, :, -1:].clone())


# ---------------------------------------------------------------- what is said


@dataclass(frozen=True)
class _Layers:
    """Of each layer over all positions: mean KL(final || lens) in nats, and the share at which both have one most probable token."""

    layers: Sequence[int]
    kl: Sequence[float]
    same: Sequence[float]
    prompts: int
    positions: int

    @property
    def rows(self) -> Rows:
        lines = tuple(zip(self.layers, self.kl, self.same, strict=True))
        return Rows(
            columns=("layer", "KL to the final distribution (nats)", "share of the same top token"),
            lines=lines,
            n=len(lines),
        )


def _looked(asked: LensLook, model: HookedModel, last: LogitLens, found: _Layers) -> Looked:
    of = f"{several(found.prompts, 'prompt')}, {several(found.positions, 'position')}"
    first, *_ = found.layers
    said = (
        f"Read with its own output head, layer {first} of {model.name} is {number(found.kl[0], 2)} nats from the final distribution, "
        f"and names the same token at {percent(found.same[0])} of the positions ({of})."
    )
    lines = Lines(
        x=tuple(map(float, found.layers)),
        lines=(Line(f"{asked.kind} lens", tuple(found.kl)),),
        x_title="layer",
        y_title="KL to the final distribution (nats)",
    )
    how = "KL(final || lens) of the distribution over the next token, mean over positions; the last layer is 0 by construction."
    end = f"The last position of the first prompt, behind {token(last.decode(int(last.tokens.ids[0, 0])))}: the most probable token of each layer."
    tokens = rows_of_table(last, ("site", "token", "probability", "logit"), tokens=("token",))
    return Looked(
        f"Lens of {model.name}",
        (said,),
        (Section("Layers", (how,), found.rows, lines), Section("One prompt", (end,), tokens)),
        tuple(Number(f"kl_layer_{layer}", kl) for layer, kl in zip(found.layers, found.kl, strict=True)),
    )
