"""Direct logit attribution: a logit as the sum of what each component writes into the residual stream.

Axis words: `batch d_model d_vocab example node`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.errors import InterpError, TaskError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed
from interp.given import kinds_checked
from interp.lenses.stream import FINAL, Stream, at_place, read_place
from interp.model.modules.linear import linear
from interp.model.modules.lock import reserved, settled
from interp.parts.outputs import NextToken
from interp.parts.sites import Site
from interp.parts.texts import encode
from interp.parts.tokens import as_tokens
from interp.scores.per_example import PerExample
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import Prompt, run_of
from interp.tasks.reading.answers import Reading
from interp.tasks.task import Task
from interp.whole_numbers import count, is_whole

TokenLike = int | str


@dataclass(frozen=True, eq=False, repr=False)
class LogitAttribution(PerExample, Table):
    """What each component adds, directly, to a logit or logit difference.

    nodes: `embed`, heads `a3.h2`, MLPs `m3` (their bias inside), and the biases that the model has: `bias.attn.3`,
    `bias.final_norm`, `bias.unembed`. per_example: [example node] in logits, before a soft cap; mean, stderr: over the
    examples [node]. total: [example], the same logit as the model itself computes it, which each row sums to. plot(): a heat
    map, a row per layer; what has no layer is in the title.
    """

    nodes: tuple[str, ...]
    per_example: np.ndarray = field(metadata=along(1))
    total: np.ndarray
    model: str

    def __post_init__(self) -> None:
        check_sizes(self, per_example=(self.per_example.shape, (len(self.total), len(self.nodes))))

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
        return rows_of({"node": self.nodes, "contribution": self.mean, "stderr": self.stderr})

    def __str__(self) -> str:
        order = sorted(range(len(self.nodes)), key=lambda i: -abs(self.mean[i]))[:10]
        wide = max((len(self.nodes[i]) for i in order), default=0)
        lines = [
            f"LogitAttribution({len(self.nodes)} components, {len(self.total)} prompts, total {self.total.mean():+.4f} logits)"
        ]
        lines += [f"  {self.nodes[i]:<{wide}} {self.mean[i]:+.4f}" for i in order]
        more = len(self.nodes) - len(order)
        return printed("\n".join([*lines, f"  and {more} more"] if more else lines))


@dataclass(frozen=True)
class _Prompt:
    """One prompt without padding and the tokens compared; no answers means the model's own first choice."""

    ids: Prompt
    answers: tuple[int, ...]
    wrong: tuple[int, ...]


@kinds_checked
def direct_logit_attribution(
    model: Any,
    given: Any,
    *,
    answers: TokenLike | Sequence[TokenLike] | None = None,
    wrong: TokenLike | Sequence[TokenLike] | None = None,
    prompts: Literal["clean", "corrupt"] = "clean",
    batch_size: int | None = None,
) -> LogitAttribution:
    """Split a logit at the last real position, or where a classifier reads its answer, into what each component writes there.

    contribution[u] = scale * W_U[t] . w (a_u - mean(a_u)) / sigma, with the sigma of the final norm in this run (an
    RMSNorm subtracts no mean); head h writes W_O z_h, under a post-norm w (W_O z_h) / sigma with that norm's sigma.
    W_U[t]: mean row of the answers, minus the mean row of the wrong tokens where there are any.

    given: a `Task` (its `prompts`, answers and wrong tokens), or what `model.run` takes, with `answers` and `wrong`
    as a token (id or text) for all prompts or one per prompt; no answers means the model's most probable next token.
    Units: logits, before a soft cap (which is no sum of components). Cost: one forward.
    Source: Elhage et al. 2021, "A mathematical framework for transformer circuits".
    Raises: TaskError for unusable prompts or answers; LayoutError where the output is no norm and linear map of one position, where the final norm or a post-norm is not
    recognised, or an output projection is not a linear map.
    """
    if batch_size is not None:
        count(batch_size, "batch_size")
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
    pairs = task.tokenize(model.tokenizer, model.outputs)
    return [_Prompt(getattr(p, prompts), p.answers, p.wrong) for p in pairs]


def _from_tokens(model: Any, given: Any, answers: Any, wrong: Any) -> list[_Prompt]:
    if wrong is not None and answers is None:
        raise TaskError("wrong tokens given without answers: give answers too, for the difference answers - wrong.")
    if not isinstance(model.outputs, NextToken):
        raise TaskError("direct logit attribution of a model that continues no texts: give a Task, with its answers.")
    tokens = as_tokens(given, model.tokenizer)
    rows = [tuple(ids[mask].tolist()) for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]
    texts = _texts(given, len(rows))
    right, other = (_per_prompt(model, x, texts, what) for x, what in ((answers, "answers"), (wrong, "wrong")))
    return [_Prompt(ids, a, w) for ids, a, w in zip(rows, right, other, strict=True)]


def _texts(given: Any, n: int) -> list[str]:
    """The prompts where they are given as text, empty texts where as ids."""
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, (list, tuple)) else []
    return texts if texts and all(isinstance(text, str) for text in texts) else [""] * n


