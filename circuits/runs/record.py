"""Everything that one run found, as values: what a run directory holds and what a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.prompts import Prompt
from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation, Search
from interp.scores.agreement import Agreement
from interp.scores.scores import Scores

if TYPE_CHECKING:
    from circuits.anatomy.feature_study import FeatureStudy


@dataclass(frozen=True)
class Record:
    """`scores`: every method of the run, the one that the circuit was chosen by first. `exact`: exact patching of all
    nodes or of a sample. `agreements`: each approximation against it. `position_map`: scores of the residual stream at
    each layer and position, with the token text of each position of an example in `position_labels`, and of stacks with a prefix in
    `stack_labels`. `accuracy`:
    share of pairs where the right answer wins on the clean prompt, and the wrong one on the corrupt prompt. `manifest`: see `circuits.runs.directory`.
    `features`: what else is known of a circuit of features; `feature_edges`: edges between the first of them, and into the metric.
    `anatomy`: what the parts of the circuit do on a few prompts. `node_edges`: scores of the edges between the nodes of a node circuit, the
    strongest of them exact. `size_search`: how the size of the circuit was found, where it was looked for."""

    manifest: Mapping[str, Any]
    scores: tuple[Scores, ...]
    exact: Scores | None = None
    agreements: tuple[Agreement, ...] = ()
    circuit: Circuit | None = None
    evaluation: Evaluation | None = None
    position_map: Scores | None = None
    position_labels: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    accuracy: Mapping[str, float] = field(default_factory=dict)
    features: FeatureStudy | None = None
    feature_edges: Scores | None = None
    anatomy: Anatomy | None = None
    node_edges: Scores | None = None
    size_search: Search | None = None
    stack_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The texts of positions by the prefix of their stack."""
        return {"": self.position_labels, **self.stack_labels}
