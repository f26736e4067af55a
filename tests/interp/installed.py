"""Packages that are installed beside ours for the time of a test: a module and what an installer writes of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interp.registries import Registry

Points = Mapping[str, Mapping[str, str]]


def install(folder: Path, name: str, points: Points, text: str = "", version: str = "1.0") -> None:
    """A package of one module, `text`, and its entry points: group -> name -> module."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in of.items()) for group, of in points.items()]
    (record / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    importlib.invalidate_caches()


@contextmanager
def beside(folder: Path, *tables: Registry[Any]) -> Iterator[Path]:
    """`folder` among the places of installed packages; afterwards nothing is left of what came from it."""
    before = [(table, dict(table), dict(table.origins)) for table in tables]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(folder) in str(getattr(module, "__file__", "")):
                del sys.modules[name]
        for table, entries, origins in before:
            table.clear()
            table.update(entries)
            table.origins = origins
