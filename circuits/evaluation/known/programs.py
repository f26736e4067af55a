"""Known circuits to judge methods by: transformers compiled from programs, whose edges are known one by one.

A folder holds `config.json` and `model.safetensors` (TransformerLens layout), `circuit.json` (every edge that the weights
connect, and whether the output depends on it) and `pairs.json` (prompts with the program's outputs). An edge of the graph
that `circuit.json` does not list is a negative. Each ablation has its own known circuit:

| ablation | an edge is in the circuit if |
| --- | --- |
| counterfactual | patching it alone with the other prompt's value changes some output |
| zero | setting it alone to zero changes some output |

A warning about the AUROC of approximations: softmax and ReLU are saturated in these programs, and what is not in the
circuit often scores exactly 0, so rounding errors alone can rank its edges first. `Row.seen` says how many of them scored
more than the change that the known circuit is defined by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import Circuit
from interp.errors import InterpError, MethodError, unknown
from interp.formatting.guarded import foreign_json
from interp.model.model import HookedModel
from interp.model.modules.linear import vocabulary_size
from interp.parts.graph import Edge, Graph
from interp.parts.outputs import Outputs
from interp.scores.roc import Roc, roc
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task

THRESHOLD: Final = 1e-4
GROUND_TRUTH: Final = {"counterfactual": "in_resample_circuit", "zero": "in_zero_circuit"}
_COUNTS: Final = {"in_resample_circuit": "n_edges_resample_circuit", "in_zero_circuit": "n_edges_zero_circuit"}
_FORMAT: Final = "sender -> receiver; receiver of a head carries its channel <q>,<k>,<v>; heads aL.hH, MLPs mL"
_NEEDED: Final = {"edge_format", "edges", "n_edges_total", *_COUNTS.values()}
_KNOWN: Final = _NEEDED | {
    *("name", "notes", "hook_names", "n_edges_structural", "n_edges_active"),
    *("nodes_structural", "nodes_resample_circuit", "nodes_zero_circuit"),
    *("sufficiency_max_abs_error_resample", "sufficiency_max_abs_error_zero"),
}
_EDGE_KEYS: Final = {"sender", "receiver", "active", "resample_effect_max", "zero_effect_max", *_COUNTS}
_PAIR_KEYS: Final = {f"{side}{what}" for side in ("clean", "corrupt") for what in ("", "_out", "_ids")}


class TruthError(InterpError):
    """A known circuit that cannot be read, or that something cannot be judged by."""


@dataclass(frozen=True, repr=False)
class ProgramTask(Task):
    """The prompt pairs of a program. Its outputs may be one number, so there are no answers: token 0 stands in their
    place, and a metric of answers is 0 here. Metrics that read the outputs at every position are those to use.
    """

    def tokenize(self, tokenizer: Any, outputs: int | Outputs, *, several: bool = False) -> list[TokenPair]:
        """The pairs as they are; their ids were checked against the vocabulary of the prompts, which outputs do not share."""
        return [pair.ids for pair in self.pairs if pair.ids is not None]


@dataclass(frozen=True, eq=False)
class Truth:
    """A program with its known circuit. `positives`: the edges of `graph` that are in it under `ablation`."""

    name: str
    model: HookedModel
    task: Task
    graph: Graph
    positives: frozenset[Edge]
    ablation: str

    @property
    def circuit(self) -> Circuit:
        """The known circuit as a value that can be evaluated, compared and saved."""
        parts = tuple(edge for edge in self.graph.edges if edge in self.positives)
        chosen = f"known: {GROUND_TRUTH[self.ablation]}"
        split = self.graph.split_positions
        return Circuit(parts, "edges", self.model.name, self.task.name, "truth", chosen, split_positions=split)

    def judge(self, edges: Sequence[Edge], scores: np.ndarray) -> Roc:
        """How scores [edge] of every edge of the graph separate its circuit. Raises: TruthError where an edge is missing."""
        if set(edges) != set(self.graph.edges):
            missing = [edge.name for edge in self.graph.edges if edge not in set(edges)]
            raise TruthError(
                f"{self.name}: scores of {len(edges)} edges for a graph of {len(self.graph.edges)}; "
                f"missing {', '.join(missing[:3]) or 'none, but there are others'}. Score every edge, positions together."
            )
        return roc(scores, [edge in self.positives for edge in edges])

    def __str__(self) -> str:
        return f"Truth({self.name}, {self.ablation}: {len(self.positives)} of {len(self.graph.edges)} edges)"

    __repr__ = __str__


# ---------------------------------------------------------------- reading


def programs(folder: str | Path) -> list[Path]:
    """The programs of a folder: itself, or those in it. Raises: TruthError where there is none."""
    root = Path(folder)
    found = [root] if (root / "circuit.json").is_file() else sorted(p.parent for p in root.glob("*/circuit.json"))
    if not found:
        raise TruthError(f"no known circuit in {str(folder)!r}; expected circuit.json in it or in its folders.")
    return found


def load_truth(folder: str | Path, ablation: str = "counterfactual", *, limit: int | None = None) -> Truth:
    """The program of a folder, in float64, with its known circuit under an ablation and its first `limit` pairs.

    Raises: TruthError for an ablation without a known circuit, and for files that are not as expected.
    """
    from interp.model.loading.load import load

    check_ablation(ablation)
    root = Path(folder)
    data, rows = _json(root / "circuit.json", dict), _json(root / "pairs.json", list)
    model = load(root, dtype="float64")
    graph = _graph(model, data, root)
    pairs = tuple(_pair(row, model, f"{root}/pairs.json pair {i}") for i, row in enumerate(rows))
    task = ProgramTask(root.name, pairs, str(_json(root / "config.json", dict).get("doc", "")), str(root))
    return Truth(root.name, model, task.limit(limit), graph, _positives(data, graph, ablation, root), ablation)


def _json(path: Path, kind: type) -> Any:
    return foreign_json(path, kind, str(path), TruthError)


def _keys(row: Any, known: set[str], needed: set[str], where: str) -> None:
    """Raises: TruthError where keys are unknown or missing."""
    if not isinstance(row, Mapping):
        raise TruthError(f"{where} is {row!r}; expected an object with the keys {', '.join(sorted(needed))}.")
    if odd := sorted(row.keys() - known):
        raise TruthError(f"{where}: {unknown('key', odd[0], known)}")
    if missing := sorted(needed - row.keys()):
        raise TruthError(f"{where} lacks {', '.join(missing)}.")


def _graph(model: HookedModel, data: Mapping[str, Any], root: Path) -> Graph:
    """The graph of as many edges as the file counted: with the position embedding apart, or without."""
    _keys(data, _KNOWN, _NEEDED, f"{root}/circuit.json")
    if data["edge_format"] != _FORMAT:
        raise TruthError(f"{root}/circuit.json: edge_format {data['edge_format']!r}; expected {_FORMAT!r}.")
    found = [Graph.of(model.layout, split_positions=split) for split in (True, False)]
    sizes = [len(graph.edges) for graph in found]
    if data["n_edges_total"] not in sizes:
        raise TruthError(
            f"{root}/circuit.json counts {data['n_edges_total']} edges; the graph of this model has {sizes[0]} with the "
            f"position embedding apart and {sizes[1]} without. They are not of the same model."
        )
    return found[sizes.index(data["n_edges_total"])]


def _positives(data: Mapping[str, Any], graph: Graph, ablation: str, root: Path) -> frozenset[Edge]:
    """The edges of the known circuit, every entry of the file checked."""
    key = GROUND_TRUTH[ablation]
    listed: dict[Edge, bool] = {}
    for i, row in enumerate(data["edges"]):
        where = f"{root}/circuit.json edge {i}"
        _keys(row, _EDGE_KEYS, {"sender", "receiver", key}, where)
        try:
            edge = graph.edge(f"{row['sender']}->{row['receiver']}")
        except MethodError as error:
            raise TruthError(f"{where}: {error}") from error
        if edge in listed or not isinstance(row[key], bool):
            raise TruthError(f"{where}: {edge.name} is listed twice, or its {key} is not true or false.")
        listed[edge] = row[key]
    positives = frozenset(edge for edge, inside in listed.items() if inside)
    if len(positives) != data[_COUNTS[key]]:
        raise TruthError(f"{root}/circuit.json: {_COUNTS[key]} is {data[_COUNTS[key]]}, but it marks {len(positives)}.")
    return positives


def _pair(row: Any, model: HookedModel, where: str) -> Pair:
    _keys(row, _PAIR_KEYS, {"clean_ids", "corrupt_ids"}, where)
    n_ids, n_ctx = vocabulary_size(model.hf), model.hf.config.max_position_embeddings
    clean, corrupt = row["clean_ids"], row["corrupt_ids"]
    if not isinstance(clean, list) or not isinstance(corrupt, list):
        raise TruthError(f"{where}: clean_ids and corrupt_ids; expected two lists of token ids.")
    if not 2 <= len(clean) <= n_ctx or len(clean) != len(corrupt):
        raise TruthError(f"{where}: {len(clean)} and {len(corrupt)} tokens; expected as many, from 2 to {n_ctx}.")
    if odd := [i for i in (*clean, *corrupt) if type(i) is not int or not 0 <= i < n_ids]:
        raise TruthError(f"{where}: token id {odd[0]!r}; expected whole numbers from 0 to {n_ids - 1}.")
    texts = [" ".join(map(str, row.get(side, row[f"{side}_ids"]))) for side in ("clean", "corrupt")]
    return Pair(texts[0], texts[1], (), (), ids=TokenPair(tuple(clean), tuple(corrupt), (0,), (0,)))


def check_ablation(ablation: str) -> None:
    """Raises: TruthError for an ablation without a known circuit."""
    if ablation not in GROUND_TRUTH:
        raise TruthError(unknown("ablation with a known circuit", ablation, GROUND_TRUTH))
