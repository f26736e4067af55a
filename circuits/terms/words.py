"""What things are called: kinds of nodes and edges, metrics, tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from interp.formatting.numbers import several

#: The name of a task that is one pair from the command line.
GIVEN: Final = "command-line"
_METRICS: Final = {
    "logit_diff": "logit difference",
    "normalized_logit_diff": "normalised logit difference",
    "log_prob": "log-probability of the answer",
    "cross_entropy": "cross-entropy of the answer",
    "logsumexp": "log-odds of the answers",
    "prob_diff": "probability difference",
}
#: Metrics that are better when the answer is likelier.
_ANSWER: Final = tuple(_METRICS)
_MORE: Final = {
    "kl_source": "divergence from the source run",
    "l2_source": "distance from the source run",
    "kl_base": "divergence from the base run",
    "l2_base": "distance from the base run",
    "largest_change": "largest change of an output",
}
_KINDS: Final = {
    "head": "heads",
    "cross_head": "cross-attention heads",
    "mlp": "MLPs",
    "attn_out": "attention outputs",
    "cross_out": "cross-attention outputs",
    "mixer_out": "outputs of mixers",
    "second_mlp_out": "outputs of second MLPs",
    "neuron": "neurons",
    "q": "queries",
    "k": "keys",
    "v": "values",
    "cross_q": "cross-attention queries",
    "cross_k": "cross-attention keys",
    "cross_v": "cross-attention values",
    "embed": "embedding",
    "pos_embed": "position embedding",
    "resid_pre": "residual stream before the block",
    "resid_mid": "residual stream between attention and MLP",
    "resid_cross": "residual stream between cross-attention and MLP",
    "resid_post": "residual stream after the block",
    "all": "all but the embedding",
}
_ONE: Final = {
    "head": "head",
    "cross_head": "cross-attention head",
    "mlp": "MLP",
    "attn_out": "attention output",
    "cross_out": "cross-attention output",
    "mixer_out": "output of a mixer",
    "second_mlp_out": "output of a second MLP",
    "neuron": "neuron",
    "q": "query",
    "k": "key",
    "v": "value",
}
_PARTS: Final = {"feature": "features", "error": "errors"}
_PLACES: Final = {
    "embed": "the embedding",
    "resid_pre": "the stream before the block",
    "resid_mid": "the stream between attention and MLP",
    "resid_post": "the stream after the block",
    "resid_cross": "the stream between cross-attention and MLP",
    "attn_out": "attention outputs",
    "cross_out": "cross-attention outputs",
    "mixer_out": "outputs of mixers",
    "second_mlp_out": "outputs of second MLPs",
    "mlp_out": "MLP outputs",
}
#: Kinds of which a model has one, so that a sentence needs an article.
_SINGLE: Final = ("embed", "pos_embed", "logits")
NODES: Final = {"one": "node", "many": "nodes", "component": "component", "components": "components"}
FEATURES: Final = {
    "one": "feature",
    "many": "features and errors",
    "component": "feature",
    "components": "features and errors",
}
EDGES: Final = {"one": "edge", "many": "edges", "component": "edge", "components": "edges"}


def kind_name(kind: str, one: bool = False) -> str:
    """A kind of node or edge in words (`heads`, `heads → queries`); `one` of it."""
    sender, arrow, receiver = kind.partition("->")
    if arrow:
        return f"{kind_name(sender, one)} → {kind_name(receiver, one)}"
    place, _, part = kind.partition(".")
    if part in _PARTS:
        return f"{part if one else _PARTS[part]} of {_PLACES.get(place, place)}"
    return _ONE[kind] if one and kind in _ONE else _KINDS.get(kind, kind)


def kinds_in_words(kinds: Iterable[str]) -> str:
    """How many parts of which kinds: `16 heads, 4 MLPs and the embedding`; edges and many kinds are only counted."""
    found = Counter(kinds)
    if any("->" in kind for kind in found):
        return f"{found.total():,} edges"
    shown = [_with_article(k) if k in _SINGLE and n == 1 else f"{n:,} {kind_name(k, n == 1)}" for k, n in found.items()]
    shown.sort(key=lambda text: text.startswith("the "))
    return enumerated(shown)


def enumerated(parts: Sequence[str]) -> str:
    """Things named one after the other in a sentence: `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def edges_of_kind(kind: str) -> str:
    """A kind of edge inside a sentence: `edges from heads to queries`."""
    sender, _, receiver = kind.partition("->")
    return f"edges from {_with_article(sender)} to {_with_article(receiver)}"


def _with_article(kind: str) -> str:
    return f"the {kind_name(kind)}" if kind in _SINGLE else kind_name(kind)


def goal(metric: str) -> str:
    """What an important part works for: the answer, where the metric is about it."""
    return "the answer" if metric in _ANSWER else "the metric"


def task_name(name: str) -> str:
    """A task's name as part of a sentence."""
    return "the pair given on the command line" if name == GIVEN else name


def metric_name(metric: str) -> str:
    """A metric in words."""
    return (_METRICS | _MORE).get(metric, metric)


def pairs_in_words(n: int, held_out: bool) -> str:
    """What a circuit was judged on: `12 pairs`, or `12 held-out pairs` where none of them was used for the scores."""
    return several(n, "held-out pair" if held_out else "pair")
