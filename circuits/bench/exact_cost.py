"""What exact patching costs: full sweeps, in forwards of the plain model per patch, and the arithmetic that they need at least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from circuits.bench.attribution_cost import UNABLE
from circuits.bench.workload import Measurement, Size, Skipped, random_task, seconds_of
from interp.attribution.request import prepare
from interp.attribution.scoring.driver import Attribution
from interp.model.model import HookedModel
from interp.model.multiply_adds import Prices
from interp.parts.nodes import Node
from interp.tasks.task import Task

UNIT: Final = "1 forward, per patch"


@dataclass(frozen=True)
class Sweep:
    """Nodes of some kinds, at each position or at all together. `levels`: where these kinds are."""

    name: str
    levels: tuple[tuple[str, tuple[str, ...]], ...]
    positions: str


SWEEPS: Final = (
    Sweep(
        "layer x position: resid_pre, attn_out, mlp_out",
        (("resid", ("resid_pre",)), ("blocks", ("attn_out", "mlp"))),
        "each",
    ),
    Sweep("layer x head, all positions", (("heads", ("head",)),), "all"),
    Sweep("layer x head x position", (("heads", ("head",)),), "each"),
)
#: A sweep takes seconds, a forward a fraction: so many are timed together.
FORWARDS: Final = 8
METRICS: Final = (("logit_diff", "logits of two tokens"), ("log_prob", "all logits"))


def bench_exact(model: HookedModel, size: Size, sweeps: Sequence[Sweep] = SWEEPS) -> Iterator[Measurement | Skipped]:
    """Time full sweeps on one batch of random prompts, different at every position, everything counted.

    A sweep of places that this model does not have is a `Skipped` with the reason.
    """
    task = random_task(model, size.batch, size.length)
    for sweep in sweeps:
        for metric, reads in METRICS:
            name = f"{sweep.name}; {reads}"
            try:
                requests = [
                    _request(model, task, level, kinds, sweep.positions, metric, size) for level, kinds in sweep.levels
                ]
            except UNABLE as error:
                yield Skipped("exact", name, str(error))
                continue
            yield _timed(model, name, requests, task, size)


def _timed(model: HookedModel, name: str, requests: Sequence[Attribution], task: Task, size: Size) -> Measurement:
    ids = torch.tensor([p.corrupt for p in task.tokenize(None, model.layout.d_vocab)], device=model.device)

    spent: dict[int, float] = {}

    def forward() -> None:
        with torch.no_grad():
            for _ in range(FORWARDS):
                model.hf(input_ids=ids, use_cache=False)

    def work() -> None:
        for i, request in enumerate(requests):
            spent[i] = request.score(show_progress=False)["exact"].provenance.forwards

    medians = seconds_of({"plain": forward, "sweep": work, "plain again": forward}, max(1, size.repeats // 3))
    plain = min(medians["plain"], medians["plain again"]) / FORWARDS
    patches = sum(len(r.only or ()) * len(r.positions.labels) for r in requests)
    needed = sum(needed_forwards(model, r, size) for r in requests)
    ratio, bound = medians["sweep"] / plain / patches, needed / sum(spent.values())
    return Measurement("exact", name, ratio, medians["sweep"], UNIT, patches=patches, bound=bound)


def _request(
    model: HookedModel, task: Task, level: str, kinds: Sequence[str], positions: str, metric: str, size: Size
) -> Attribution:
    options = {"methods": ["exact"], "level": level, "positions": positions, "metric": metric, "batch_size": size.batch}
    every = prepare(model, task, **options)  # type: ignore[arg-type]
    names = [part.name for part in every.space.parts([None]) if part.kind in kinds]
    return prepare(model, task, parts=names, **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the bound


def needed_forwards(model: HookedModel, request: Attribution, size: Size) -> float:
    """The multiply-adds that the patches of a request need at least, in forwards: by formula, not by what the engine did."""
    prices = model.prices
    nodes = [
        part for part in request.space.parts([None]) if isinstance(part, Node) and part.name in (request.only or ())
    ]
    columns = 2 if request.metric.vocabulary == "answers" else model.layout.d_vocab
    total = 0.0
    for label in request.positions.labels:
        start, stop = (0, size.length) if label is None else (int(label), int(label) + 1)
        total += sum(_needed(model, prices, node, start, stop, size.length, columns) for node in nodes)
    return total * size.batch / prices.forward(size.batch, size.length)


def _needed(model: HookedModel, prices: Prices, node: Node, start: int, stop: int, length: int, columns: int) -> float:
    """Multiply-adds for one prompt, read at its last position, where the stream behind `node` changes at start..stop.

    The first layer behind needs q, k, v of the changed positions only, the last one k and v of these and the rest of the
    last position only; a part of the node's own layer is redone at the changed positions.
    """
    size, layer = model.layout, node.layer or 0
    entry = layer if node.kind in ("resid_pre", "embed") else layer + 1
    last = size.n_layers - 1
    if entry > last and stop < length:
        return 0.0
    total = float(columns * prices.logit)
    if entry > layer and node.kind in ("head", "attn_out") and not size.blocks[layer].parallel:
        total += prices.rows["mlp", layer] * (1 if layer == last else stop - start)
    kv = 2 * size.n_kv_heads / (size.n_heads + 2 * size.n_kv_heads)
    changed = stop - start
    for at in range(entry, size.n_layers):
        queries = 1 if at == last else length - start
        qkv = prices.rows["qkv", at]
        asking = changed if at != last else int(start + changed == length)
        total += changed * qkv * kv + asking * qkv * (1 - kv)
        total += queries * (prices.rows["o", at] + prices.rows["mlp", at])
        total += prices.score * sum(range(start + 1, length + 1) if at != last else (length,))
        changed = length - start
    return total
