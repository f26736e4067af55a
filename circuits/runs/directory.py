"""Run directories: created before the work, complete only after it, never overwritten unasked.

manifest.json   status (running, complete, failed, interrupted), command, versions, seeds, model file hashes, conventions
config.toml     the options of the run
scores.parquet  (scores-METHOD.parquet for every further method), exact.parquet, position_map.parquet
circuit.json, evaluation.json, agreement.json, prompts.json, report.html
features.json, feature_edges.parquet at level features
anatomy.json, node_edges.parquet: what the parts of the circuit do, edges between the nodes of a node circuit
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.prompts import Prompt
from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation, Search
from circuits.runs.record import Record
from interp.errors import InterpError
from interp.files import write_text
from interp.folders import State, recover, replacing_folder, set_aside
from interp.formatting.guarded import read_json, reading
from interp.formatting.plain import rebuilt
from interp.registries import loaded
from interp.scores.agreement import Agreement
from interp.scores.scores import Scores

FORMAT: Final = 1
#: The job of a run that is the table of a paper: no record of scores and a circuit.
REPRODUCE: Final = "reproduce"


class RunError(InterpError):
    """A run directory that cannot be made or read."""


def free_name(stem: str, parent: str | Path = "runs") -> Path:
    """`parent/stem`, or with the first free number behind it."""
    path, number = Path(parent) / stem, 2
    while path.exists() or set_aside(path).exists():
        path, number = Path(parent) / f"{stem}-{number}", number + 1
    return path


def is_run(path: Path) -> bool:
    """Whether `path` is a folder, after an older run that a killed process set aside is back in its place."""
    with suppress(OSError):  # where nothing may be written, what is there is read as it is
        recover(path, _state)
    return path.is_dir()


def folders_in(runs: Path) -> list[Path]:
    """The folders among which runs are, none of them set aside."""
    if not runs.is_dir():
        return []
    for path in list(runs.glob(".*.replaced")):
        is_run(path.with_name(path.name.removeprefix(".").removesuffix(".replaced")))
    return [path for path in runs.iterdir() if path.is_dir() and not path.name.startswith(".")]


def check_target(path: Path, force: bool) -> None:
    """Raises: RunError where `path` exists and may not be replaced. `force` replaces run directories and nothing else."""
    _recovered(path)
    if not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not force:
        raise RunError(f"{str(path)!r} exists; choose another --out, or --force to replace it.")
    if not (path / "manifest.json").is_file():
        raise RunError(f"{str(path)!r} is not a run directory (no manifest.json), so --force does not replace it.")


def _recovered(path: Path) -> None:
    """Raises: RunError where an older run that was set aside cannot be put back, or is not to be yet."""
    try:
        settled = recover(path, _state)
    except OSError as error:
        raise RunError(f"cannot write to {str(path)!r}: {error.strerror or error}.") from error
    if not settled:
        raise RunError(
            f"{str(set_aside(path))!r} holds an older run that was set aside: either another process replaces it now, which "
            f"will end, or {str(path)!r} is no run; then move one of the two first."
        )


def _state(path: Path) -> State:
    """What a run directory is found to be; one whose manifest was not yet written holds nothing but that."""
    if not (path / "manifest.json").exists():
        names = [found.name for found in path.iterdir()] if path.is_dir() else ["a file"]
        return "begun" if all(name.startswith(".manifest.json.") for name in names) else "foreign"
    try:
        return "whole" if read_manifest(path).get("status") == "complete" else "begun"
    except RunError:
        return "foreign"


@contextmanager
def open_run(path: Path, manifest: Mapping[str, Any], *, force: bool = False) -> Iterator[Path]:
    """A new run directory: its manifest says running, then complete, failed with the reason, or interrupted.

    With `force`, an older run at `path` is set aside first, deleted when the new one is complete and put back when it
    fails, or by the next command where this one is killed. Raises: RunError where the directory may not be written.
    """
    check_target(path, force)
    with ExitStack() as stack:
        replaced = path.exists()
        try:
            if replaced:
                stack.enter_context(replacing_folder(path, _state))
            path.mkdir(parents=True)
            _write_manifest(path, {**manifest, "status": "running"})
        except OSError as error:
            raise RunError(f"cannot write to {str(path)!r}: {error.strerror or error}.") from error
        try:
            yield path
        except BaseException as error:
            if not replaced:
                status = "interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "failed"
                reason = f"{type(error).__name__}: {error}"
                _write_manifest(path, {**read_manifest(path), "status": status, "error": reason})
            raise


def finished(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a run that is complete now: what its report shows and `complete` writes."""
    return {"format": FORMAT, **manifest, "status": "complete", "finished": now()}


def complete(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a finished manifest, the last file of a run."""
    _write_manifest(path, manifest)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    write_text(path / "manifest.json", json.dumps({"format": FORMAT, **manifest}, indent=1))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory. Raises: RunError for another folder or format."""
    with reading(f"{str(path)!r} is not a run directory: manifest.json", RunError):
        manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RunError(f"{str(path)!r}: its manifest is not of format {FORMAT}.")
    with reading(f"{str(path / 'manifest.json')!r}", RunError):
        for name, kind in _KINDS.items():
            if name in manifest:
                rebuilt(kind, manifest[name])
    return manifest


#: What is read of a manifest, where it is there; its other keys are shown as they are.
_KINDS: Final[Mapping[str, Any]] = {
    "status": str,
    "job": str,
    "options": dict,
    "model": dict,
    "task": dict,
}


# ---------------------------------------------------------------- records


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

    is_run(path)
    manifest = read_manifest(path)
    if manifest.get("status") != "complete":
        raise RunError(f"{str(path)!r} is not complete: its status is {manifest.get('status')!r}.")
    if manifest.get("job") == REPRODUCE:
        raise RunError(
            f"{str(path)!r} is of circuits reproduce, which has several models and no circuit; see its table.json."
        )
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


# ---------------------------------------------------------------- what a manifest says


def versions() -> dict[str, str]:
    """The versions of everything that makes the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("relevance-circuits", "torch", "transformers", "transformer-lens", "captum", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    for name in ("gguf", "peft"):  # which read and merge weights where they are asked to
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def packages() -> dict[str, dict[str, str]]:
    """What came from other packages, under the key of a manifest: nothing where nothing was loaded."""
    found = loaded()
    return {"packages": found} if found else {}


def file_hashes(place: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, or of the one file, by name."""
    hashes = {}
    for path in [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file()):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def to_toml(options: Mapping[str, Any]) -> str:
    """A flat TOML file of the options; those that were not given are left out."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items() if value is not None]
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """What a run ran on."""
    import torch

    return {"system": platform.system(), "processor": platform.machine(), "threads": torch.get_num_threads()}
