"""The options of diff, export and import, each written once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from circuits.settings.run_options import JsonOptions
from interp.option import needed, option


@dataclass(frozen=True, kw_only=True)
class SideBySideOptions(JsonOptions):
    """What `circuits diff` was given."""

    a: Path = field(metadata=needed("a run directory, or a circuit.json", argument=True, among="runs"))
    b: Path = field(metadata=needed("another", argument=True, among="runs"))
    out: Path | None = option(None, "also write both side by side to this HTML file", file="any")
    force: bool = option(False, "replace the file at --out")


@dataclass(frozen=True, kw_only=True)
class ReplaceOptions:
    """Whether files may be replaced."""

    force: bool = option(False, "replace files that exist")


@dataclass(frozen=True, kw_only=True)
class Export(ReplaceOptions):
    """What `circuits export` was given."""

    source: Path = field(
        metadata=needed("a run directory, a circuit.json or a scores.parquet", argument=True, among="runs")
    )
    file: Path | None = option(
        None, "the file to write, such as circuit.svg; a folder for mib and mib-circuits", argument=True
    )
    to: str | None = option(None, "{names} [default: told by the file's extension]", among="formats written")
    out: Path | None = option(None, "the same as FILE", file="any")
    model: str | None = option(
        None, "for formats that need its shape [default: the one that the source names]", among="models", file="model"
    )


@dataclass(frozen=True, kw_only=True)
class Import(ReplaceOptions):
    """What `circuits import` was given."""

    file: Path = field(metadata=needed("a file or folder that another project wrote", argument=True))
    out: Path = field(metadata=needed("the folder to write scores.parquet and circuit.json in", file="any"))
    format: str | None = option(None, "{names} [default: told by its extension]", among="formats read")
