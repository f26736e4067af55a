"""What chosen nodes of any kind write to the logits: their direct effect on the answer, and the tokens they raise and lower.

Axis words: `example node batch part d_model d_vocab`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.attribution.edges.writers import Writers
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError, MetricError
from interp.formatting.numbers import several
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, token
from interp.given import kinds_checked
from interp.lenses.direct import contrast_of, contrasts, unembedded
from interp.lenses.effect_measures import MEASURES, Measure
from interp.lenses.head_logits import Head
from interp.lenses.stream import FINAL, Stream, at_place, in_front, read_place
from interp.model.modules.linear import linear
from interp.model.modules.lock import settled
from interp.parts.graph import Graph
from interp.parts.named_inputs import Inputs
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.parts.tokens import Texts
from interp.scores.per_example import PerExample
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.targets import make_targets
from interp.tasks.task import Task

EMBED: Final = Site("embed")
_STREAM: Final = {"embed": "embed", "mlp": "mlp_out", "attn_out": "attn_out"}
#: The part of a block that a node is in, by the kind of its site.
_PART: Final = {
    **dict.fromkeys(("head", "attn_out", "z"), "attn"),
    **dict.fromkeys(("neuron", "mlp", "mlp_out"), "mlp"),
}
#: Nodes whose vectors are made at once, and nodes and tokens whose logits are.
PARTS_AT_ONCE: Final = 64
_TOKENS: Final = 1 << 14


@dataclass(frozen=True, eq=False, repr=False)
class DirectEffects(PerExample, Table):
    """What nodes write to the logits at the last position, their norms frozen at the scale of the run.

    per_example: [example node], to the mean logit of the answers minus that of the wrong tokens, in logits before a soft cap; or
    another measure, in its units.
    mean, stderr: of that over the examples [node].
    up, down: ids of the tokens whose logits a node raises and lowers most, on average over the examples [node token], the
    strongest first; up_logits, down_logits: by how much. total: what the model itself makes of all of the stream [example].
    texts: of the tokens of up and down. prompts: clean or corrupt. plot(): bars, with the tokens under the pointer.
    """

    nodes: tuple[Node, ...]
    per_example: np.ndarray = field(metadata=along(1))
    up: np.ndarray = field(metadata=along(0))
    up_logits: np.ndarray = field(metadata=along(0))
    down: np.ndarray = field(metadata=along(0))
    down_logits: np.ndarray = field(metadata=along(0))
    total: np.ndarray
    texts: Texts = field(default_factory=Texts)
    model: str = ""
    task: str = ""
    prompts: Literal["clean", "corrupt"] = "clean"
    measure: str = "logit_diff"

    def __post_init__(self) -> None:
        n, shape = len(self.nodes), self.up.shape
        tokens = ("up", "up_logits", "down", "down_logits")
        check_sizes(self, per_example=(self.per_example.shape, (len(self.total), n)), nodes=(shape[:1], (n,)))
        check_sizes(self, **{name: (getattr(self, name).shape, shape) for name in tokens})

    @property
    def order(self) -> list[int]:
        """Places of the nodes, the largest mean in size first."""
        return [int(i) for i in np.argsort(-np.abs(self.mean), kind="stable")]

    def raised(self, place: int) -> tuple[str, ...]:
        """The texts of the tokens that a node raises most; none of one that raises none."""
        return tuple(self.texts(t) for t, v in zip(self.up[place], self.up_logits[place], strict=True) if v > 0)

    def lowered(self, place: int) -> tuple[str, ...]:
        """The texts of the tokens that a node lowers most; none of one that lowers none."""
        return tuple(self.texts(t) for t, v in zip(self.down[place], self.down_logits[place], strict=True) if v < 0)

    def to_pandas(self) -> Any:
        """A table: node, contribution (mean over examples), stderr, raises and lowers (texts of tokens, the strongest first)."""
        places = range(len(self.nodes))
        found = {"node": [node.name for node in self.nodes], "contribution": self.mean, "stderr": self.stderr}
        return rows_of({**found, "raises": map(self.raised, places), "lowers": map(self.lowered, places)})

    def __str__(self) -> str:
        shown = self.order[:10]
        wide = max((len(self.nodes[i].name) for i in shown), default=0)
        lines = [f"DirectEffects({len(self.nodes)} nodes, {several(len(self.total), 'prompt')})"]
        for i in shown:
            raised = " ".join(map(token, self.raised(i)[:3]))
            lines.append(
                f"  {self.nodes[i].name:<{wide}} {self.mean[i]:+.4f}" + (f"  raises {raised}" if raised else "")
            )
        more = len(self.nodes) - len(shown)
        return printed("\n".join([*lines, f"  and {more} more"] if more else lines))


@kinds_checked
def direct_effects(
    model: Any,
    task: Task,
    nodes: Sequence[Node],
    *,
    prompts: Literal["clean", "corrupt"] = "clean",
    k: int = 5,
    dictionaries: Mapping[Site, Dictionary] | None = None,
    measure: str | None = None,
    split_positions: bool = False,
    batch_size: int | None = None,
) -> DirectEffects:
    """The direct logit attribution of chosen nodes (see `interp.lenses.direct`), and of each to the whole vocabulary.

    logit[t] = scale * W_U[t] . frozen(a_u); a_u: what u adds to the stream: of a neuron its activation times its row of the
    output projection, of a feature its activation times its decoder row, through W_O at z. A feature of the stream itself
    counts what is there of it, whoever wrote it.

    nodes: embedding, heads, MLPs, attention outputs, neurons, features. split_positions: `embed` means the token embedding
    alone, `pos_embed` the rest. measure: a name of `MEASURES`, by default `logit_diff`, and the logit where there are no wrong answers.
    `log_prob_increase` is log p(answers | x + a_u) - log p(answers | x), with x the stream that the part of the block reads which u is in: nodes do
    not add up in it. Units: those of the measure. Cost: one forward, and one unembedding of each node, for each example where the measure is not linear.
    Source: Elhage et al. 2021, "A mathematical framework for transformer circuits".
    Raises: MethodError for a node that writes nothing, or without a stream in front of it; MetricError for an unknown measure, or no wrong answers for it; LayoutError where a norm or a projection is not recognised.
    """
    model.layout.check_sum("direct effects")
    place = read_place(model, "direct effects")
    pairs = task.tokenize(model.tokenizer, model.outputs)
    by = _measure(measure, all(pair.wrong for pair in pairs))
    job = _Job(model, tuple(nodes), dictionaries or {}, split_positions, by.linear)
    lengths = [pair.length for pair in pairs]
    table, total = np.empty((len(pairs), len(job.nodes))), np.empty(len(pairs))
    normed = torch.zeros(len(job.nodes), model.layout.d_model, dtype=torch.float64, device=model.device)
    with settled(model.device), torch.no_grad():
        for index in by_length(lengths, batch_size or default_batch_size(model, max(lengths))):
            chosen = [(pairs[i].answers, () if by.name == "logit" else pairs[i].wrong) for i in index]
            direction = contrasts(model, chosen)
            seen = _Seen.of(job, run_of([getattr(pairs[i], prompts) for i in index]), place)
            total[index] = contrast_of(unembedded(model, seen.run[FINAL][:, place]), chosen).cpu().numpy()
            for at, parts in seen.normed():
                found = (parts * direction[:, None]).sum(-1)
                found = found if by.linear else _increases(by, seen, at, parts, [pairs[i] for i in index])
                table[np.ix_(index, at)] = found.cpu().numpy()
                normed[at] += parts.sum(0)
        up, up_logits, down, down_logits = _extremes(model, normed / len(pairs), k)
    texts = Texts.of(model.output_text, {*up.ravel().tolist(), *down.ravel().tolist()})
    return DirectEffects(
        job.nodes, table, up, up_logits, down, down_logits, total, texts, model.name, task.name, prompts, by.name
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """The nodes asked for, and what is read for each."""

    model: Any
    nodes: tuple[Node, ...]
    dictionaries: Mapping[Site, Dictionary]
    split_positions: bool
    linear: bool = True

    @property
    def sites(self) -> list[Site]:
        """Every site that some node needs, and the stream before the final norm."""
        found = [FINAL, *(site for node in self.nodes for site in self.sites_of(node))]
        found += [] if self.linear else [site for node in self.nodes if (site := self.before(node)) is not None]
        return list(dict.fromkeys(found))

    def before(self, node: Node) -> Site | None:
        """The stream that is there without a node; None in front of the embedding. Raises: MethodError where there is none."""
        if node.kind == "embed" and not self.split_positions:
            return None
        part = _PART.get(node.kind.partition(".")[0])
        if part is None or node.layer is None:
            raise MethodError(
                f"{node.name}: a measure that is not linear needs the stream that is there without it; expected heads, neurons, MLPs, attention "
                "outputs, features of what these add, or the embedding as one."
            )
        return in_front(self.model.layout, part, node.layer)

    def sites_of(self, node: Node) -> list[Site]:
        """What is read for a node. Raises: MethodError for one that adds nothing to the stream."""
        if node.kind in _STREAM:
            return [Site(_STREAM[node.kind], node.layer)]
        if node.kind == "pos_embed" and self.split_positions:
            return [EMBED]
        if node.kind == "head":
            return [Site("z", node.layer)]
        if node.kind == "neuron":
            return [Site("mlp_post", node.layer), Site("mlp_out", node.layer)]
        if node.feature is not None:
            dictionary = self.dictionary(node)
            return [dictionary.site, *([dictionary.target] if dictionary.target.kind == "z" else [])]
        raise MethodError(
            f"{node.name} adds nothing to the residual stream by itself; expected the embedding, heads, MLPs, attention outputs, "
            "neurons or features."
        )

    def dictionary(self, node: Node) -> Dictionary:
        """The dictionary that a feature belongs to. Raises: MethodError where it is not given."""
        target = Site(node.kind.partition(".")[0], node.layer)
        if target not in self.dictionaries:
            raise MethodError(
                f"{node.name} is a feature of '{target}', of which no dictionary was given: give dictionaries=."
            )
        return self.dictionaries[target].to(device=self.model.device)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The run of one batch of prompts of one length."""

    job: _Job
    ids: Tensor | Inputs
    run: Any
    stream: Stream

    @classmethod
    def of(cls, job: _Job, ids: Tensor | Inputs, place: int) -> _Seen:
        """ids: [batch pos], or inputs that are no text. place: the position that the output is read at."""
        run = job.model.run(ids, reads=job.sites, logits_to_keep=1)
        return cls(job, ids, run, Stream(job.model, at_place(run.reads, place)))

    def normed(self) -> Iterator[tuple[list[int], Tensor]]:
        """(places among the nodes, what the final norm makes of what they add [batch part d_model]), a few nodes at a time."""
        places: dict[tuple[str, int | None], list[int]] = {}
        for i, node in enumerate(self.job.nodes):
            places.setdefault((node.kind, node.layer), []).append(i)
        for members in places.values():
            for start in range(0, len(members), PARTS_AT_ONCE):
                at = members[start : start + PARTS_AT_ONCE]
                yield at, self.stream.normed(self._added([self.job.nodes[i] for i in at]))

    def _added(self, nodes: Sequence[Node]) -> Tensor:
        """What nodes of one kind and layer add to the stream [batch part d_model]."""
        first, layer = nodes[0], nodes[0].layer or 0
        units = torch.tensor([node.unit or 0 for node in nodes], device=self.stream.values[FINAL].device)
        if first.kind == "head":
            return self.stream.heads(layer)[:, units]
        if first.kind == "neuron":
            return self.stream.neurons(layer, units)
        if first.feature is not None:
            return self.stream.features(self.job.dictionary(first), units)
        if self.job.split_positions and first.kind in ("embed", "pos_embed"):
            return self._embedding(first.kind)[:, None]
        return self.stream.values[self.job.sites_of(first)[0]][:, None]

    def _embedding(self, kind: str) -> Tensor:
        """The token embedding alone, or the position embedding [batch d_model]."""
        writers = Writers(self.job.model, Graph.of(self.job.model.layout, split_positions=True))
        position = writers.position_part(self.ids, self.run[EMBED])[:, -1].double()
        both = self.stream.values[EMBED]
        return position.expand_as(both) if kind == "pos_embed" else both - position


