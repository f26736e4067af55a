"""Direct logit attribution: a logit as the sum of what each component writes into the residual stream.

Axis words: `batch pos head d_head d_model d_vocab example node`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from interp.attribution.batches import by_length, default_batch_size
from interp.errors import InterpError, TaskError, unknown
from interp.layout import BlockLayout
from interp.linear import linear, norm_at
from interp.rules import frozen_norm
from interp.sites import Site
from interp.tasks.task import Task
from interp.tokens import as_tokens, encode

TokenLike = int | str


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """What each component adds, directly, to a logit or logit difference.

    nodes: `embed`, heads `a3.h2`, MLPs `m3` (their bias inside), and the biases that the model has: `bias.attn.3`,
    `bias.final_norm`, `bias.unembed`. per_example: [example node] in logits, before a soft cap. total: [example], the
    same logit as the model itself computes it, which each row sums to.
    """

    nodes: tuple[str, ...]
    per_example: np.ndarray
    total: np.ndarray
    model: str

    @property
    def mean(self) -> np.ndarray:
        """Mean over the examples [node]."""
        return np.asarray(self.per_example.mean(0))

    @property
    def largest_gap(self) -> float:
        """The largest |sum over nodes - total| of an example: rounding, or a component that was missed."""
        return float(np.abs(self.per_example.sum(1) - self.total).max())

    def __getitem__(self, node: str) -> float:
        """The mean contribution of a node by name."""
        if node not in self.nodes:
            raise InterpError(unknown("node", node, self.nodes))
        return float(self.mean[self.nodes.index(node)])

    def to_pandas(self) -> Any:
        """A table: node, contribution (mean over examples), stderr."""
        import pandas as pd

        n = len(self.per_example)
        stderr = self.per_example.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(self.nodes), np.nan)
        return pd.DataFrame({"node": self.nodes, "contribution": self.mean, "stderr": stderr})

    def plot(self) -> Any:
        """A plotly heat map, a row per layer: heads, MLP and attention bias; what has no layer is in the title."""
        import plotly.graph_objects as go

        cells = {_cell(node): self[node] for node in self.nodes}
        layers = sorted({row for row, _ in cells if row is not None})
        columns = list(dict.fromkeys(column for row, column in cells if row is not None))
        columns.sort(key=lambda c: (c in ("mlp", "bias"), c == "bias", int(c[1:]) if c[1:].isdigit() else 0))
        z = [[cells.get((layer, column)) for column in columns] for layer in layers]
        rest = ", ".join(f"{column} {value:+.3f}" for (row, column), value in cells.items() if row is None)
        heat = go.Heatmap(
            z=z, x=columns, y=[f"layer {i}" for i in layers], colorscale="RdBu", zmid=0.0, colorbar={"title": "logits"}
        )
        return go.Figure(heat).update_layout(title=f"Direct logit attribution: {rest}; total {self.total.mean():+.3f}")


def _cell(node: str) -> tuple[int | None, str]:
    """(layer, column) of a node in the heat map; no layer for embed, final norm and unembedding."""
    if node.startswith("a"):
        layer, head = node[1:].split(".")
        return int(layer), head
    if node.startswith("m"):
        return int(node[1:]), "mlp"
    return (int(node.rsplit(".", 1)[1]), "bias") if node.startswith("bias.attn.") else (None, node)


@dataclass(frozen=True)
class _Prompt:
    """One prompt without padding and the tokens compared; no answers means the model's own first choice."""

    ids: tuple[int, ...]
    answers: tuple[int, ...]
    wrong: tuple[int, ...]