def _per_prompt(model: Any, given: Any, prompts: list[str], what: str) -> list[tuple[int, ...]]:
    """One token for each of the prompts, from one for all or a list; empty where none is given."""
    if given is None:
        return [()] * len(prompts)
    each = (
        [given] * len(prompts) if isinstance(given, str) or is_whole(given) or isinstance(given, bool) else list(given)
    )
    if len(each) != len(prompts):
        raise TaskError(f"{what}: {len(each)} tokens for {len(prompts)} prompts; give one for all, or one per prompt.")
    reading = Reading(model.tokenizer)
    found: list[tuple[int, ...]] = [
        (_token(model, reading, prompt, token, what),) for prompt, token in zip(prompts, each, strict=True)
    ]
    reading.warn()
    return found


def _token(model: Any, reading: Reading, prompt: str, token: Any, what: str) -> int:
    """The id of a token: of a text as it follows the prompt."""
    ids = [token]
    if isinstance(token, str):
        alone = encode(model.tokenizer, token, special=False)
        one = len(alone) == 1 or reading.behind(prompt, token).id is not None
        ids = [reading.answer([prompt], token, what, "token")] if one else alone
    if len(ids) != 1 or not is_whole(ids[0]) or not 0 <= ids[0] < model.layout.d_vocab:
        raise TaskError(
            f"{what}: {token!r} is {ids}; expected one token of the vocabulary (0 to {model.layout.d_vocab - 1}), "
            "as text with its leading space or as an id."
        )
    return int(ids[0])


# ---------------------------------------------------------------- the sum


def unembedded(model: Any, x: Tensor) -> Tensor:
    """Logits of `x` [... d_model] by the model's final norm, unembedding and logits scale, before a soft cap."""
    if not model.layout.linear:
        model.layout.check_head("reading the stream in logits")
    final, get = model.layout.ln_final, model.hf.get_submodule
    with reserved(model.hf):
        logits: Tensor = get(model.layout.unembed)(x if final is None else get(final)(x))
    return logits if model.layout.logits_scale == 1.0 else logits * model.layout.logits_scale


def _batch_shares(model: Any, prompts: list[_Prompt]) -> tuple[dict[str, Tensor], Tensor]:
    """Per node its contributions [batch], and the model's own logit [batch], of prompts of one length, in float64."""
    model.layout.check_sum("direct logit attribution")
    at = read_place(model, "direct logit attribution")
    added = [
        Site(kind, layer)
        for layer, block in enumerate(model.layout.blocks)
        for kind, own in (("z", block.attn), ("mlp_out", block.mlp))
        if own is not None
    ]
    sites = [Site("embed"), *added, FINAL]
    with settled(model.device), torch.no_grad():
        run = model.run(run_of([p.ids for p in prompts]), reads=sites, logits_to_keep=1)
        logits = unembedded(model, run[FINAL][:, at])
        chosen = [(p.answers or (int(row.argmax()),), p.wrong) for p, row in zip(prompts, logits, strict=True)]
        return dict(_shares(Stream(model, at_place(run.reads, at)), chosen)), contrast_of(logits, chosen)


def contrast_of(logits: Tensor, chosen: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """The mean logit of the answers minus that of the wrong tokens, if any [batch]. logits: [batch d_vocab]."""
    return torch.stack([_contrast(row, *tokens) for row, tokens in zip(logits, chosen, strict=True)])


def _contrast(table: Tensor, answers: Sequence[int], wrong: Sequence[int]) -> Tensor:
    """Mean of the answers' rows of `table` [d_vocab ...], minus the mean of the wrong ones' if any, in float64."""
    right = table[list(answers)].double().mean(0)
    return right - table[list(wrong)].double().mean(0) if wrong else right


def contrasts(model: Any, chosen: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """What a logit, or the difference of two, reads of the final norm's output [batch d_model], in float64.

    chosen: answers and wrong tokens of each prompt, by id.
    """
    W_U, _ = linear(model, model.layout.unembed)
    rows = torch.stack([_contrast(W_U.T, *tokens) for tokens in chosen])
    found: Tensor = model.layout.logits_scale * rows
    return found


def _shares(stream: Stream, chosen: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Iterator[tuple[str, Tensor]]:
    """(node, contribution [batch]) in forward order."""
    model, layout = stream.model, stream.model.layout
    direction, (_, b_U) = contrasts(model, chosen), linear(model, layout.unembed)

    def share(added: Tensor) -> Tensor:
        found: Tensor = (stream.normed(added) * direction).sum(-1)
        return found

    yield "embed", share(stream.values[Site("embed")])
    for layer, block in enumerate(layout.blocks):
        for head, added in enumerate(stream.heads(layer).unbind(1)) if block.attn else ():
            yield f"a{layer}.h{head}", share(added)
        if block.attn and (bias := stream.attention_bias(layer)) is not None:
            yield f"bias.attn.{layer}", share(bias)
        if block.mlp:
            yield f"m{layer}", share(stream.values[Site("mlp_out", layer)])
    final = None if layout.ln_final is None else model.hf.get_submodule(layout.ln_final)
    if (bias := getattr(final, "bias", None)) is not None:
        yield "bias.final_norm", direction @ bias.double()
    if b_U is not None:
        yield "bias.unembed", layout.logits_scale * torch.stack([_contrast(b_U, *tokens) for tokens in chosen])
