"""`export` and `import` of the command line: from our files to a format of others, and back."""

from __future__ import annotations

from pathlib import Path

from circuits.circuit.circuit import Circuit
from circuits.interchange import tables
from circuits.interchange.contents import Contents
from circuits.interchange.eap_ig import Shape
from circuits.interchange.formats import format_of, read_all, told_by, write, writer_for
from circuits.interchange.strict import InterchangeError
from interp.errors import InterpError


def export(source: Path, to: str | None, out: Path, force: bool = False, *, model: str | None = None) -> list[Path]:
    """Write a run directory, a circuit.json or a scores.parquet in the format `to`; the paths written.

    to: by default the extension of `out` tells it.
    model: its name, folder or hub id, for formats that need its shape; by default the one that the source names.

    Raises: InterchangeError for a source that is none of these, or as `circuits.interchange.write`.
    """
    found = format_of(to) if to is not None else told_by(out)
    contents, named = _source(source)
    writer_for(out, found.name, force)  # what it refuses is refused before a model is loaded for its shape
    shape = _shape(model or named, found.name) if found.needs_shape else None
    return write(contents, out, found.name, shape=shape, force=force)


def _source(source: Path) -> tuple[Contents, str]:
    """What our file holds, and the model it names."""
    from circuits.runs.directory import is_run
    from circuits.runs.record_files import load_record

    if is_run(source):
        record = load_record(source)
        named = record.manifest.get("options", {}).get("model")
        edges = record.node_edges if record.node_edges is not None else record.feature_edges
        contents = Contents(record.scores[0], record.circuit, edges=edges, evaluation=record.evaluation)
        return contents, str(named or record.scores[0].provenance.model)
    if source.suffix == ".json":
        contents = Contents(circuit=Circuit.load(source))
    elif source.suffix == ".parquet":
        contents = tables.read(source)
    else:
        raise InterchangeError(f"{str(source)!r} given; expected a run directory, a circuit.json or a scores.parquet.")
    return contents, contents.source[0]


def _shape(model: str, to: str) -> Shape:
    from circuits.jobs.inputs import load_model

    try:
        return Shape.of(load_model(model, None, None).layout)
    except InterpError as error:
        raise InterchangeError(
            f"format {to!r} needs the shape of model {model!r}, which cannot be loaded ({error}) Name its folder with model."
        ) from error


def import_file(
    path: Path, out: Path, *, format: str | None = None, force: bool = False
) -> tuple[list[Path], list[str]]:
    """Write what a file of another project holds as our scores.parquet and circuit.json in the folder `out`.

    A file that holds several (a submission) gets a folder in `out` for each. Returns: the paths written, and what
    the file does not say.

    Raises: InterchangeError for a file that cannot be read, or a path that exists without `force`.
    """
    found = read_all(path, format)
    targets: dict[Path, Contents] = {}
    for name, contents in found.items():
        targets[out if len(found) == 1 else out / name] = contents
    planned = [folder / name for folder, contents in targets.items() for name in _names(contents)]
    if taken := [target for target in planned if target.exists() and not force]:
        raise InterchangeError(f"{str(taken[0])!r} exists; choose another folder, or force to replace it.")
    try:
        for folder, contents in targets.items():
            folder.mkdir(parents=True, exist_ok=True)
            if contents.scores is not None:
                contents.scores.save(folder / "scores.parquet")
            if contents.circuit is not None:
                contents.circuit.save(folder / "circuit.json")
    except OSError as error:
        raise InterchangeError(f"cannot write to {str(out)!r}: {error.strerror or error}.") from error
    return planned, list(dict.fromkeys(note for contents in found.values() for note in contents.notes))


def _names(contents: Contents) -> list[str]:
    held = (("scores.parquet", contents.scores), ("circuit.json", contents.circuit))
    return [name for name, value in held if value is not None]