def direct_logit_attribution(
    model: Any,
    given: Any,
    *,
    answers: TokenLike | Sequence[TokenLike] | None = None,
    wrong: TokenLike | Sequence[TokenLike] | None = None,
    prompts: Literal["clean", "corrupt"] = "clean",
    batch_size: int | None = None,
) -> LogitAttribution:
    """Split a logit at the last real position into what each component writes there.

    contribution[u] = scale * W_U[t] . w (a_u - mean(a_u)) / sigma, with the sigma of the final norm in this run (an
    RMSNorm subtracts no mean); head h writes W_O z_h, under a post-norm w (W_O z_h) / sigma with that norm's sigma.
    W_U[t]: mean row of the answers, minus the mean row of the wrong tokens where there are any.

    given: a `Task` (its `prompts`, answers and wrong tokens), or what `model.run` takes, with `answers` and `wrong`
    as a token (id or text) for all prompts or one per prompt; no answers means the model's most probable next token.
    Units: logits, before a soft cap (which is no sum of components). Cost: one forward.
    Source: Elhage et al. 2021, "A mathematical framework for transformer circuits".
    Raises: TaskError for unusable prompts or answers; LayoutError where the final norm or a post-norm is not
    recognised, or an output projection is not a linear map.
    """
    if batch_size is not None and batch_size < 1:
        raise InterpError(f"batch_size={batch_size}: expected 1 or more.")
    if isinstance(given, Task):
        wanted = _from_task(model, given, prompts, answers, wrong)
    else:
        wanted = _from_tokens(model, given, answers, wrong)
    lengths = [len(prompt.ids) for prompt in wanted]
    rows, totals = [np.empty(0)] * len(wanted), np.empty(len(wanted))
    nodes: tuple[str, ...] = ()
    for index in by_length(lengths, batch_size or default_batch_size(model, max(lengths))):
        shares, total = _batch_shares(model, [wanted[i] for i in index])
        nodes, totals[index] = tuple(shares), total.cpu().numpy()
        for i, row in zip(index, torch.stack(list(shares.values()), dim=1).cpu().numpy(), strict=True):
            rows[i] = row
    return LogitAttribution(nodes, np.stack(rows), totals, model.name)


# ---------------------------------------------------------------- which prompts, which tokens


def _from_task(model: Any, task: Task, prompts: str, answers: Any, wrong: Any) -> list[_Prompt]:
    if answers is not None or wrong is not None:
        raise TaskError("answers and wrong belong to prompts given as tokens; a task brings its own.")
    if prompts not in ("clean", "corrupt"):
        raise TaskError(unknown("prompts", prompts, ("clean", "corrupt")))
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    return [_Prompt(getattr(p, prompts), p.answers, p.wrong) for p in pairs]


def _from_tokens(model: Any, given: Any, answers: Any, wrong: Any) -> list[_Prompt]:
    if wrong is not None and answers is None:
        raise TaskError("wrong tokens given without answers: give answers too, for the difference answers - wrong.")
    tokens = as_tokens(given, model.tokenizer)
    rows = [tuple(ids[mask].tolist()) for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]
    right, other = (_per_prompt(model, x, len(rows), what) for x, what in ((answers, "answers"), (wrong, "wrong")))
    return [_Prompt(ids, a, w) for ids, a, w in zip(rows, right, other, strict=True)]


def _per_prompt(model: Any, given: Any, n: int, what: str) -> list[tuple[int, ...]]:
    """One token for each of `n` prompts, from one for all or a list; empty where none is given."""
    if given is None:
        return [()] * n
    each = [given] * n if isinstance(given, (int, str)) else list(given)
    if len(each) != n:
        raise TaskError(f"{what}: {len(each)} tokens for {n} prompts; give one for all, or one per prompt.")
    return [(_token(model, token, what),) for token in each]


def _token(model: Any, token: Any, what: str) -> int:
    ids = encode(model.tokenizer, token, special=False) if isinstance(token, str) else [token]
    if len(ids) != 1 or not isinstance(ids[0], int) or not 0 <= ids[0] < model.layout.d_vocab:
        raise TaskError(
            f"{what}: {token!r} is {ids}; expected one token of the vocabulary (0 to {model.layout.d_vocab - 1}), "
            "as text with its leading space or as an id."
        )
    return ids[0]


# ---------------------------------------------------------------- the sum


