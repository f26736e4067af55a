"""The registry of formats: what each is called, what it holds, and how it is read and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from circuits.circuit.circuit import Circuit
from circuits.interchange import dot, eap_contents, graphml, mib, pictures, sidecar, tables
from circuits.interchange.contents import Contents
from circuits.interchange.eap_ig import Shape
from circuits.interchange.strict import InterchangeError
from interp.registries import About, Registry
from interp.scores.scores import Scores

Reader = Callable[[Path], dict[str, Contents]]
Writer = Callable[[Contents, Path, Shape | None, bool], list[Path]]


@dataclass(frozen=True)
class Format:
    """`extension`: of its files, empty for a folder. `holds`: what it can hold, in a sentence. `reader`: all that a file
    holds, by name; None where the format is only written. `needs_shape`: writing needs the shape of the model. `source`: whose
    format it is."""

    name: str
    extension: str
    holds: str
    reader: Reader | None
    writer: Writer | None
    needs_shape: bool = False
    source: str = ""

    @property
    def about(self) -> About:
        return About(self.holds, source=self.source)


def _one(read: Callable[[Path], Contents]) -> Reader:
    return lambda path: {path.name.partition(".")[0] or path.name: read(path)}


def _plain(write: Callable[[Contents, Path], list[Path]]) -> Writer:
    return lambda contents, path, shape, force: write(contents, path)


def _picture(extension: str) -> Writer:
    return lambda contents, path, shape, force: pictures.write(contents, path, extension)


def _shape(shape: Shape | None, name: str) -> Shape:
    if shape is None:
        raise InterchangeError(f"format {name!r} needs the shape of the model; give shape=Shape.of(model.layout).")
    return shape


def _eap_ig(contents: Contents, path: Path, shape: Shape | None, force: bool) -> list[Path]:
    return eap_contents.write(contents, path, _shape(shape, "eap-ig"))


def _mib(kind: mib.Kind) -> Writer:
    def write_folder(contents: Contents, path: Path, shape: Shape | None, force: bool) -> list[Path]:
        model, task = contents.source
        pair = mib.pair_name(task, model)
        return mib.write_submission(path, {pair: contents}, {pair: _shape(shape, "mib")}, kind=kind, force=force)

    return write_folder


FORMATS: Final = Registry(
    "format",
    "circuits.formats",
    InterchangeError,
    (
        Format(
            "eap-ig",
            ".json",
            "mean importances of all edges and a circuit of edges; conventions in a file beside it",
            _one(eap_contents.read),
            _eap_ig,
            needs_shape=True,
            source="Hanna et al. 2024, EAP-IG",
        ),
        Format(
            "mib",
            "",
            "a submission: mean importances of all edges",
            mib.read_contents,
            _mib("scores"),
            True,
            "Mueller et al. 2025, MIB",
        ),
        Format(
            "mib-circuits",
            "",
            "a submission: circuits of nine sizes",
            mib.read_contents,
            _mib("circuits"),
            True,
            "Mueller et al. 2025, MIB",
        ),
        Format(
            "graphml",
            ".graphml",
            "mean scores and a circuit, of edges or nodes",
            _one(graphml.read),
            _plain(graphml.write),
        ),
        Format("dot", ".dot", "a circuit or scores, to look at", None, _plain(dot.write)),
        Format("svg", ".svg", "a picture of a circuit or of scores", None, _picture(".svg")),
        Format("png", ".png", "the same, made by Chromium or Chrome where one is installed", None, _picture(".png")),
        Format("html", ".html", "the interactive page of a circuit", None, _picture(".html")),
        Format("parquet", ".parquet", "scores of every example and a circuit", _one(tables.read), _plain(tables.write)),
    ),
)


def format_of(name: str) -> Format:
    """A format by name. Raises: InterchangeError with the near names."""
    return FORMATS[name]


def write(
    value: Scores | Circuit | Contents,
    path: str | Path,
    format: str,
    *,
    shape: Shape | None = None,
    force: bool = False,
) -> list[Path]:
    """Write scores, a circuit or both in a format; the paths written.

    Raises: InterchangeError for an unknown format, a value that it cannot hold, or a path that exists without `force`.
    """
    path, writer = Path(path), writer_for(path, format, force)
    try:
        return writer(Contents.of(value), path, shape, force)
    except OSError as error:
        raise InterchangeError(f"cannot write {str(path)!r}: {error.strerror or error}.") from error


def writer_for(path: str | Path, format: str, force: bool = False) -> Writer:
    """What writes the format, where it can be written at this path.

    Raises: InterchangeError for an unknown format, or a path that exists without `force` or cannot be one of it.
    """
    path, found = Path(path), format_of(format)
    mib.settle(path)
    if found.writer is None:
        raise InterchangeError(f"format {format!r} is only read.")
    for target in (path, *([sidecar.path_beside(path)] if found.needs_shape else [])):
        if target.exists() and not force:
            raise InterchangeError(f"{str(target)!r} exists; choose another path, or force to replace it.")
    if found.extension and path.is_dir():
        raise InterchangeError(f"{str(path)!r} is a folder; format {format!r} is one file.")
    if not path.parent.is_dir():
        raise InterchangeError(f"folder {str(path.parent)!r} does not exist; make it first.")
    return found.writer


def read_all(path: str | Path, format: str | None = None) -> dict[str, Contents]:
    """Everything that a file or folder holds, by name. Without `format`, the extension tells it.

    Raises: InterchangeError for an unknown format, one that is only written, or a file that is not of it.
    """
    path = Path(path)
    mib.settle(path)
    if not path.exists():
        raise InterchangeError(f"{str(path)!r} does not exist; expected a file or folder to read.")
    found = format_of(format) if format is not None else told_by(path)
    if found.reader is None:
        raise InterchangeError(f"format {found.name!r} is only written; read the value from graphml or parquet.")
    return found.reader(path)


def read(path: str | Path, format: str | None = None) -> Contents:
    """As `read_all`, of what holds one thing. Raises: InterchangeError as that, and where there are several."""
    found = read_all(path, format)
    if len(found) > 1:
        raise InterchangeError(f"{str(path)!r} holds {len(found)}: {', '.join(found)}; read_all gives them by name.")
    return next(iter(found.values()))


def told_by(path: Path) -> Format:
    """The format that a name tells. Raises: InterchangeError where none has its extension."""
    extension = "" if path.is_dir() else path.suffix
    for found in FORMATS.values():
        if found.extension == extension and (extension or path.is_dir()):
            return found
    known = ", ".join(f"{f.name} ({f.extension or 'a folder'})" for f in FORMATS.values())
    raise InterchangeError(f"the format of {str(path)!r} cannot be told from its name; give it. Formats: {known}.")