def _measure(name: str | None, has_wrong: bool) -> Measure:
    """Raises: MetricError for a measure that there is not, or that needs wrong answers where there are none."""
    found = MEASURES["logit_diff" if name is None else name]
    if found.needs_wrong and not has_wrong and name is not None:
        raise MetricError(f"measure {name!r} needs wrong answers, which this task lacks; use 'logit'.")
    return found


def _increases(measure: Measure, seen: _Seen, at: Sequence[int], parts: Tensor, pairs: Sequence[TokenPair]) -> Tensor:
    """A measure of parts behind the frozen norm [batch part d_model], nodes of one kind and layer -> [batch part]."""
    before, final = seen.job.before(seen.job.nodes[at[0]]), seen.stream.values[FINAL]
    head, x = Head.of(seen.job.model), torch.zeros_like(final) if before is None else seen.stream.values[before]
    base = head.read(seen.stream.normed(x))
    targets = make_targets(list(pairs), base.shape[-1], base.device)
    rows = []
    for i, logits in enumerate(base):
        was, after = head.logits(logits)[None], head.logits(logits + head.read(parts[i]))[None]
        rows.append(measure.function(was, after, targets.answers[i : i + 1], targets.wrong[i : i + 1])[0])
    return torch.stack(rows)


def _extremes(model: Any, normed: Tensor, k: int) -> tuple[np.ndarray, ...]:
    """Ids and logits of the `k` tokens that each of some directions [node d_model] raises most, and lowers most."""
    W_U, _ = linear(model, model.layout.unembed)
    k = min(k, W_U.shape[1])
    found: list[list[np.ndarray]] = [[], [], [], []]
    for start in range(0, len(normed), PARTS_AT_ONCE):
        some = normed[start : start + PARTS_AT_ONCE].float()
        parts = [some @ W_U[:, at : at + _TOKENS].float() for at in range(0, W_U.shape[1], _TOKENS)]
        logits = model.layout.logits_scale * torch.cat(parts, dim=1)
        for i, largest in enumerate((True, False)):
            values, ids = logits.topk(k, dim=1, largest=largest)
            found[2 * i].append(ids.cpu().numpy())
            found[2 * i + 1].append(values.double().cpu().numpy())
    empty = np.empty((0, k))
    return tuple(np.concatenate(part) if part else empty for part in found)