def unembedded(model: Any, x: Tensor) -> Tensor:
    """Logits of `x` [... d_model] by the model's final norm, unembedding and logits scale, before a soft cap."""
    final, unembed = (model.hf.get_submodule(path) for path in (model.layout.ln_final, model.layout.unembed))
    logits: Tensor = unembed(final(x))
    return logits if model.layout.logits_scale == 1.0 else logits * model.layout.logits_scale


def _batch_shares(model: Any, prompts: list[_Prompt]) -> tuple[dict[str, Tensor], Tensor]:
    """Per node its contributions [batch], and the model's own logit [batch], of prompts of one length, in float64."""
    layers = range(model.layout.n_layers)
    sites = [Site("embed"), *(Site(kind, i) for i in layers for kind in ("z", "mlp_out")), Site("resid_final")]
    with torch.no_grad():
        run = model.run(torch.tensor([p.ids for p in prompts]), reads=sites, logits_to_keep=1)
        values = {site: run[site][:, -1] for site in sites}
        logits = unembedded(model, values[sites[-1]])
        chosen = [(p.answers or (int(row.argmax()),), p.wrong) for p, row in zip(prompts, logits, strict=True)]
        total = torch.stack([_contrast(row, *tokens) for row, tokens in zip(logits, chosen, strict=True)])
        return dict(_shares(model, {site: x.double() for site, x in values.items()}, chosen)), total


def _contrast(table: Tensor, answers: Sequence[int], wrong: Sequence[int]) -> Tensor:
    """Mean of the answers' rows of `table` [d_vocab ...], minus the mean of the wrong ones' if any, in float64."""
    right = table[list(answers)].double().mean(0)
    return right - table[list(wrong)].double().mean(0) if wrong else right


def _shares(
    model: Any, values: dict[Site, Tensor], chosen: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Iterator[tuple[str, Tensor]]:
    """(node, contribution [batch]) in forward order. values: site -> last position, [batch ...] in float64."""
    layout = model.layout
    final = model.hf.get_submodule(layout.ln_final)
    W_U, b_U = linear(model, layout.unembed)
    direction = layout.logits_scale * torch.stack([_contrast(W_U.T, *tokens) for tokens in chosen])
    g = frozen_norm(norm_at(model, layout.ln_final), final, values[Site("resid_final")])(direction)
    yield "embed", _dot(g, values[Site("embed")])
    for layer, block in enumerate(layout.blocks):
        yield from _attention_shares(model, layer, block, values[Site("z", layer)], g * block.scale)
        yield f"m{layer}", _dot(g, values[Site("mlp_out", layer)])
    if getattr(final, "bias", None) is not None:
        yield "bias.final_norm", direction @ final.bias.double()
    if b_U is not None:
        yield "bias.unembed", layout.logits_scale * torch.stack([_contrast(b_U, *tokens) for tokens in chosen])


def _attention_shares(model: Any, layer: int, block: BlockLayout, z: Tensor, g: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Heads and output bias of one layer. z: [batch head d_head]; g: the worth of the stream [batch d_model].

    A norm between projection and stream (a post-norm) is passed backwards with the scale of this very run.
    """
    W_O, b_O = linear(model, block.paths.o)
    bias = torch.zeros_like(g[:, 0])
    post = None if block.attn_writer == block.paths.o else model.hf.get_submodule(block.attn_writer)
    if post is not None:
        if (own := getattr(post, "bias", None)) is not None:
            bias = g @ own.double()
        written = z.flatten(1) @ W_O.double() + (0 if b_O is None else b_O.double())
        g = frozen_norm(norm_at(model, block.attn_writer), post, written)(g)
    per_head = torch.einsum("hed,bd->bhe", W_O.double().view(*z.shape[1:], -1), g)
    shares = (z * per_head).sum(-1)
    yield from ((f"a{layer}.h{head}", shares[:, head]) for head in range(shares.shape[1]))
    if b_O is not None or getattr(post, "bias", None) is not None:
        yield f"bias.attn.{layer}", bias if b_O is None else bias + g @ b_O.double()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
