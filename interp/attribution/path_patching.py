"""Path patching: what senders do to the metric directly through the inputs of receivers.

Three runs: the base run, the source run, and the base run in which every head and MLP is frozen but the senders write
their source values. In the last, the input of each receiver is kept. Then the base run goes on with these inputs in the
receivers' place. Frozen nodes make the input of receiver v  x_v + sum over senders u of (a_u(source) - a_u(base)), so
the third run needs no forward pass: it is the edges u->v patched.

Source: Wang et al. 2023 (appendix B); Goldowsky-Dill et al. 2023.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

from interp.attribution.path_effects import Ends, PathEffect, PathEffects
from interp.attribution.path_runs import Paths
from interp.attribution.request import prepare
from interp.errors import MethodError, unknown
from interp.given import kinds_checked
from interp.parts.graph import Graph, KeyValue
from interp.parts.nodes import Node
from interp.tasks.metric import Metric
from interp.tasks.task import Task

Nodes = str | Node | Iterable[str | Node]


class PathOptions(TypedDict, total=False):
    """Options of `path_patch` that mean what they mean in `interp.attribute`."""

    direction: str | None
    ablation: str
    metric: str | Metric | None
    batch_size: int | None
    seed: int
    kv: KeyValue
    split_positions: bool


@overload
def path_patch(
    model: Any,
    task: Task | str | Path,
    senders: Nodes,
    receivers: Nodes,
    *,
    each: Literal[False] = ...,
    through_mlps: bool = ...,
    pinned: bool = ...,
    show_progress: bool | None = ...,
    **options: Unpack[PathOptions],
) -> PathEffect: ...


@overload
def path_patch(
    model: Any,
    task: Task | str | Path,
    senders: Nodes,
    receivers: Nodes,
    *,
    each: Literal[True],
    through_mlps: bool = ...,
    pinned: bool = ...,
    show_progress: bool | None = ...,
    **options: Unpack[PathOptions],
) -> PathEffects: ...


@kinds_checked
def path_patch(
    model: Any,
    task: Task | str | Path,
    senders: Nodes,
    receivers: Nodes,
    *,
    each: bool = False,
    through_mlps: bool = False,
    pinned: bool = True,
    show_progress: bool | None = None,
    **options: Unpack[PathOptions],
) -> PathEffect | PathEffects:
    """metric(receivers read the senders' source values, all else frozen on the way) - metric(base).

    senders: writers (`a0.h3`, `m1`, `embed`), together. receivers: readers (`a2.h1<q>`, `m3`, `logits`), together; a head
    (`a2.h1`) means its q, k and v, of which a group of heads may share k and v. each: every sender with every receiver
    alone. through_mlps: MLPs between are computed anew rather than frozen, as in Wang et al. pinned: a receiver reads what
    the senders alone make of its input, even where an earlier receiver would change it too; without it, the effect is that
    of the set of edges sender->receiver, and differs where one receiver comes before another. options: `PathOptions`.

    Cost: 2 forwards, and 1 per pair or for all together; through_mlps 1 more, and 1 per sender. Source: Wang et al. 2023.
    Raises: MethodError for unknown names, a receiver that does not see a sender, and what `interp.attribute` refuses.
    """
    if odd := sorted(options.keys() - PathOptions.__annotations__.keys()):
        raise MethodError(unknown("option of path_patch", odd[0], PathOptions.__annotations__))
    if through_mlps and not pinned:
        raise MethodError(
            "pinned=False patches edges, and paths through MLPs are none: give through_mlps=False with it."
        )
    request = prepare(model, task, methods=["exact"], level="edges", **options)
    paths = Paths(request, through_mlps, pinned)
    sent, received = _senders(paths.graph, senders), _receivers(paths.graph, receivers)
    _check_seen(paths.graph, sent, received)
    from_each: list[Ends] = [(u,) for u in sent] if each else [sent]
    to_each: list[Ends] = [(v,) for v in received] if each else [received]
    found = paths.effects(from_each, to_each, show_progress)
    return PathEffects(found) if each else found[0]


def _names(given: Nodes, what: str) -> list[str]:
    """Names in the order given, each once."""
    found = list(dict.fromkeys(map(str, [given] if isinstance(given, str | Node) else given)))
    if not found:
        raise MethodError(f"{what}: none were given; expected one or more names.")
    return found


def _senders(graph: Graph, given: Nodes) -> Ends:
    known = {node.name: node for node in graph.writers}
    names = _names(given, "senders")
    if odd := [name for name in names if name not in known]:
        raise MethodError(unknown("sender", odd[0], known))
    return tuple(known[name] for name in names)


def _receivers(graph: Graph, given: Nodes) -> Ends:
    known: dict[str, Ends] = {node.name: (node,) for node in graph.readers}
    for head in (node for node in graph.writers if node.kind == "head"):
        known[head.name] = _channels(graph, head)
    names = _names(given, "receivers")
    if odd := [name for name in names if name not in known]:
        raise MethodError(unknown("receiver", odd[0], known))
    return tuple(dict.fromkeys(node for name in names for node in known[name]))


def _channels(graph: Graph, head: Node) -> Ends:
    """The readers of a head: its q, and the k and v that it uses."""
    readers = graph.attention_readers(head.layer or 0)
    unit = head.unit or 0
    return tuple(r for r in readers if r.unit == (unit // graph.group if r.grouped else unit))


def _check_seen(graph: Graph, senders: Ends, receivers: Ends) -> None:
    seen = dict(zip(graph.readers, graph.n_upstream, strict=True))
    for v in receivers:
        for u in senders:
            if graph.writers.index(u) >= seen[v]:
                raise MethodError(
                    f"receiver {v.name} does not see sender {u.name}, which writes only after {v.name} has read. "
                    "Leave one of them out, or patch them in two calls."
                )
