"""A value of every table, whether two are equal to the last bit, and files of them with another header."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from circuits.circuit.algebra import Comparison
from circuits.circuit.circuit import CircuitError
from circuits.comparison.transfers import Transfer
from interp.attribution.pair_attribution import PairAttribution
from interp.attribution.path_effects import PathEffects
from interp.attribution.token_attribution import TokenAttribution
from interp.depth.chain_search import Chains
from interp.depth.drop_layers import DroppedLayers
from interp.depth.layer_match import LayerMatch
from interp.depth.layer_use import LayerUse
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.evaluation.probing import ProbeResult
from interp.effects.last_block import LastBlock
from interp.effects.mlp_response import MlpResponse
from interp.effects.neuron_table import NeuronEffects
from interp.effects.source_table import FeatureSources
from interp.errors import InterpError, ScoreError, TableError
from interp.evaluation.token_evaluation import TokenEvaluation
from interp.examples.mechanisms import Mechanisms
from interp.formatting.table import HEADER, Table
from interp.heads.clusters import HeadClusters
from interp.heads.distances import HeadDistances
from interp.heads.relations import HeadRelations
from interp.heads.statistics import HeadStatistics
from interp.lenses.decoder_lens import DecoderLens
from interp.lenses.direct import LogitAttribution
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.lens import LogitLens
from interp.lenses.second_order import SecondOrder
from interp.model.coverage.coverage import Coverage
from interp.probes.probes import Probes
from interp.probes.subspace import Subspace
from interp.scores.agreement import Agreement
from tests.circuits.display.displayed_runs import MAKERS as SHOWN
from tests.circuits.display.displayed_runs import agreement_of, comparison_of, mechanisms_of, transfer_of
from tests.interp.display.displayed import effects_of, judged_of, lens_of, paths_of, probe_of, tokens_of
from tests.interp.display.displayed_depth import chains_of, dropped_of, layer_use_of, match_of
from tests.interp.display.displayed_heads import (
    decoder_lens_of,
    head_clusters_of,
    head_distances_of,
    head_relations_of,
    head_statistics_of,
    pairs_of,
    second_order_of,
)
from tests.interp.display.displayed_parts import (
    last_block_of,
    neurons_of,
    probes_of,
    response_of,
    sources_of,
    subspace_of,
)

DATA: Final = Path(__file__).parent / "data"
#: A value of every table that has the layout of the base, with any text for its names.
MAKERS: Final[dict[type[Table], Callable[[str], Table]]] = {
    DirectEffects: effects_of,
    LogitAttribution: SHOWN["logits"],
    LogitLens: lens_of,
    TokenAttribution: tokens_of,
    PathEffects: paths_of,
    TokenEvaluation: judged_of,
    Agreement: agreement_of,
    ProbeResult: probe_of,
    Coverage: SHOWN["coverage"],
    HeadStatistics: head_statistics_of,
    HeadDistances: head_distances_of,
    HeadClusters: head_clusters_of,
    HeadRelations: head_relations_of,
    SecondOrder: second_order_of,
    PairAttribution: pairs_of,
    DecoderLens: decoder_lens_of,
    LayerUse: layer_use_of,
    DroppedLayers: dropped_of,
    Chains: chains_of,
    LayerMatch: match_of,
    NeuronEffects: neurons_of,
    LastBlock: last_block_of,
    MlpResponse: response_of,
    FeatureSources: sources_of,
    Probes: probes_of,
    Subspace: subspace_of,
    Comparison: comparison_of,
    Mechanisms: mechanisms_of,
    Transfer: transfer_of,
}
FAULTS: Final = {
    Agreement: ScoreError,
    ProbeResult: DictionaryError,
    Comparison: CircuitError,
    Mechanisms: ScoreError,
    Transfer: CircuitError,
}
of_every_class = pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit and of the same types; functions are compared by what they make of token ids."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b, a.dtype.kind == "f")
        )
    if callable(a):
        return all(a(i) == b(i) for i in range(64))
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def saved(value: Table, folder: Path) -> Path:
    value.save(folder / "table.parquet")
    return folder / "table.parquet"


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The file with another header: what `change` returns, or the header as it left it."""
    columns = pq.read_table(path)
    header = json.loads(columns.schema.metadata[HEADER])
    given = change(header) or header
    text = given if isinstance(given, bytes) else json.dumps(given).encode()
    pq.write_table(columns.replace_schema_metadata({HEADER: text}), path)
    return path


def fault(cls: type[Table]) -> type[InterpError]:
    return FAULTS.get(cls, TableError)
