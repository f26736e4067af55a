"""What the tests of interchange share: made scores and circuits, files written a second way, and ways to break them."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from circuits.circuit.circuit import Circuit
from circuits.interchange import (
    Shape,
)
from interp.parts.graph import Graph
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores

HOSTILE = 'a"b\\c<d>&e\n]]>\x00\u2028é'
SMALL = Shape(1, 2, False, 3)
SHAPES = [SMALL, Shape(2, 1, False, 4), Shape(2, 3, True, 2), Shape(3, 2, False, 5)]
floats = st.floats(width=64)
finite = st.floats(width=64, allow_nan=False, allow_infinity=False)


def bits(values: Any) -> list[bytes]:
    return [struct.pack("<d", value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]


def provenance(**changes: Any) -> Provenance:
    values: dict[str, Any] = dict.fromkeys((f.name for f in dataclasses.fields(Provenance)), "x")
    values |= {"level": "edges", "positions": "all", "importance_sign": 1, "steps": 5, "seed": 1, "n_pairs": 3}
    values |= {"base_metric": 0.1, "source_metric": None, "forwards": 2.0, "backwards": 1.0, "seconds": 0.5}
    values |= {
        "exact": False,
        "pairs": ("p1", "p2"),
        "kv": "split",
        "split_positions": False,
        "unsigned": False,
        "both_ways": False,
        "model": "tiny",
        "task": "t",
        "tau": None,
        "dictionaries": (),
    }
    return Provenance(**{**values, **changes})


def edge_scores(shape: Shape, values: list[float] | None = None, **changes: Any) -> Scores:
    n = shape.n_edges
    means = np.random.default_rng(0).normal(size=n) if values is None else np.array(values)
    return Scores(shape.graph.edges, means[None], provenance(**changes))


def edge_circuit(parts: tuple[Any, ...], **changes: Any) -> Circuit:
    fields = {"level": "edges", "model": HOSTILE, "task": "t", "method": "m", "selection": "n=2", "kv": "split"}
    return Circuit(parts, **{**fields, "scored_pairs": ("p1",), **changes})  # type: ignore[arg-type]


def same(one: Scores | None, two: Scores | None) -> bool:
    if one is None or two is None:
        return one is two
    data = [bits(s.mean) + bits(s.importance) for s in (one, two)]
    return one.parts == two.parts and data[0] == data[1] and one.provenance == two.provenance


def theirs(n_layers: int, n_heads: int, parallel: bool, score: Callable[[int], Any] = float) -> dict[str, Any]:
    """A graph file written a second time, from the description of the format, knowing nothing of our graph."""
    names, stream = [], ["input"]
    nodes = {"input": {"in_graph": True}}
    for layer in range(n_layers):
        heads = [f"a{layer}.h{h}" for h in range(n_heads)]
        for source in stream:
            names += [f"{source}->{head}<{c}>" for head in heads for c in "qkv"]
            names += [f"{source}->m{layer}"] if parallel else []
        stream = stream + heads
        names += [] if parallel else [f"{source}->m{layer}" for source in stream]
        stream = [*stream, f"m{layer}"]
        nodes |= {name: {"in_graph": False} for name in (*heads, f"m{layer}")}
    names += [f"{source}->logits" for source in stream]
    nodes["logits"] = {"in_graph": True}
    cfg = {"n_layers": n_layers, "n_heads": n_heads, "parallel_attn_mlp": parallel, "d_model": 2}
    edges = {name: {"score": score(i), "in_graph": i % 3 == 0} for i, name in enumerate(names)}
    return {"cfg": cfg, "nodes": nodes, "edges": edges}


def saved(path: Path, data: Any) -> Path:
    with path.open("w") as file:
        json.dump(data, file)
    return path


Change = Callable[[dict[str, Any]], Any]


def drop(*where: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        for key in where[:-1]:
            data = data[key]
        del data[where[-1]]

    return change


def put(value: Any, *where: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        for key in where[:-1]:
            data = data[key]
        data[where[-1]] = value

    return change


def grouped() -> Scores:
    graph = Graph(1, 2, 1, (False,))
    return Scores(graph.edges, np.ones((1, len(graph.edges))), provenance(kv="shared"))


def at_positions() -> Scores:
    parts = tuple(SMALL.graph.at_positions([0, 1]))
    return Scores(parts, np.ones((1, len(parts))), provenance(positions="each"))


def split() -> Scores:
    graph = Graph(1, 2, 2, (False,), split_positions=True)
    return Scores(graph.edges, np.ones((1, len(graph.edges))), provenance(split_positions=True))
