"""The values of a run, each in a file of its directory: written, and read back.

scores.parquet  (scores-METHOD.parquet for every further method), exact.parquet, position_map.parquet
circuit.json, evaluation.json, agreement.json, prompts.json, report.html
features.json, feature_edges.parquet at level features
anatomy.json, node_edges.parquet: what the parts of the circuit do, edges between the nodes of a node circuit
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.prompts import Prompt
from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation, Search
from circuits.runs.directory import REPRODUCE, RunError, is_run, read_manifest
from circuits.runs.looked import is_look
from circuits.runs.record import Record
from interp.files import write_text
from interp.formatting.guarded import read_json, reading
from interp.formatting.plain import rebuilt
from interp.scores.agreement import Agreement
from interp.scores.scores import Scores


def save_record(path: Path, record: Record) -> None:
    """Write the values of a run, each to its file."""
    record.scores[0].save(path / "scores.parquet")
    for other in record.scores[1:]:
        other.save(path / f"scores-{other.provenance.method}.parquet")
    for name in ("exact", "position_map", "feature_edges", "node_edges"):
        scores = getattr(record, name)
        if scores is not None:
            scores.save(path / f"{name}.parquet")
    if record.circuit is not None:
        record.circuit.save(path / "circuit.json")
    if record.evaluation is not None:
        record.evaluation.save(path / "evaluation.json")
    if record.size_search is not None:
        record.size_search.save(path / "size_search.json")
    if record.features is not None:
        record.features.save(path / "features.json")
    if record.anatomy is not None:
        record.anatomy.save(path / "anatomy.json")
    write_text(path / "agreement.json", json.dumps([asdict(a) for a in record.agreements], indent=1))
    shown = {
        "methods": [s.provenance.method for s in record.scores],
        "accuracy": dict(record.accuracy),
        "position_labels": list(record.position_labels),
        "prompts": [asdict(p) for p in record.prompts],
    }
    if record.stack_labels:
        shown["stack_labels"] = {name: list(texts) for name, texts in record.stack_labels.items()}
    write_text(path / "prompts.json", json.dumps(shown, indent=1))


def load_record(path: Path) -> Record:
    """Read a complete run back. Raises: RunError for an incomplete one or a missing or damaged file."""
    from circuits.anatomy.feature_study import FeatureStudy

    manifest = _complete_manifest(path)
    with reading(f"run {str(path)!r} is damaged: {'prompts.json'!r}", RunError):
        shown = rebuilt(_Shown, read_json(path / "prompts.json"))
    with reading(f"run {str(path)!r} is damaged: {'agreement.json'!r}", RunError):
        agreements = rebuilt(tuple[Agreement, ...], read_json(path / "agreement.json"))
    with reading(f"run {str(path)!r} is damaged and", RunError):
        found = Record(
            manifest=manifest,
            scores=_all_scores(path, shown.methods),
            exact=_optional(Scores.load, path / "exact.parquet"),
            agreements=agreements,
            circuit=_optional(Circuit.load, path / "circuit.json"),
            evaluation=_optional(Evaluation.load, path / "evaluation.json"),
            position_map=_optional(Scores.load, path / "position_map.parquet"),
            position_labels=shown.position_labels,
            stack_labels=shown.stack_labels,
            prompts=shown.prompts,
            accuracy=shown.accuracy,
            features=_optional(FeatureStudy.load, path / "features.json"),
            feature_edges=_optional(Scores.load, path / "feature_edges.parquet"),
            anatomy=_optional(Anatomy.load, path / "anatomy.json"),
            node_edges=_optional(Scores.load, path / "node_edges.parquet"),
            size_search=_optional(Search.load, path / "size_search.json"),
        )
    if manifest.get("job") == "discover" and (found.circuit is None) != (found.evaluation is None):
        lost = "circuit.json" if found.circuit is None else "evaluation.json"
        raise RunError(f"run {str(path)!r} is damaged: it has no {lost}.")
    return found


def _complete_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a complete run of scores. Raises: RunError for another one."""
    is_run(path)
    manifest = read_manifest(path)
    if manifest.get("status") != "complete":
        raise RunError(f"{str(path)!r} is not complete: its status is {manifest.get('status')!r}.")
    if manifest.get("job") == REPRODUCE:
        raise RunError(
            f"{str(path)!r} is of circuits reproduce, which has several models and no circuit; see its table.json."
        )
    if is_look(path):
        job = str(manifest.get("job"))
        raise RunError(
            f"{str(path)!r} is of circuits {job:.40}, which looks inside a model and has no circuit; see its report.html."
        )
    return manifest


@dataclass(frozen=True)
class _Shown:
    """What prompts.json holds."""

    methods: tuple[str, ...]
    accuracy: Mapping[str, float]
    position_labels: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    stack_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _all_scores(path: Path, methods: Sequence[str]) -> tuple[Scores, ...]:
    """The scores of every method. Raises: ScoreError; RunError where the files are not those of the methods."""
    names = {f"scores-{method}.parquet" for method in methods[1:]}
    if strange := names ^ {file.name for file in path.glob("scores-*.parquet")}:
        raise RunError(f"it names the methods {', '.join(methods)}, and {min(strange)} is missing or one too many")
    found = (Scores.load(path / "scores.parquet"), *(Scores.load(path / f"scores-{m}.parquet") for m in methods[1:]))
    if tuple(scores.provenance.method for scores in found) != tuple(methods):
        raise RunError(f"it names the methods {', '.join(methods)}, and its scores are of others")
    return found


def _optional(load: Any, path: Path) -> Any:
    return load(path) if path.exists() else None
